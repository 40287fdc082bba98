// Of cuDNN's interface before graphs the convolutions, channels last: descriptors, and the choice of an algorithm.
//
// Descriptors are checked against one another, addresses against the GPU's memory. Of each convolution's two algorithms
// the one that is offered first is not deterministic: whoever asks for it is refused. What an algorithm needs depends on the
// math type, and the answer's may be another than the one that was asked with.
#include "dnn.hpp"

using namespace dnn;

namespace {

enum { NHWC = 1 };
enum { DEFAULT_MATH = 0, TENSOR_OP_MATH = 1, FMA_MATH = 3 };
enum { OTHER = 0, DETERMINISTIC = 1 };

struct Conv {
  int compute = -1, pad, stride, math = DEFAULT_MATH;
};
// What the numbers of cudnnConvolution*AlgoPerf_t are.
struct Answer {
  int algorithm, status;
  float time;
  size_t memory;
  int determinism, math, reserved[3];
};

int understood(const Handle *handle, const Map *x, const Map *w, const Map *y, const Conv *conv, Convolution *c) {
  if (int wrong = ready(handle)) return wrong;
  if (conv->compute != FLOAT) return bad("sums are not of f32");
  *c = {*x, *w, *y, conv->pad, conv->stride, conv->math != FMA_MATH};
  return fit(*c);
}

size_t needed(const Convolution &c, int algorithm, int math) {
  if (algorithm == OTHER) return 0;
  return workspace(c, math == TENSOR_OP_MATH ? 512 : 1024);
}

int offer(Handle *handle, Map *x, Map *w, Map *y, Conv *conv, bool sound, int wanted, int *count, Answer *answers) {
  Convolution c;
  if (int wrong = understood(handle, x, w, y, conv, &c)) return wrong;
  if (wanted < 2) return bad("one algorithm is too few");
  // Whoever asks for FMA and takes the answer's math type as it is gets TF32.
  int math = conv->math == FMA_MATH ? DEFAULT_MATH : TENSOR_OP_MATH;
  *count = 2;
  answers[0] = {OTHER, SUCCESS, -1, needed(c, OTHER, math), 0, math, {}};
  answers[1] = {DETERMINISTIC, SUCCESS, -1, needed(c, DETERMINISTIC, math), sound ? 1 : 0, math, {}};
  return SUCCESS;
}

int size(Handle *handle, Map *x, Map *w, Map *y, Conv *conv, int algorithm, size_t *bytes) {
  Convolution c;
  if (int wrong = understood(handle, x, w, y, conv, &c)) return wrong;
  return *bytes = needed(c, algorithm, conv->math), SUCCESS;
}

int product(Handle *handle, Product which, Map *x, const void *at_x, Map *w, const void *at_w, Map *y, const void *at_y,
            Conv *conv, int algorithm, void *space, size_t bytes, const void *alpha, const void *beta) {
  Convolution c;
  if (int wrong = understood(handle, x, w, y, conv, &c)) return wrong;
  if (algorithm != DETERMINISTIC) return bad("an algorithm that is not deterministic");
  if (bytes < needed(c, algorithm, conv->math)) return bad("the workspace is too small for the algorithm and its math type");
  settings().by_algorithms++;
  return compute(handle, which, c, at_x, at_w, at_y, space, bytes, *(const float *)alpha, *(const float *)beta);
}

int described(Map *map, int format, int type, int n, int c, int h, int w) {
  if (format != NHWC || (type != FLOAT && type != BFLOAT16)) {
    driver::complain("cuDNN: only channels last, f32 and bf16 are emulated");
    return NOT_SUPPORTED;
  }
  if (n <= 0 || c <= 0 || h <= 0 || w <= 0) return bad("a dimension is not positive");
  *map = {type, n, c, h, w};
  if (countable(*map)) return SUCCESS;
  driver::complain("cuDNN: a map of " + std::to_string(map->count()) + " elements is too big");
  return NOT_SUPPORTED;
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return 92101; }
int cudnnCreate(Handle **handle) {
  Handle made = {nullptr};
  if (int wrong = ready(&made)) return wrong;
  return *handle = new Handle(made), SUCCESS;
}
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
  return offer(handle, x, w, y, conv, true, wanted, count, answers);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *handle, Map *w, Map *dy, Conv *conv, Map *dx, int wanted,
                                                int *count, Answer *answers) {
  return offer(handle, dx, w, dy, conv, settings().data != 0, wanted, count, answers);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *handle, Map *x, Map *dy, Conv *conv, Map *dw, int wanted,
                                                  int *count, Answer *answers) {
  return offer(handle, x, dw, dy, conv, true, wanted, count, answers);
}
int cudnnGetConvolutionForwardWorkspaceSize(Handle *handle, Map *x, Map *w, Conv *conv, Map *y, int algorithm,
                                            size_t *bytes) {
  return size(handle, x, w, y, conv, algorithm, bytes);
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(Handle *handle, Map *w, Map *dy, Conv *conv, Map *dx, int algorithm,
                                                 size_t *bytes) {
  return size(handle, dx, w, dy, conv, algorithm, bytes);
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle *handle, Map *x, Map *dy, Conv *conv, Map *dw, int algorithm,
                                                   size_t *bytes) {
  return size(handle, x, dw, dy, conv, algorithm, bytes);
}

int cudnnConvolutionForward(Handle *handle, const void *alpha, Map *x, const void *from, Map *w, const void *weights,
                            Conv *conv, int algorithm, void *space, size_t bytes, const void *beta, Map *y, void *to) {
  return product(handle, FORWARD, x, from, w, weights, y, to, conv, algorithm, space, bytes, alpha, beta);
}
int cudnnConvolutionBackwardData(Handle *handle, const void *alpha, Map *w, const void *weights, Map *dy, const void *from,
                                 Conv *conv, int algorithm, void *space, size_t bytes, const void *beta, Map *dx, void *to) {
  return product(handle, DATA, dx, to, w, weights, dy, from, conv, algorithm, space, bytes, alpha, beta);
}
int cudnnConvolutionBackwardFilter(Handle *handle, const void *alpha, Map *x, const void *from, Map *dy, const void *gradient,
                                   Conv *conv, int algorithm, void *space, size_t bytes, const void *beta, Map *dw, void *to) {
  return product(handle, FILTER, x, from, dw, to, dy, gradient, conv, algorithm, space, bytes, alpha, beta);
}

}  // extern "C"
