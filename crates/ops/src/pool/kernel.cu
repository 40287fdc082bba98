// Pooling of [N, H, W, C]: as pool/cpu.rs does it. One thread an element of what is written.
#include "../gpu/device.cuh"

// A pooling window; padding cells lie outside the image.
struct Window {
  int h, w, c, k, stride, before_h, before_w, oh, ow;
};

// The cells of a window that lie in the image along one side: from `first` up to `last`.
struct Span {
  int first, last;
};
__device__ inline Span span(int o, int before, int size, Window s) {
  int start = o * s.stride - before, end = start + s.k;
  Span r = {start > 0 ? start : 0, end < size ? end : size};
  return r;
}
// The windows that reach a cell along one side.
__device__ inline Span reaching(int cell, int before, int windows, Window s) {
  int low = cell + before - s.k + 1, high = (cell + before) / s.stride;
  Span r = {low > 0 ? (low + s.stride - 1) / s.stride : 0, (high < windows - 1 ? high : windows - 1) + 1};
  return r;
}

// Where item `i` of a map stands.
struct Place {
  i64 image;
  int y, x, c;
};
__device__ inline Place place(i64 i, int h, int w, int c) {
  Place p;
  p.c = (int)(i % c);
  i /= c;
  p.x = (int)(i % w);
  i /= w;
  p.y = (int)(i % h);
  p.image = i / h;
  return p;
}
__device__ inline i64 item(Place p, int y, int x, int h, int w, int c) { return ((p.image * h + y) * w + x) * c + p.c; }

#define WINDOW_PARAMETERS int h, int w, int c, int k, int stride, int before_h, int before_w, int oh, int ow
#define WINDOW_ARGUMENTS h, w, c, k, stride, before_h, before_w, oh, ow
#define WINDOW {h, w, c, k, stride, before_h, before_w, oh, ow}

template <typename T> __device__ void max_pool(const T *x, T *out, i64 items, WINDOW_PARAMETERS) {
  Window s = WINDOW;
  for (i64 i = first_item(); i < items; i += all_threads()) {
    Place p = place(i, oh, ow, c);
    Span ys = span(p.y, before_h, h, s), xs = span(p.x, before_w, w, s);
    float most = -INFINITY;
    for (int y = ys.first; y < ys.last; y++) {
      for (int u = xs.first; u < xs.last; u++) {
        float v = to_f32(x[item(p, y, u, h, w, c)]);
        most = v > most ? v : most;
      }
    }
    out[i] = of_f32<T>(most);
  }
}
KERNELS(max_pool, (const T *x, T *out, i64 items, WINDOW_PARAMETERS), (x, out, items, WINDOW_ARGUMENTS))

// Of equal maxima of a window the first in reading order gets the gradient.
template <typename T>
__device__ void max_pool_gradient(const T *x, const T *y, const T *dy, T *dx, i64 items, WINDOW_PARAMETERS) {
  Window s = WINDOW;
  for (i64 i = first_item(); i < items; i += all_threads()) {
    Place p = place(i, h, w, c);
    float own = to_f32(x[i]), sum = 0;
    Span oys = reaching(p.y, before_h, oh, s), oxs = reaching(p.x, before_w, ow, s);
    for (int oy = oys.first; oy < oys.last; oy++) {
      for (int ox = oxs.first; ox < oxs.last; ox++) {
        i64 o = item(p, oy, ox, oh, ow, c);
        if (to_f32(y[o]) != own) continue;
        Span ys = span(oy, before_h, h, s), xs = span(ox, before_w, w, s);
        bool first = true;
        for (int v = ys.first; first && v <= p.y; v++) {
          int end = v < p.y ? xs.last : p.x;
          for (int u = xs.first; u < end; u++) first = first && to_f32(x[item(p, v, u, h, w, c)]) != own;
        }
        if (first) sum += to_f32(dy[o]);
      }
    }
    dx[i] = of_f32<T>(sum);
  }
}
KERNELS(max_pool_gradient, (const T *x, const T *y, const T *dy, T *dx, i64 items, WINDOW_PARAMETERS),
        (x, y, dy, dx, items, WINDOW_ARGUMENTS))

// One over the cells that an average counts.
__device__ inline float share(Span ys, Span xs, int all, int k) {
  return 1.0f / (all ? k * k : (ys.last - ys.first) * (xs.last - xs.first));
}

// `all`: padding counts in the average.
template <typename T> __device__ void avg_pool(const T *x, T *out, int all, i64 items, WINDOW_PARAMETERS) {
  Window s = WINDOW;
  for (i64 i = first_item(); i < items; i += all_threads()) {
    Place p = place(i, oh, ow, c);
    Span ys = span(p.y, before_h, h, s), xs = span(p.x, before_w, w, s);
    float part = share(ys, xs, all, k), sum = 0;
    for (int y = ys.first; y < ys.last; y++) {
      for (int u = xs.first; u < xs.last; u++) sum += to_f32(x[item(p, y, u, h, w, c)]) * part;
    }
    out[i] = of_f32<T>(sum);
  }
}
KERNELS(avg_pool, (const T *x, T *out, int all, i64 items, WINDOW_PARAMETERS), (x, out, all, items, WINDOW_ARGUMENTS))

template <typename T> __device__ void avg_pool_gradient(const T *dy, T *dx, int all, i64 items, WINDOW_PARAMETERS) {
  Window s = WINDOW;
  for (i64 i = first_item(); i < items; i += all_threads()) {
    Place p = place(i, h, w, c);
    float sum = 0;
    Span oys = reaching(p.y, before_h, oh, s), oxs = reaching(p.x, before_w, ow, s);
    for (int oy = oys.first; oy < oys.last; oy++) {
      for (int ox = oxs.first; ox < oxs.last; ox++) {
        float part = share(span(oy, before_h, h, s), span(ox, before_w, w, s), all, k);
        sum += to_f32(dy[item(p, oy, ox, oh, ow, c)]) * part;
      }
    }
    dx[i] = of_f32<T>(sum);
  }
}
KERNELS(avg_pool_gradient, (const T *dy, T *dx, int all, i64 items, WINDOW_PARAMETERS),
        (dy, dx, all, items, WINDOW_ARGUMENTS))
