// Gates over [N, P, C] and sums of maps: as ops/src/gate.rs does it.
#include "device.cuh"

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

template <typename T> __device__ void add_assign(T *sum, const T *term, u32 items) {
  for (u32 i = first_item(); i < items; i += all_threads()) sum[i] = of_f32<T>(to_f32(sum[i]) + to_f32(term[i]));
}
KERNELS(add_assign, (T *sum, const T *term, u32 items), (sum, term, items))

// How far each gate is open: sigmoid(logits[F]), or of the difference of two streams, [N, streams * F] to [N, F].
KERNEL(gate_open, (const float *logits, i64 f, int streams, float *open, i64 items)) {
  for (i64 i = first_item(); i < items; i += all_threads()) {
    i64 at = i / f * f * streams + i % f;
    float v = streams == 2 ? logits[at] - logits[at + f] : logits[at];
    open[i] = 1.0f / (1.0f + expf(-v));
  }
}

// Each pixel times its image's gates.
template <typename T>
__device__ void gate_scale(const T *x, const float *open, i64 pixels, i64 c, T *out, i64 items) {
  for (i64 i = first_item(); i < items; i += all_threads()) {
    out[i] = of_f32<T>(to_f32(x[i]) * open[i / (pixels * c) * c + i % c]);
  }
}
KERNELS(gate_scale, (const T *x, const float *open, i64 pixels, i64 c, T *out, i64 items),
        (x, open, pixels, c, out, items))

// The gradient of the gates' logits: sum over pixels of x * dy, times a (1 - a).
template <typename T>
__device__ void gate_gradient(const T *x, const T *dy, const float *open, i64 pixels, i64 c, float *d_gate) {
  i64 column = tile_column(), image = blockIdx.y;
  float sum = 0;
  for (i64 p = threadIdx.y; column < c && p < pixels; p += ROWS) {
    i64 at = (image * pixels + p) * c + column;
    sum += to_f32(x[at]) * to_f32(dy[at]);
  }
  sum = column_sum(sum);
  if (column < c && threadIdx.y == 0) {
    float a = open[image * c + column];
    d_gate[image * c + column] = sum * (a * (1.0f - a));
  }
}
KERNELS(gate_gradient, (const T *x, const T *dy, const float *open, i64 pixels, i64 c, float *d_gate),
        (x, dy, open, pixels, c, d_gate))

// a x[..F] + (1 - a) x[F..]: [N, P, 2F] to [N, P, F].
template <typename T> __device__ void select_streams(const T *x, const float *open, i64 pixels, i64 f, T *out, i64 items) {
  for (i64 i = first_item(); i < items; i += all_threads()) {
    i64 at = i / f * 2 * f + i % f;
    float a = open[i / (pixels * f) * f + i % f], x0 = to_f32(x[at]), x1 = to_f32(x[at + f]);
    out[i] = of_f32<T>(a * (x0 - x1) + x1);
  }
}
KERNELS(select_streams, (const T *x, const float *open, i64 pixels, i64 f, T *out, i64 items),
        (x, open, pixels, f, out, items))

// The way back of select_streams to x.
template <typename T>
__device__ void select_spread(const T *dy, const float *open, i64 pixels, i64 f, T *dx, i64 items) {
  for (i64 i = first_item(); i < items; i += all_threads()) {
    i64 at = i / f * 2 * f + i % f;
    float a = open[i / (pixels * f) * f + i % f], g = to_f32(dy[i]);
    dx[at] = of_f32<T>(g * a);
    dx[at + f] = of_f32<T>(g * (1.0f - a));
  }
}
KERNELS(select_spread, (const T *dy, const float *open, i64 pixels, i64 f, T *dx, i64 items),
        (dy, open, pixels, f, dx, items))

// The way back of select_streams to the logits, [N, 2F].
template <typename T>
__device__ void select_gradient(const T *x, const T *dy, const float *open, i64 pixels, i64 f, float *d_logits) {
  i64 column = tile_column(), image = blockIdx.y;
  float sum = 0;
  for (i64 p = threadIdx.y; column < f && p < pixels; p += ROWS) {
    i64 at = (image * pixels + p) * f + column, both = (image * pixels + p) * 2 * f + column;
    sum += to_f32(dy[at]) * (to_f32(x[both]) - to_f32(x[both + f]));
  }
  sum = column_sum(sum);
  if (column < f && threadIdx.y == 0) {
    float a = open[image * f + column], d = sum * a * (1.0f - a);
    d_logits[image * 2 * f + column] = d;
    d_logits[image * 2 * f + f + column] = -d;
  }
}
KERNELS(select_gradient, (const T *x, const T *dy, const float *open, i64 pixels, i64 f, float *d_logits),
        (x, dy, open, pixels, f, d_logits))
