// The contrast with keys over rows, one block a row. All in f32, sums in double.
#include "../gpu/rows.cuh"

// Row i of the 2n of a rank whose images begin at `first`: similarities with keys [2n, 2b] and with a queue [2n, queued] become the gradient with respect
// to them (softmax over both without the key of the row's own view, minus one-hot, times inverse / 2n). `ab` gets first views against keys of second
// views, over the temperature.
KERNEL(key_rows, (float *p, float *q, i64 b, i64 n, i64 first, i64 queued, float inverse, double *losses, float *ab)) {
  SHARED(float) of_positive[1];
  i64 i = blockIdx.x, width = 2 * b, own = i / n * b + first + i % n, positive = (own + b) % width;
  float *row = p + i * width, *old = q + i * queued;
  float most = -INFINITY;
  for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
    float v = row[j] * inverse;
    if (i < n && j >= b) ab[i * b + j - b] = v;
    if (j == positive) of_positive[0] = v;
    if (j == own) v = -INFINITY;
    row[j] = v;
    most = v > most ? v : most;
  }
  // Each thread goes over the columns that it went over before.
  for (i64 j = threadIdx.x; j < queued; j += blockDim.x) {
    float v = old[j] * inverse;
    old[j] = v;
    most = v > most ? v : most;
  }
  most = block_reduce<Larger>(most, -INFINITY);
  double sum = 0;
  for (i64 j = threadIdx.x; j < width; j += blockDim.x) sum += row[j] = expf(row[j] - most);
  for (i64 j = threadIdx.x; j < queued; j += blockDim.x) sum += old[j] = expf(old[j] - most);
  sum = block_sum(sum);
  float scale = (float)(1.0 / sum), share = inverse / (float)(2 * n);
  for (i64 j = threadIdx.x; j < width; j += blockDim.x) row[j] = (row[j] * scale - (j == positive ? 1.0f : 0.0f)) * share;
  for (i64 j = threadIdx.x; j < queued; j += blockDim.x) old[j] = old[j] * scale * share;
  if (threadIdx.x == 0) losses[i] = most + log(sum) - of_positive[0];
}
