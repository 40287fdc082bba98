// Means over the pixels of images: as mean/cpu.rs takes them.
#include "../gpu/device.cuh"

// The mean over the P pixels of each image, streams added: [N, P, streams * F] to [N, F]. Rows are those of a stream.
template <typename T, int V>
__device__ void mean_of(const T *__restrict__ x, u32 pixels, TILE_PARAMETERS, u32 streams, float *__restrict__ out) {
  Tile t = tile_of(TILE_ARGUMENTS);
  float sum[V] = {};
  if (t.in) {
    u32 rows = pixels * streams;
    const Pack<T, V> *from = (const Pack<T, V> *)x + (i64)t.part * rows * packs + t.pack;
#pragma unroll 4
    for (u32 r = t.row; r < rows; r += t.rows) {
      float v[V];
      unpack(from[r * packs], v);
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] += v[k];
    }
  }
  Channel c = channel_of<V>(TILE_ARGUMENTS);
  float all = tile_sum<V>(sum, t, side, c);
  if (c.in) out[t.part * (packs * V) + c.number] = all / pixels;
}
template <typename T>
__device__ void pixel_mean(const T *x, u32 pixels, TILE_PARAMETERS, int wide, u32 streams, float *out) {
#define BODY(V) mean_of<T, V>(x, pixels, TILE_ARGUMENTS, streams, out);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(pixel_mean, (const T *x, u32 pixels, TILE_PARAMETERS, int wide, u32 streams, float *out),
        (x, pixels, TILE_ARGUMENTS, wide, streams, out))

// The gradient of pixel_mean: each pixel of each stream gets `share` of the image's gradient. `splits` blocks share an
// image's rows.
template <typename T, int V>
__device__ void spread_of(const float *__restrict__ dy, u32 rows, TILE_PARAMETERS, u32 splits, float share,
                          T *__restrict__ dx) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  u32 image = t.part / splits;
  Pack<T, V> *to = (Pack<T, V> *)dx + (i64)image * rows * packs + t.pack;
  float v[V];
  load<V>(dy + (image * packs + t.pack) * V, v);
#pragma unroll
  for (int k = 0; k < V; k++) v[k] *= share;
  Pack<T, V> pack = packed<T, V>(v);
  for (u32 r = t.part % splits * t.rows + t.row; r < rows; r += splits * t.rows) to[r * packs] = pack;
}
template <typename T>
__device__ void pixel_spread(const float *dy, u32 rows, TILE_PARAMETERS, int wide, u32 splits, float share, T *dx) {
#define BODY(V) spread_of<T, V>(dy, rows, TILE_ARGUMENTS, splits, share, dx);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(pixel_spread, (const float *dy, u32 rows, TILE_PARAMETERS, int wide, u32 splits, float share, T *dx),
        (dy, rows, TILE_ARGUMENTS, wide, splits, share, dx))
