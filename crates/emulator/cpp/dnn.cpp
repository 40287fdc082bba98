// Of cuDNN the convolutions, channels last: descriptors, the choice of an algorithm, and the three products with sums in f32.
//
// Descriptors are checked against one another, addresses against the GPU's memory. Of each convolution's two algorithms
// the one that is offered first is not deterministic: whoever asks for it is refused.
#include "driver.hpp"
#include <cstring>
#include <memory>
#include <vector>

namespace {

enum { SUCCESS = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000, EXECUTION_FAILED = 5000 };
enum { FLOAT = 0, BFLOAT16 = 9, NHWC = 1, CROSS_CORRELATION = 1, FMA_MATH = 3 };
const size_t WORKSPACE = 512;

struct Map {
  int type = -1, n, c, h, w;
  size_t count() const { return (size_t)n * c * h * w; }
};
struct Conv {
  int compute = -1, pad, stride, math = 0;
};
// What the numbers of cudnnConvolution*AlgoPerf_t are.
struct Answer {
  int algorithm, status;
  float time;
  size_t memory;
  int determinism, math, reserved[3];
};
struct Handle {
  void *stream;
};

int bad(const char *what) {
  driver::complain(std::string("cuDNN: ") + what);
  return BAD_PARAM;
}

// Whether filter `w` takes maps `x` to maps `y`.
int fit(const Handle *handle, const Map *x, const Map *w, const Map *y, const Conv *conv) {
  if (!handle) return bad("no handle");
  if (x->type < 0 || x->type != w->type || x->type != y->type) return bad("elements of maps and filter differ");
  if (conv->compute != FLOAT) return bad("sums are not of f32");
  if (x->c != w->c || y->c != w->n || x->n != y->n) return bad("channels or images of maps and filter differ");
  if (y->h != (x->h + 2 * conv->pad - w->h) / conv->stride + 1 || y->w != (x->w + 2 * conv->pad - w->w) / conv->stride + 1) {
    return bad("the output has not the size that the convolution gives");
  }
  return SUCCESS;
}

int offer(int fitting, int other, int deterministic, const Conv *conv, int wanted, int *count, Answer *answers) {
  if (fitting != SUCCESS) return fitting;
  if (wanted < 2) return bad("one algorithm is too few");
  *count = 2;
  answers[0] = {other, SUCCESS, -1, 0, 0, conv->math, {}};
  answers[1] = {deterministic, SUCCESS, -1, WORKSPACE, 1, conv->math, {}};
  return SUCCESS;
}
enum { FORWARD = 1, FORWARD_OTHER = 0, BACKWARD = 1, BACKWARD_OTHER = 0 };

struct Shape {
  int n, h, w, c, o, kh, kw, oh, ow, pad, stride;
};

// For every output pixel and tap that lies in the image: body(output pixel, tap, input pixel).
template <typename F> void for_taps(const Shape &s, F body) {
  for (int n = 0; n < s.n; n++) {
    for (int oy = 0; oy < s.oh; oy++) {
      for (int ox = 0; ox < s.ow; ox++) {
        size_t out = ((size_t)n * s.oh + oy) * s.ow + ox;
        for (int ky = 0; ky < s.kh; ky++) {
          int y = oy * s.stride - s.pad + ky;
          if (y < 0 || y >= s.h) continue;
          for (int kx = 0; kx < s.kw; kx++) {
            int x = ox * s.stride - s.pad + kx;
            if (x >= 0 && x < s.w) body(out, (size_t)ky * s.kw + kx, ((size_t)n * s.h + y) * s.w + x);
          }
        }
      }
    }
  }
}

// to += factor * from.
inline void add(float *__restrict to, const float *__restrict from, float factor, int count) {
  for (int i = 0; i < count; i++) to[i] += factor * from[i];
}

using Numbers = std::vector<float>;

// [O, taps, C] to [taps, C, O].
Numbers turned(const Shape &s, const Numbers &w) {
  Numbers out(w.size());
  size_t inner = (size_t)s.kh * s.kw * s.c;
  for (int o = 0; o < s.o; o++) {
    for (size_t i = 0; i < inner; i++) out[i * s.o + o] = w[o * inner + i];
  }
  return out;
}

Numbers forward(const Shape &s, const Numbers &x, const Numbers &w) {
  Numbers y((size_t)s.n * s.oh * s.ow * s.o), wt = turned(s, w);
  for_taps(s, [&](size_t out, size_t tap, size_t in) {
    for (int c = 0; c < s.c; c++) add(&y[out * s.o], &wt[(tap * s.c + c) * s.o], x[in * s.c + c], s.o);
  });
  return y;
}
Numbers backward_data(const Shape &s, const Numbers &w, const Numbers &dy) {
  Numbers dx((size_t)s.n * s.h * s.w * s.c);
  size_t taps = (size_t)s.kh * s.kw;
  for_taps(s, [&](size_t out, size_t tap, size_t in) {
    for (int o = 0; o < s.o; o++) add(&dx[in * s.c], &w[(o * taps + tap) * s.c], dy[out * s.o + o], s.c);
  });
  return dx;
}
Numbers backward_filter(const Shape &s, const Numbers &x, const Numbers &dy) {
  size_t taps = (size_t)s.kh * s.kw;
  Numbers dw(taps * s.o * s.c);
  for_taps(s, [&](size_t out, size_t tap, size_t in) {
    for (int o = 0; o < s.o; o++) add(&dw[(o * taps + tap) * s.c], &x[in * s.c], dy[out * s.o + o], s.c);
  });
  return dw;
}

size_t bytes_of(const Map *map) { return map->count() * (map->type == FLOAT ? 4 : 2); }

Numbers read(const Map *map, const void *address, const Conv *conv) {
  Numbers numbers(map->count());
  for (size_t i = 0; i < numbers.size(); i++) {
    if (map->type == BFLOAT16) {
      numbers[i] = driver::wide(((const driver::bf16 *)address)[i]);
    } else {
      float v = ((const float *)address)[i];
      numbers[i] = conv->math == FMA_MATH ? v : driver::tf32(v);
    }
  }
  return numbers;
}

template <typename T> void write(T *to, const Numbers &numbers, float alpha, float beta) {
  for (size_t i = 0; i < numbers.size(); i++) {
    driver::store(to[i], alpha * numbers[i] + (beta == 0 ? 0 : beta * driver::wide(to[i])));
  }
}

// What the three have in common: `a` and `b` are multiplied to `to`.
struct Operand {
  const Map *map;
  const void *address;
};
using Method = Numbers (*)(const Shape &, const Numbers &, const Numbers &);
int convolve(const Handle *handle, const char *who, Method method, const Map *x, const Map *w, const Map *y,
             const Conv *conv, Operand a, Operand b, void *space, size_t bytes, const void *alpha, const void *beta,
             const Map *map, void *to) {
  if (bytes < WORKSPACE) return bad("the workspace is too small");
  std::vector<driver::Use> uses = {{a.address, bytes_of(a.map), false}, {b.address, bytes_of(b.map), false}};
  uses.push_back({to, bytes_of(map), true}), uses.push_back({space, bytes, true});
  Shape s = {x->n, x->h, x->w, x->c, y->c, w->h, w->w, y->h, y->w, conv->pad, conv->stride};
  float scale = *(const float *)alpha, kept = *(const float *)beta;
  // Descriptors may be gone when it runs.
  Map a_map = *a.map, b_map = *b.map, out_map = *map;
  Conv math = *conv;
  int error = driver::enqueue(handle->stream, who, uses, [=] {
    std::memset(space, 0xff, bytes);
    Numbers out = method(s, read(&a_map, a.address, &math), read(&b_map, b.address, &math));
    if (out_map.type == FLOAT) write((float *)to, out, scale, kept);
    else write((driver::bf16 *)to, out, scale, kept);
    return 0;
  });
  return error ? EXECUTION_FAILED : SUCCESS;
}

int described(Map *map, int format, int type, int n, int c, int h, int w) {
  if (format != NHWC || (type != FLOAT && type != BFLOAT16)) {
    driver::complain("cuDNN: only channels last, f32 and bf16 are emulated");
    return NOT_SUPPORTED;
  }
  if (n <= 0 || c <= 0 || h <= 0 || w <= 0) return bad("a dimension is not positive");
  map->type = type, map->n = n, map->c = c, map->h = h, map->w = w;
  return SUCCESS;
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return 92101; }
int cudnnCreate(Handle **handle) { return *handle = new Handle{nullptr}, SUCCESS; }
int cudnnDestroy(Handle *handle) { return delete handle, SUCCESS; }
int cudnnSetStream(Handle *handle, void *stream) {
  if (!driver::planted("handle")) handle->stream = stream;
  return SUCCESS;
}

int cudnnCreateTensorDescriptor(Map **map) { return *map = new Map, SUCCESS; }
int cudnnDestroyTensorDescriptor(Map *map) { return delete map, SUCCESS; }
int cudnnSetTensor4dDescriptor(Map *map, int format, int type, int n, int c, int h, int w) {
  return described(map, format, type, n, c, h, w);
}
int cudnnCreateFilterDescriptor(Map **map) { return *map = new Map, SUCCESS; }
int cudnnDestroyFilterDescriptor(Map *map) { return delete map, SUCCESS; }
int cudnnSetFilter4dDescriptor(Map *map, int type, int format, int k, int c, int h, int w) {
  return described(map, format, type, k, c, h, w);
}
int cudnnCreateConvolutionDescriptor(Conv **conv) { return *conv = new Conv, SUCCESS; }
int cudnnDestroyConvolutionDescriptor(Conv *conv) { return delete conv, SUCCESS; }
int cudnnSetConvolution2dDescriptor(Conv *conv, int pad_h, int pad_w, int u, int v, int dilation_h, int dilation_w, int mode,
                                    int compute) {
  if (pad_h != pad_w || u != v || dilation_h != 1 || dilation_w != 1 || mode != CROSS_CORRELATION) {
    driver::complain("cuDNN: a convolution of that kind is not emulated");
    return NOT_SUPPORTED;
  }
  if (pad_h < 0 || u <= 0) return bad("padding or stride is negative");
  conv->compute = compute, conv->pad = pad_h, conv->stride = u;
  return SUCCESS;
}
int cudnnSetConvolutionMathType(Conv *conv, int math) { return conv->math = math, SUCCESS; }

int cudnnGetConvolutionForwardAlgorithm_v7(Handle *handle, Map *x, Map *w, Conv *conv, Map *y, int wanted, int *count,
                                           Answer *answers) {
  return offer(fit(handle, x, w, y, conv), FORWARD_OTHER, FORWARD, conv, wanted, count, answers);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *handle, Map *w, Map *dy, Conv *conv, Map *dx, int wanted, int *count,
                                                Answer *answers) {
  return offer(fit(handle, dx, w, dy, conv), BACKWARD_OTHER, BACKWARD, conv, wanted, count, answers);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *handle, Map *x, Map *dy, Conv *conv, Map *dw, int wanted, int *count,
                                                  Answer *answers) {
  return offer(fit(handle, x, dw, dy, conv), BACKWARD_OTHER, BACKWARD, conv, wanted, count, answers);
}

int cudnnConvolutionForward(Handle *handle, const void *alpha, Map *x, const void *from, Map *w, const void *weights,
                            Conv *conv, int algorithm, void *space, size_t bytes, const void *beta, Map *y, void *to) {
  if (int wrong = fit(handle, x, w, y, conv)) return wrong;
  if (algorithm != FORWARD) return bad("an algorithm that is not deterministic");
  return convolve(handle, "a convolution", forward, x, w, y, conv, {x, from}, {w, weights}, space, bytes, alpha, beta, y,
                  to);
}
int cudnnConvolutionBackwardData(Handle *handle, const void *alpha, Map *w, const void *weights, Map *dy, const void *from,
                                 Conv *conv, int algorithm, void *space, size_t bytes, const void *beta, Map *dx, void *to) {
  if (int wrong = fit(handle, dx, w, dy, conv)) return wrong;
  if (algorithm != BACKWARD) return bad("an algorithm that is not deterministic");
  return convolve(handle, "the gradient of a convolution's input", backward_data, dx, w, dy, conv, {w, weights},
                  {dy, from}, space, bytes, alpha, beta, dx, to);
}
int cudnnConvolutionBackwardFilter(Handle *handle, const void *alpha, Map *x, const void *from, Map *dy, const void *gradient,
                                   Conv *conv, int algorithm, void *space, size_t bytes, const void *beta, Map *dw, void *to) {
  if (int wrong = fit(handle, x, dw, dy, conv)) return wrong;
  if (algorithm != BACKWARD) return bad("an algorithm that is not deterministic");
  return convolve(handle, "the gradient of a convolution's weights", backward_filter, x, dw, dy, conv, {x, from},
                  {dy, gradient}, space, bytes, alpha, beta, dw, to);
}

}  // extern "C"
