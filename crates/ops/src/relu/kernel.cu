// ReLU, with an addition before it: as relu/cpu.rs does it.
#include "../gpu/device.cuh"

// max(x + residual, 0); the residual may be missing.
template <typename T> __device__ void add_relu(const T *x, const T *residual, T *out, u32 items) {
  for (u32 i = first_item(); i < items; i += all_threads()) {
    float v = to_f32(x[i]) + (residual ? to_f32(residual[i]) : 0.0f);
    out[i] = of_f32<T>(v > 0 ? v : 0.0f);
  }
}
KERNELS(add_relu, (const T *x, const T *residual, T *out, u32 items), (x, residual, out, items))

// dy becomes zero where y, the output of a ReLU, is not positive.
template <typename T> __device__ void relu_mask(const T *y, T *dy, u32 items) {
  for (u32 i = first_item(); i < items; i += all_threads()) {
    if (!(to_f32(y[i]) > 0)) dy[i] = of_f32<T>(0.0f);
  }
}
KERNELS(relu_mask, (const T *y, T *dy, u32 items), (y, dy, items))
