// Biases of linear layers: as linear/cpu.rs does it.
#include "../gpu/device.cuh"

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
