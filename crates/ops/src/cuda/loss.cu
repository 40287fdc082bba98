// Losses over rows, one block a row: as ops/src/loss.rs and ops/src/contrastive.rs do it. All in f32, sums in double.
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

// NT-Xent's row i of this rank's 2n: similarities [2n, 2b] become the gradient with respect to them (softmax without the
// row's own column, minus one-hot, times inverse / n). `ab` gets first views against second views, over the temperature.
KERNEL(nt_xent_rows, (float *p, i64 b, i64 n, i64 rank, float inverse, double *losses, float *ab)) {
  SHARED(float) of_positive[1];
  i64 i = blockIdx.x, width = 2 * b, own = i / n * b + rank * n + i % n, positive = (own + b) % width;
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

// 1 for a row whose label is among the k largest values, else 0: of equal values the first wins, a value that is not a
// number spoils the row, and a label below 0 is none.
KERNEL(hit_rows, (const float *logits, const int *labels, i64 d, i64 k, double *hits)) {
  i64 row = blockIdx.x;
  int label = labels[row];
  const float *values = logits + row * d;
  float own = values[label < 0 ? 0 : label];
  int before = 0;
  for (i64 j = threadIdx.x; j < d; j += blockDim.x) {
    float v = values[j];
    before += v > own || (v == own && j < label) || v != v;
  }
  before = block_sum(before);
  if (threadIdx.x == 0) hits[row] = label >= 0 && own == own && before < k ? 1 : 0;
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

// The sum of all numbers times `factor`; one block.
KERNEL(total, (const double *values, i64 items, double factor, float *out)) {
  double sum = 0;
  for (i64 i = threadIdx.x; i < items; i += blockDim.x) sum += values[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[0] = (float)(sum * factor);
}

// Every number times `factor[0]`.
KERNEL(scale_by, (float *values, const float *factor, u32 items)) {
  float f = factor[0];
  for (u32 i = first_item(); i < items; i += all_threads()) values[i] *= f;
}

// A row of biases added to every row of [R, O].
KERNEL(add_bias, (float *out, const float *bias, u32 o, u32 items)) {
  for (u32 i = first_item(); i < items; i += all_threads()) out[i] += bias[i % o];
}

// The sum of each column of [R, C].
KERNEL(sum_rows, (const float *x, i64 rows, i64 c, float *out)) {
  i64 column = tile_column();
  double sum = 0;
  for (i64 r = threadIdx.y; column < c && r < rows; r += ROWS) sum += x[r * c + column];
  sum = column_sum(sum);
  if (column < c && threadIdx.y == 0) out[column] = (float)sum;
}
