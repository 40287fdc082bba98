// Gates over [N, P, C]: as gate/cpu.rs does it.
#include "../gpu/device.cuh"

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

// The gradient of select_streams with respect to x.
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

// The gradient of select_streams with respect to the logits, [N, 2F].
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
