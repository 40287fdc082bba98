// The three products of a convolution as the emulated cuDNN computes them, with sums in f32, and what is checked of each.
#include "dnn.hpp"
#include <cstring>
#include <cuda.h>
#include <string>

namespace dnn {
namespace {

// For every output pixel and tap that lies in the image: body(output pixel, tap, input pixel).
template <typename F> void for_taps(const Convolution &s, F body) {
  for (int n = 0; n < s.x.n; n++) {
    for (int oy = 0; oy < s.y.h; oy++) {
      for (int ox = 0; ox < s.y.w; ox++) {
        size_t out = ((size_t)n * s.y.h + oy) * s.y.w + ox;
        for (int ky = 0; ky < s.w.h; ky++) {
          int y = oy * s.stride - s.pad + ky;
          if (y < 0 || y >= s.x.h) continue;
          for (int kx = 0; kx < s.w.w; kx++) {
            int x = ox * s.stride - s.pad + kx;
            if (x >= 0 && x < s.x.w) body(out, (size_t)ky * s.w.w + kx, ((size_t)n * s.x.h + y) * s.x.w + x);
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
Numbers turned(const Convolution &s, const Numbers &w) {
  Numbers out(w.size());
  size_t inner = (size_t)s.w.h * s.w.w * s.w.c, o_all = (size_t)s.w.n;
  for (size_t o = 0; o < o_all; o++) {
    for (size_t i = 0; i < inner; i++) out[i * o_all + o] = w[o * inner + i];
  }
  return out;
}

Numbers forward(const Convolution &s, const Numbers &x, const Numbers &w) {
  Numbers y(s.y.count()), wt = turned(s, w);
  size_t ins = (size_t)s.x.c, outs = (size_t)s.y.c;
  for_taps(s, [&](size_t out, size_t tap, size_t in) {
    for (size_t c = 0; c < ins; c++) add(&y[out * outs], &wt[(tap * ins + c) * outs], x[in * ins + c], (int)outs);
  });
  return y;
}
Numbers backward_data(const Convolution &s, const Numbers &w, const Numbers &dy) {
  Numbers dx(s.x.count());
  size_t taps = (size_t)s.w.h * s.w.w, ins = (size_t)s.x.c, outs = (size_t)s.y.c;
  for_taps(s, [&](size_t out, size_t tap, size_t in) {
    for (size_t o = 0; o < outs; o++) add(&dx[in * ins], &w[(o * taps + tap) * ins], dy[out * outs + o], (int)ins);
  });
  return dx;
}
Numbers backward_filter(const Convolution &s, const Numbers &x, const Numbers &dy) {
  size_t taps = (size_t)s.w.h * s.w.w, ins = (size_t)s.x.c, outs = (size_t)s.y.c;
  Numbers dw(s.w.count());
  for_taps(s, [&](size_t out, size_t tap, size_t in) {
    for (size_t o = 0; o < outs; o++) add(&dw[(o * taps + tap) * ins], &x[in * ins], dy[out * outs + o], (int)ins);
  });
  return dw;
}

Numbers read(const Map &map, const void *address, bool tf32) {
  Numbers numbers(map.count());
  for (size_t i = 0; i < numbers.size(); i++) {
    if (map.type == BFLOAT16) {
      numbers[i] = driver::wide(((const driver::bf16 *)address)[i]);
    } else {
      float v = ((const float *)address)[i];
      numbers[i] = tf32 ? driver::tf32(v) : v;
    }
  }
  return numbers;
}

template <typename T> void write(T *to, const Numbers &numbers, float alpha, float beta) {
  for (size_t i = 0; i < numbers.size(); i++) {
    driver::store(to[i], alpha * numbers[i] + (beta == 0 ? 0 : beta * driver::wide(to[i])));
  }
}

}  // namespace

Settings &settings() {
  thread_local Settings settings;
  return settings;
}

int bad(const char *what) {
  driver::complain(std::string("cuDNN: ") + what);
  return BAD_PARAM;
}

int ready(const Handle *handle) {
  CUcontext current = nullptr;
  if (!handle) return bad("no handle");
  if (cuCtxGetCurrent(&current) != CUDA_SUCCESS || !current) return bad("the thread has no context: which GPU is meant?");
  return SUCCESS;
}

bool countable(const Map &map) {
  return (long double)map.n * map.c * map.h * map.w <= (long double)settings().elements;
}

int fit(const Convolution &s) {
  if (s.x.type < 0 || s.x.type != s.w.type || s.x.type != s.y.type) return bad("elements of maps and filter differ");
  if (s.x.c != s.w.c || s.y.c != s.w.n || s.x.n != s.y.n) return bad("channels or images of maps and filter differ");
  if (s.y.h != (s.x.h + 2 * s.pad - s.w.h) / s.stride + 1 || s.y.w != (s.x.w + 2 * s.pad - s.w.w) / s.stride + 1) {
    return bad("the output has not the size that the convolution gives");
  }
  return SUCCESS;
}

size_t workspace(const Convolution &c, size_t least) {
  return least + (size_t)(settings().workspace_of_image * c.x.n);
}

int compute(const Handle *handle, Product product, const Convolution &c, const void *x, const void *w, const void *y,
            void *space, size_t bytes, float alpha, float beta) {
  if (int wrong = ready(handle)) return wrong;
  const char *who = product == FORWARD ? "a convolution"
                    : product == DATA  ? "the gradient of a convolution's input"
                                       : "the gradient of a convolution's weights";
  std::vector<driver::Use> uses = {
      {x, c.x.bytes(), product == DATA}, {w, c.w.bytes(), product == FILTER}, {y, c.y.bytes(), product == FORWARD}};
  if (bytes > 0) uses.push_back({space, bytes, true});
  // By value: descriptors may be gone when it runs.
  int error = driver::enqueue(handle->stream, who, uses, [=] {
    if (bytes > 0) std::memset(space, 0xff, bytes);
    const Map &to = product == FORWARD ? c.y : product == DATA ? c.x : c.w;
    void *out = (void *)(product == FORWARD ? y : product == DATA ? x : w);
    Numbers found = product == FORWARD ? forward(c, read(c.x, x, c.tf32), read(c.w, w, c.tf32))
                    : product == DATA  ? backward_data(c, read(c.w, w, c.tf32), read(c.y, y, c.tf32))
                                       : backward_filter(c, read(c.x, x, c.tf32), read(c.y, y, c.tf32));
    if (to.type == FLOAT) write((float *)out, found, alpha, beta);
    else write((driver::bf16 *)out, found, alpha, beta);
    return 0;
  });
  return error ? EXECUTION_FAILED : SUCCESS;
}

}  // namespace dnn

extern "C" {

// Sets one of this thread's settings, where `value` is not negative, and gives what it was; -1 where there is none of that
// name.
long long emulated_cudnn(const char *name, long long value) {
  dnn::Settings &all = dnn::settings();
  struct {
    const char *name;
    long long *value;
  } settings[] = {
      {"elements", &all.elements},           {"workspace_of_image", &all.workspace_of_image},
      {"graphs", &all.graphs},               {"data", &all.data},
      {"forgets", &all.forgets},
      {"by_graphs", &all.by_graphs},         {"by_algorithms", &all.by_algorithms},
  };
  for (auto &setting : settings) {
    if (std::strcmp(setting.name, name) != 0) continue;
    long long was = *setting.value;
    if (value >= 0) *setting.value = value;
    return was;
  }
  return -1;
}

}  // extern "C"
