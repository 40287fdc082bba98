// Pooling of [N, H, W, C]: as pool/cpu.rs does it. A block takes a row of pixels of what is written, in tiles of packs of
// V channels.
#include "../gpu/device.cuh"

// A pooling window; padding cells lie outside the image. K and S are its side and stride where they are known to the
// compiler, else 0.
template <int K, int S> struct Window {
  int h, w, c, given_k, given_stride, before_h, before_w, oh, ow;
  __device__ int k() const { return K ? K : given_k; }
  __device__ int stride() const { return S ? S : given_stride; }
};

// The cells of a window that lie in the image along one side: from `first` up to `last`. The window begins at `start`.
struct Span {
  int start, first, last;
};
template <int K, int S> __device__ inline Span span(int o, int before, int size, Window<K, S> s) {
  int start = o * s.stride() - before, end = start + s.k();
  Span r = {start, start > 0 ? start : 0, end < size ? end : size};
  return r;
}
// The windows that reach a cell along one side.
template <int K, int S> __device__ inline Span reaching(int cell, int before, int windows, Window<K, S> s) {
  int low = cell + before - s.k() + 1, high = (cell + before) / s.stride();
  int first = low > 0 ? (low + s.stride() - 1) / s.stride() : 0;
  Span r = {first, first, (high < windows - 1 ? high : windows - 1) + 1};
  return r;
}

#define WINDOW_PARAMETERS int h, int w, int c, int k, int stride, int before_h, int before_w, int oh, int ow
#define WINDOW_ARGUMENTS h, w, c, k, stride, before_h, before_w, oh, ow

// Runs `BODY(V, K, S)`: the windows of networks are known to the compiler.
#define BY_WINDOW(wide, BODY) \
  if (wide && k == 3 && stride == 2) { \
    BODY(Wide<T>::LANES, 3, 2) \
  } else if (wide && k == 2 && stride == 2) { \
    BODY(Wide<T>::LANES, 2, 2) \
  } else if (wide) { \
    BODY(Wide<T>::LANES, 0, 0) \
  } else { \
    BODY(1, 0, 0) \
  }

// Row `part` of pixels of all images' maps, `rows` of them in each: its image, and its number there.
struct PixelRow {
  u32 image;
  int y;
};
__device__ inline PixelRow pixel_row(u32 part, int rows) {
  PixelRow r = {part / (u32)rows, (int)(part % (u32)rows)};
  return r;
}
template <typename T, int V>
__device__ inline const Pack<T, V> *image_of(const T *maps, u32 image, int h, int w, Tile t, u32 packs) {
  return (const Pack<T, V> *)maps + (i64)image * (h * w * (int)packs) + t.pack;
}

// Where cell (y, u) of an image of this width stands, or window (y, u) among its windows.
__device__ inline int place(int y, int u, int w, u32 packs) { return (y * w + u) * (int)packs; }

// The cells of a window whose side the compiler knows, in reading order; `none` stands for those outside the image. All
// loads are in flight at once.
template <typename T, int V, int K, int S>
__device__ inline void load_cells(const Pack<T, V> *from, Span ys, Span xs, Window<K, S> s, u32 packs, Pack<T, V> none,
                                  Pack<T, V> *cells) {
#pragma unroll
  for (int i = 0; i < K * K; i++) {
    int y = ys.start + i / (K ? K : 1), u = xs.start + i % (K ? K : 1);
    cells[i] = none;
    if (y >= 0 && y < s.h && u >= 0 && u < s.w) cells[i] = from[place(y, u, s.w, packs)];
  }
}

// As many windows reach a cell along a side, at most; where the compiler does not know it, 1.
template <int K, int S> struct Reach {
  static const int MOST = K ? (K + S - 1) / (S ? S : 1) : 1;
};

// Of equal maxima the first in reading order wins.
template <int V> __device__ inline void larger_of(const float *v, u32 number, float *most, u32 *numbers) {
#pragma unroll
  for (int j = 0; j < V; j++) {
    bool more = v[j] > most[j];
    most[j] = more ? v[j] : most[j];
    numbers[j] = more ? number : numbers[j];
  }
}

// The maximum, and in `places` (where there is one) the number of the cell of the window that has it.
template <typename T, int V, int K, int S>
__device__ void max_of(const T *__restrict__ x, T *__restrict__ out, u8 *__restrict__ places, TILE_PARAMETERS,
                       Window<K, S> s) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  PixelRow row = pixel_row(t.part, s.oh);
  const Pack<T, V> *from = image_of<T, V>(x, row.image, s.h, s.w, t, packs);
  i64 to = (i64)t.part * place(1, 0, s.ow, packs) + t.pack;
  Span ys = span(row.y, s.before_h, s.h, s);
  float lowest[V], v[V];
#pragma unroll
  for (int j = 0; j < V; j++) lowest[j] = -INFINITY;
  for (int ox = (int)t.row; ox < s.ow; ox += (int)t.rows) {
    Span xs = span(ox, s.before_w, s.w, s);
    float most[V];
    u32 numbers[V];
#pragma unroll
    for (int j = 0; j < V; j++) {
      most[j] = -INFINITY;
      numbers[j] = (u32)((ys.first - ys.start) * s.k() + xs.first - xs.start);
    }
    if (K) {
      Pack<T, V> cells[K ? K * K : 1];
      load_cells(from, ys, xs, s, packs, packed<T, V>(lowest), cells);
#pragma unroll
      for (int i = 0; i < K * K; i++) {
        unpack(cells[i], v);
        larger_of<V>(v, (u32)i, most, numbers);
      }
    } else {
      for (int y = ys.first; y < ys.last; y++) {
        for (int u = xs.first; u < xs.last; u++) {
          unpack(from[place(y, u, s.w, packs)], v);
          larger_of<V>(v, (u32)((y - ys.start) * s.k() + u - xs.start), most, numbers);
        }
      }
    }
    i64 at = to + place(0, ox, s.ow, packs);
    ((Pack<T, V> *)out)[at] = packed<T, V>(most);
    if (places) ((Pack<u8, V> *)places)[at] = bytes_of<V>(numbers);
  }
}
template <typename T>
__device__ void max_pool(const T *x, T *out, u8 *places, TILE_PARAMETERS, int wide, WINDOW_PARAMETERS) {
#define BODY(V, K, S) max_of<T, V, K, S>(x, out, places, TILE_ARGUMENTS, Window<K, S>{WINDOW_ARGUMENTS});
  BY_WINDOW(wide, BODY)
#undef BODY
}
KERNELS_OF(3, max_pool, (const T *x, T *out, u8 *places, TILE_PARAMETERS, int wide, WINDOW_PARAMETERS),
        (x, out, places, TILE_ARGUMENTS, wide, WINDOW_ARGUMENTS))

// No number of a cell.
const u32 NOWHERE = 255;

// Adds those gradients of a window whose maximum is in cell `own`.
template <int V> __device__ inline void take(Pack<u8, V> numbers, u32 own, const float *gradients, float *sum) {
  bool equal[V];
  equal_bytes<V>(numbers, own, equal);
#pragma unroll
  for (int j = 0; j < V; j++) {
    if (equal[j]) sum[j] += gradients[j];
  }
}

template <typename T, int V, int K, int S>
__device__ void max_gradient(const u8 *__restrict__ places, const T *__restrict__ dy, T *__restrict__ dx,
                             TILE_PARAMETERS, Window<K, S> s) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  PixelRow row = pixel_row(t.part, s.h);
  const Pack<T, V> *gradients = image_of<T, V>(dy, row.image, s.oh, s.ow, t, packs);
  const Pack<u8, V> *numbers = image_of<u8, V>(places, row.image, s.oh, s.ow, t, packs);
  Pack<T, V> *to = (Pack<T, V> *)dx + (i64)t.part * place(1, 0, s.w, packs) + t.pack;
  Span oys = reaching(row.y, s.before_h, s.oh, s);
  // The number of this row's first cell in the first window that reaches it, were its column the window's first.
  int first = (row.y + s.before_h - oys.first * s.stride()) * s.k(), down = s.stride() * s.k();
  for (int x = (int)t.row; x < s.w; x += (int)t.rows) {
    Span oxs = reaching(x, s.before_w, s.ow, s);
    int column = x + s.before_w;
    float sum[V] = {}, v[V];
    if (K) {
      const int MOST = Reach<K, S>::MOST;
      Pack<T, V> g[MOST * MOST] = {};
      Pack<u8, V> own_numbers[MOST * MOST] = {};
      u32 own[MOST * MOST];
#pragma unroll
      for (int i = 0; i < MOST * MOST; i++) {
        int oy = oys.first + i / MOST, ox = oxs.first + i % MOST, at = place(oy, ox, s.ow, packs);
        bool in = oy < oys.last && ox < oxs.last;
        own[i] = in ? (u32)(first - i / MOST * down + column - ox * s.stride()) : NOWHERE;
        if (in) {
          g[i] = gradients[at];
          own_numbers[i] = numbers[at];
        }
      }
#pragma unroll
      for (int i = 0; i < MOST * MOST; i++) {
        unpack(g[i], v);
        take(own_numbers[i], own[i], v, sum);
      }
    } else {
      for (int oy = oys.first; oy < oys.last; oy++) {
        for (int ox = oxs.first; ox < oxs.last; ox++) {
          int at = place(oy, ox, s.ow, packs);
          unpack(gradients[at], v);
          take(numbers[at], (u32)(first - (oy - oys.first) * down + column - ox * s.stride()), v, sum);
        }
      }
    }
    to[place(0, x, s.w, packs)] = packed<T, V>(sum);
  }
}
template <typename T>
__device__ void max_pool_gradient(const u8 *places, const T *dy, T *dx, TILE_PARAMETERS, int wide, WINDOW_PARAMETERS) {
#define BODY(V, K, S) max_gradient<T, V, K, S>(places, dy, dx, TILE_ARGUMENTS, Window<K, S>{WINDOW_ARGUMENTS});
  BY_WINDOW(wide, BODY)
#undef BODY
}
KERNELS_OF(4, max_pool_gradient, (const u8 *places, const T *dy, T *dx, TILE_PARAMETERS, int wide, WINDOW_PARAMETERS),
        (places, dy, dx, TILE_ARGUMENTS, wide, WINDOW_ARGUMENTS))

// One over the cells that an average counts.
__device__ inline float share(Span ys, Span xs, int all, int k) {
  return inverse_of((float)(all ? k * k : (ys.last - ys.first) * (xs.last - xs.first)));
}
template <int V> __device__ inline void add_share(const float *v, float part, float *sum) {
#pragma unroll
  for (int j = 0; j < V; j++) sum[j] += v[j] * part;
}

// `all`: padding counts in the average.
template <typename T, int V, int K, int S>
__device__ void average(const T *__restrict__ x, T *__restrict__ out, int all, TILE_PARAMETERS, Window<K, S> s) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  PixelRow row = pixel_row(t.part, s.oh);
  const Pack<T, V> *from = image_of<T, V>(x, row.image, s.h, s.w, t, packs);
  Pack<T, V> *to = (Pack<T, V> *)out + (i64)t.part * place(1, 0, s.ow, packs) + t.pack;
  Span ys = span(row.y, s.before_h, s.h, s);
  for (int ox = (int)t.row; ox < s.ow; ox += (int)t.rows) {
    Span xs = span(ox, s.before_w, s.w, s);
    float part = share(ys, xs, all, s.k()), sum[V] = {}, v[V];
    if (K) {
      Pack<T, V> cells[K ? K * K : 1], none = {};
      load_cells(from, ys, xs, s, packs, none, cells);
#pragma unroll
      for (int i = 0; i < K * K; i++) {
        unpack(cells[i], v);
        add_share<V>(v, part, sum);
      }
    } else {
      for (int y = ys.first; y < ys.last; y++) {
        for (int u = xs.first; u < xs.last; u++) {
          unpack(from[place(y, u, s.w, packs)], v);
          add_share<V>(v, part, sum);
        }
      }
    }
    to[place(0, ox, s.ow, packs)] = packed<T, V>(sum);
  }
}
template <typename T>
__device__ void avg_pool(const T *x, T *out, int all, TILE_PARAMETERS, int wide, WINDOW_PARAMETERS) {
#define BODY(V, K, S) average<T, V, K, S>(x, out, all, TILE_ARGUMENTS, Window<K, S>{WINDOW_ARGUMENTS});
  BY_WINDOW(wide, BODY)
#undef BODY
}
KERNELS(avg_pool, (const T *x, T *out, int all, TILE_PARAMETERS, int wide, WINDOW_PARAMETERS),
        (x, out, all, TILE_ARGUMENTS, wide, WINDOW_ARGUMENTS))

template <typename T, int V, int K, int S>
__device__ void average_gradient(const T *__restrict__ dy, T *__restrict__ dx, int all, TILE_PARAMETERS,
                                 Window<K, S> s) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  PixelRow row = pixel_row(t.part, s.h);
  const Pack<T, V> *gradients = image_of<T, V>(dy, row.image, s.oh, s.ow, t, packs);
  Pack<T, V> *to = (Pack<T, V> *)dx + (i64)t.part * place(1, 0, s.w, packs) + t.pack;
  Span oys = reaching(row.y, s.before_h, s.oh, s);
  for (int x = (int)t.row; x < s.w; x += (int)t.rows) {
    Span oxs = reaching(x, s.before_w, s.ow, s);
    float sum[V] = {}, v[V];
    if (K) {
      const int MOST = Reach<K, S>::MOST;
      Pack<T, V> g[MOST * MOST] = {};
#pragma unroll
      for (int i = 0; i < MOST * MOST; i++) {
        int oy = oys.first + i / MOST, ox = oxs.first + i % MOST;
        if (oy < oys.last && ox < oxs.last) g[i] = gradients[place(oy, ox, s.ow, packs)];
      }
#pragma unroll
      for (int i = 0; i < MOST * MOST; i++) {
        Span ys = span(oys.first + i / MOST, s.before_h, s.h, s), xs = span(oxs.first + i % MOST, s.before_w, s.w, s);
        bool in = oys.first + i / MOST < oys.last && oxs.first + i % MOST < oxs.last;
        unpack(g[i], v);
        add_share<V>(v, in ? share(ys, xs, all, s.k()) : 0.0f, sum);
      }
    } else {
      for (int oy = oys.first; oy < oys.last; oy++) {
        for (int ox = oxs.first; ox < oxs.last; ox++) {
          Span ys = span(oy, s.before_h, s.h, s), xs = span(ox, s.before_w, s.w, s);
          unpack(gradients[place(oy, ox, s.ow, packs)], v);
          add_share<V>(v, share(ys, xs, all, s.k()), sum);
        }
      }
    }
    to[place(0, x, s.w, packs)] = packed<T, V>(sum);
  }
}
template <typename T>
__device__ void avg_pool_gradient(const T *dy, T *dx, int all, TILE_PARAMETERS, int wide, WINDOW_PARAMETERS) {
#define BODY(V, K, S) average_gradient<T, V, K, S>(dy, dx, all, TILE_ARGUMENTS, Window<K, S>{WINDOW_ARGUMENTS});
  BY_WINDOW(wide, BODY)
#undef BODY
}
KERNELS(avg_pool_gradient, (const T *dy, T *dx, int all, TILE_PARAMETERS, int wide, WINDOW_PARAMETERS),
        (dy, dx, all, TILE_ARGUMENTS, wide, WINDOW_ARGUMENTS))
