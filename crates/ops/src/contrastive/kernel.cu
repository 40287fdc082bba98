// NT-Xent over rows, one block a row: as contrastive/cpu.rs does it. All in f32, sums in double.
#include "../gpu/rows.cuh"

// Rows at unit length and the lengths that they had (1 where not `normalize`), kept away from zero.
KERNEL(unit_rows, (const float *x, i64 d, int normalize, float *z, float *norms)) {
  i64 row = blockIdx.x;
  double squares = 0;
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) squares += (double)x[row * d + j] * x[row * d + j];
  squares = block_sum(squares);
  float norm = normalize ? (float)sqrt(squares > 1e-12 ? squares : 1e-12) : 1.0f;
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) z[row * d + j] = x[row * d + j] / norm;
  if (threadIdx.x == 0) norms[row] = norm;
}

// The gradient of a row before it was scaled to unit length, over that of the row at unit length.
KERNEL(unit_rows_gradient, (const float *z, const float *norms, i64 d, float *gradient)) {
  i64 row = blockIdx.x;
  float along = 0;
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) along += gradient[row * d + j] * z[row * d + j];
  along = block_sum(along);
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) {
    gradient[row * d + j] = (gradient[row * d + j] - along * z[row * d + j]) / norms[row];
  }
}

// NT-Xent's row i of the 2n of a rank whose images begin at `first`: similarities [2n, 2b] become the gradient with respect to them (softmax without the
// row's own column, minus one-hot, times inverse / n). `ab` gets first views against second views, over the temperature.
KERNEL(nt_xent_rows, (float *p, i64 b, i64 n, i64 first, float inverse, double *losses, float *ab)) {
  SHARED(float) of_positive[1];
  i64 i = blockIdx.x, width = 2 * b, own = i / n * b + first + i % n, positive = (own + b) % width;
  float *row = p + i * width;
  for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
    float v = row[j] * inverse;
    if (i < n && j >= b) ab[i * b + j - b] = v;
    if (j == positive) of_positive[0] = v;
    row[j] = j == own ? -INFINITY : v;
  }
  double total = softmax_row(row, width);
  // Each thread goes over the columns that it went over before.
  for (i64 j = threadIdx.x; j < width; j += blockDim.x) {
    row[j] = (row[j] - (j == positive ? 1.0f : 0.0f)) * (inverse / n);
  }
  if (threadIdx.x == 0) losses[i] = total - of_positive[0];
}

// The entropy of the softmax of each row [b]; `p` is room for it.
KERNEL(entropy_rows, (const float *logits, i64 b, float *p, double *entropies)) {
  i64 row = blockIdx.x;
  float *own = p + row * b;
  for (i64 j = threadIdx.x; j < b; j += blockDim.x) own[j] = logits[row * b + j];
  softmax_row(own, b);
  double sum = 0;
  for (i64 j = threadIdx.x; j < b; j += blockDim.x) sum -= own[j] * log((double)own[j] + 1e-8);
  sum = block_sum(sum);
  if (threadIdx.x == 0) entropies[row] = sum;
}
