// Biases of linear layers: as linear/cpu.rs does it.
#include "../gpu/device.cuh"

// A row of biases, `o` packs, added to every row of [R, O].
template <int V> __device__ void biased(float *out, const float *__restrict__ bias, u32 o, u32 packs) {
  for (u32 i = first_item(); i < packs; i += all_threads()) {
    float v[V], b[V];
    unpack(((const Pack<float, V> *)out)[i], v);
    unpack(((const Pack<float, V> *)bias)[i % o], b);
#pragma unroll
    for (int k = 0; k < V; k++) v[k] += b[k];
    ((Pack<float, V> *)out)[i] = packed<float, V>(v);
  }
}
KERNEL(add_bias, (float *out, const float *bias, u32 o, u32 packs, int wide)) {
  if (wide) {
    biased<4>(out, bias, o, packs);
  } else {
    biased<1>(out, bias, o, packs);
  }
}

// The sum of each column of [R, C].
KERNEL(sum_rows, (const float *x, u32 rows, u32 c, float *out)) {
  u32 column = merge_column();
  double sum = 0;
  if (column < c) {
#pragma unroll 8
    for (u32 r = merge_row(); r < rows; r += MERGE_ROWS) sum += x[r * c + column];
  }
  sum = merge_sum(sum);
  if (column < c && merge_row() == 0) out[column] = (float)sum;
}
