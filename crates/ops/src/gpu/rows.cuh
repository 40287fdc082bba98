// What kernels over rows share, one block a row.
#pragma once
#include "device.cuh"

// Softmax of a row in place, over the block; gives the logarithm of the sum of exponentials.
__device__ inline double softmax_row(float *row, i64 width) {
  float most = -INFINITY;
  for (i64 j = threadIdx.x; j < width; j += blockDim.x) most = row[j] > most ? row[j] : most;
  most = block_reduce<Larger>(most, -INFINITY);
  double sum = 0;
  for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
    float e = expf(row[j] - most);
    row[j] = e;
    sum += e;
  }
  sum = block_sum(sum);
  float scale = (float)(1.0 / sum);
  for (i64 j = threadIdx.x; j < width; j += blockDim.x) row[j] *= scale;
  return most + log(sum);
}
