// Gates over [N, P, C]: as gate/cpu.rs does it. A thread stays with the channels of an image, whose gates are in its
// registers; `splits` blocks share an image's pixels.
#include "../gpu/device.cuh"

// How far each gate is open: sigmoid(logits[F]), or of the difference of two streams, [N, streams * F] to [N, F].
KERNEL(gate_open, (const float *logits, u32 f, int streams, float *open, u32 items)) {
  for (u32 i = first_item(); i < items; i += all_threads()) {
    const float *row = logits + (i64)(i / f) * f * streams;
    u32 j = i % f;
    float v = streams == 2 ? row[j] - row[f + j] : row[j];
    open[i] = 1.0f / (1.0f + expf(-v));
  }
}

// What the element-wise kernels have: the pixels of an image that are this thread's, and its gates.
struct Pixels {
  u32 image, first, step;
};
__device__ inline Pixels pixels_of(Tile t, u32 splits) {
  Pixels p = {t.part / splits, t.part % splits * t.rows + t.row, splits * t.rows};
  return p;
}

// Each pixel times its image's gates.
template <typename T, int V>
__device__ void scaled(const T *__restrict__ x, const float *__restrict__ open, u32 pixels, TILE_PARAMETERS, u32 splits,
                       T *__restrict__ out) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  Pixels own = pixels_of(t, splits);
  i64 image = (i64)own.image * pixels * packs + t.pack;
  const Pack<T, V> *from = (const Pack<T, V> *)x + image;
  Pack<T, V> *to = (Pack<T, V> *)out + image;
  float a[V], v[V];
  load<V>(open + (own.image * packs + t.pack) * V, a);
#pragma unroll 4
  for (u32 p = own.first; p < pixels; p += own.step) {
    unpack(from[p * packs], v);
#pragma unroll
    for (int k = 0; k < V; k++) v[k] *= a[k];
    to[p * packs] = packed<T, V>(v);
  }
}
template <typename T>
__device__ void gate_scale(const T *x, const float *open, u32 pixels, TILE_PARAMETERS, int wide, u32 splits, T *out) {
#define BODY(V) scaled<T, V>(x, open, pixels, TILE_ARGUMENTS, splits, out);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(gate_scale, (const T *x, const float *open, u32 pixels, TILE_PARAMETERS, int wide, u32 splits, T *out),
        (x, open, pixels, TILE_ARGUMENTS, wide, splits, out))

// The gradient of the gates' logits: sum over pixels of x * dy, times a (1 - a).
template <typename T, int V>
__device__ void scale_gradient(const T *__restrict__ x, const T *__restrict__ dy, const float *__restrict__ open,
                               u32 pixels, TILE_PARAMETERS, float *__restrict__ d_gate) {
  Tile t = tile_of(TILE_ARGUMENTS);
  float sum[V] = {};
  if (t.in) {
    i64 image = (i64)t.part * pixels * packs + t.pack;
    const Pack<T, V> *from = (const Pack<T, V> *)x + image, *gradients = (const Pack<T, V> *)dy + image;
#pragma unroll 4
    for (u32 p = t.row; p < pixels; p += t.rows) {
      float v[V], g[V];
      unpack(from[p * packs], v);
      unpack(gradients[p * packs], g);
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += v[k] * g[k];
    }
  }
  Channel c = channel_of<V>(TILE_ARGUMENTS);
  float all = tile_sum<V>(sum, t, side, c);
  if (!c.in) return;
  u32 at = t.part * (packs * V) + c.number;
  float a = open[at];
  d_gate[at] = all * (a * (1.0f - a));
}
template <typename T>
__device__ void gate_gradient(const T *x, const T *dy, const float *open, u32 pixels, TILE_PARAMETERS, int wide,
                              float *d_gate) {
#define BODY(V) scale_gradient<T, V>(x, dy, open, pixels, TILE_ARGUMENTS, d_gate);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(gate_gradient,
        (const T *x, const T *dy, const float *open, u32 pixels, TILE_PARAMETERS, int wide, float *d_gate),
        (x, dy, open, pixels, TILE_ARGUMENTS, wide, d_gate))

// a x[..F] + (1 - a) x[F..]: [N, P, 2F] to [N, P, F].
template <typename T, int V>
__device__ void selected(const T *__restrict__ x, const float *__restrict__ open, u32 pixels, TILE_PARAMETERS,
                         u32 splits, T *__restrict__ out) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  Pixels own = pixels_of(t, splits);
  i64 image = (i64)own.image * pixels * packs;
  const Pack<T, V> *from = (const Pack<T, V> *)x + 2 * image + t.pack;
  Pack<T, V> *to = (Pack<T, V> *)out + image + t.pack;
  float a[V], v[V], w[V];
  load<V>(open + (own.image * packs + t.pack) * V, a);
#pragma unroll 4
  for (u32 p = own.first; p < pixels; p += own.step) {
    unpack(from[2 * p * packs], v);
    unpack(from[(2 * p + 1) * packs], w);
#pragma unroll
    for (int k = 0; k < V; k++) v[k] = a[k] * (v[k] - w[k]) + w[k];
    to[p * packs] = packed<T, V>(v);
  }
}
template <typename T>
__device__ void select_streams(const T *x, const float *open, u32 pixels, TILE_PARAMETERS, int wide, u32 splits,
                               T *out) {
#define BODY(V) selected<T, V>(x, open, pixels, TILE_ARGUMENTS, splits, out);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(select_streams, (const T *x, const float *open, u32 pixels, TILE_PARAMETERS, int wide, u32 splits, T *out),
        (x, open, pixels, TILE_ARGUMENTS, wide, splits, out))

// The gradients of select_streams: with respect to x, and to the logits, [N, 2F].
template <typename T, int V>
__device__ void selected_gradient(const T *__restrict__ x, const T *__restrict__ dy, const float *__restrict__ open,
                                  u32 pixels, TILE_PARAMETERS, T *__restrict__ dx, float *__restrict__ d_logits) {
  Tile t = tile_of(TILE_ARGUMENTS);
  float sum[V] = {};
  if (t.in) {
    i64 image = (i64)t.part * pixels * packs;
    const Pack<T, V> *gradients = (const Pack<T, V> *)dy + image + t.pack;
    const Pack<T, V> *from = (const Pack<T, V> *)x + 2 * image + t.pack;
    Pack<T, V> *to = (Pack<T, V> *)dx + 2 * image + t.pack;
    float a[V];
    load<V>(open + (t.part * packs + t.pack) * V, a);
#pragma unroll 2
    for (u32 p = t.row; p < pixels; p += t.rows) {
      float g[V], v[V], w[V];
      unpack(gradients[p * packs], g);
      unpack(from[2 * p * packs], v);
      unpack(from[(2 * p + 1) * packs], w);
#pragma unroll
      for (int k = 0; k < V; k++) {
        sum[k] += g[k] * (v[k] - w[k]);
        v[k] = g[k] * a[k];
        w[k] = g[k] * (1.0f - a[k]);
      }
      to[2 * p * packs] = packed<T, V>(v);
      to[(2 * p + 1) * packs] = packed<T, V>(w);
    }
  }
  Channel c = channel_of<V>(TILE_ARGUMENTS);
  float all = tile_sum<V>(sum, t, side, c);
  if (!c.in) return;
  u32 f = packs * V;
  float a = open[t.part * f + c.number], d = all * a * (1.0f - a);
  d_logits[2 * t.part * f + c.number] = d;
  d_logits[(2 * t.part + 1) * f + c.number] = -d;
}
template <typename T>
__device__ void select_gradient(const T *x, const T *dy, const float *open, u32 pixels, TILE_PARAMETERS, int wide,
                                T *dx, float *d_logits) {
#define BODY(V) selected_gradient<T, V>(x, dy, open, pixels, TILE_ARGUMENTS, dx, d_logits);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(select_gradient,
        (const T *x, const T *dy, const float *open, u32 pixels, TILE_PARAMETERS, int wide, T *dx, float *d_logits),
        (x, dy, open, pixels, TILE_ARGUMENTS, wide, dx, d_logits))
