// Sums of tensors: as tensor/cpu.rs takes them.
#include "../gpu/device.cuh"

// sum += term.
template <typename T> __device__ void add_assign(T *sum, const T *term, u32 items) {
  for (u32 i = first_item(); i < items; i += all_threads()) sum[i] = of_f32<T>(to_f32(sum[i]) + to_f32(term[i]));
}
KERNELS(add_assign, (T *sum, const T *term, u32 items), (sum, term, items))

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
