// What the parts of the emulated cuDNN share: the three products of a convolution, checked and computed.
#pragma once
#include "driver.hpp"
#include <vector>

namespace dnn {

enum { SUCCESS = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000, EXECUTION_FAILED = 5000 };
enum { FLOAT = 0, BFLOAT16 = 9, CROSS_CORRELATION = 1 };

struct Handle {
  void *stream;
};

// A map, or a filter: channels last, dimensions named N, C, H, W (O, C, K, K).
struct Map {
  int type = -1;
  long long n = 0, c = 0, h = 0, w = 0;
  size_t count() const { return (size_t)(n * c * h * w); }
  size_t bytes() const { return count() * (type == FLOAT ? 4 : 2); }
};

enum Product { FORWARD, DATA, FILTER };

// Filter `w` takes maps `x` to maps `y`.
struct Convolution {
  Map x, w, y;
  int pad = 0, stride = 1;
  // Whether f32 is rounded to TF32 before it is multiplied.
  bool tf32 = false;
};

// What a test may ask of this thread's cuDNN (`emulated_cudnn`).
struct Settings {
  // More elements are refused.
  long long elements = (1LL << 31) - 1;
  // Bytes of workspace that each image needs more.
  long long workspace_of_image = 0;
  // Whether graphs are known.
  long long graphs = 1;
  // Whether any algorithm for the input's gradient is deterministic.
  long long data = 1;
  // Engines of graphs that write over what they should add to, a bit each.
  long long forgets = 0;
  // Products that were computed, by graphs and before them.
  long long by_graphs = 0, by_algorithms = 0;
};
Settings &settings();

// Says what is wrong; BAD_PARAM.
int bad(const char *what);

// Whether handle and context are there.
int ready(const Handle *handle);

// Whether the number of elements is one that cuDNN counts.
bool countable(const Map &map);

// Whether the three fit one another.
int fit(const Convolution &c);

// Bytes of workspace, where a product of one image needs `least`.
size_t workspace(const Convolution &c, size_t least);

// Computes a product: output = alpha * product + beta * output.
int compute(const Handle *handle, Product product, const Convolution &c, const void *x, const void *w, const void *y,
            void *space, size_t bytes, float alpha, float beta);

}  // namespace dnn
