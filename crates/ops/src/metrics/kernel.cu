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
