// Accuracy over rows, one block a row: as metrics/cpu.rs does it.
#include "../gpu/device.cuh"

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

// By what each row is multiplied in the mean of rows at length 1; a block a row.
KERNEL(row_shares, (const float *x, i64 rows, i64 d, double *shares)) {
  const float *row = x + (i64)blockIdx.x * d;
  double sum = 0;
  for (i64 i = threadIdx.x; i < d; i += blockDim.x) sum += (double)row[i] * row[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) shares[blockIdx.x] = sum == 0 ? 0 : 1 / (sqrt(sum) * (double)rows);
}

// The squares of that mean; a block a column.
KERNEL(column_squares, (const float *x, const double *shares, i64 rows, i64 d, double *squares)) {
  double sum = 0;
  for (i64 i = threadIdx.x; i < rows; i += blockDim.x) sum += shares[i] * x[i * d + blockIdx.x];
  sum = block_sum(sum);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum * sum;
}
