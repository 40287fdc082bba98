// Losses over rows, one block a row: as loss/cpu.rs does it. All in f32, sums in double.
#include "../gpu/rows.cuh"

// Cross entropy of row `blockIdx.x` against a class; a label below 0 is none, and gives no loss and no gradient.
KERNEL(cross_entropy_rows, (const float *logits, const int *labels, i64 d, float rows, float *gradient, double *losses)) {
  i64 row = blockIdx.x;
  int label = labels[row];
  float *g = gradient + row * d;
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) g[j] = label < 0 ? 0.0f : logits[row * d + j];
  double loss = 0;
  if (label >= 0) {
    loss = softmax_row(g, d) - logits[row * d + label];
    for (i64 j = threadIdx.x; j < d; j += blockDim.x) g[j] = (g[j] - (j == label ? 1.0f : 0.0f)) / rows;
  }
  if (threadIdx.x == 0) losses[row] = loss;
}

// Cross entropy of softmax(student / t) against softmax(teacher / t); `target` is room for the latter.
KERNEL(distillation_rows, (const float *student, const float *teacher, i64 d, double t, float rows, float *target,
                           float *gradient, double *losses)) {
  i64 row = blockIdx.x;
  float *p = target + row * d, *g = gradient + row * d;
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) {
    p[j] = (float)(teacher[row * d + j] / t);
    g[j] = (float)(student[row * d + j] / t);
  }
  softmax_row(p, d);
  double dot = 0;
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) dot += (double)g[j] * p[j];
  dot = block_sum(dot);
  double loss = softmax_row(g, d) - dot;
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) g[j] = (float)(t / rows) * (g[j] - p[j]);
  if (threadIdx.x == 0) losses[row] = loss;
}
