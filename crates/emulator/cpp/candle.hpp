// Those of candle's own kernels that the workspace launches, as plain functions: fill, copy, cast, arithmetic, sums.
//
// They take candle's arguments: the number of elements, the number of dimensions, then dimensions and strides (null
// where tensors are contiguous).
#pragma once
#include "driver.hpp"
#include <cmath>
#include <map>

namespace candle {

template <typename T> T argument(void **arguments, int i) { return *(T *)arguments[i]; }

// Where element `i` of a tensor stands.
inline size_t stands(size_t i, size_t rank, const size_t *dims, const size_t *strides) {
  if (!dims) return i;
  size_t at = 0;
  for (size_t d = rank; d-- > 0; i /= dims[d]) at += i % dims[d] * strides[d];
  return at;
}

// body(element, where it stands in the tensor whose strides come `operand`th).
template <typename F> void for_elements(void **a, int operand, F body) {
  size_t count = argument<size_t>(a, 0), rank = argument<size_t>(a, 1);
  const size_t *dims = argument<const size_t *>(a, 2), *strides = dims ? dims + operand * rank : nullptr;
  for (size_t i = 0; i < count; i++) body(i, stands(i, rank, dims, strides));
}

inline void convert(float from, float &to) { to = from; }
inline void convert(float from, double &to) { to = from; }
inline void convert(double from, float &to) { to = (float)from; }
inline void convert(driver::bf16 from, driver::bf16 &to) { to = from; }
inline void convert(driver::bf16 from, float &to) { to = driver::wide(from); }
inline void convert(float from, driver::bf16 &to) { driver::store(to, from); }
template <typename T> void convert(T from, T &to) { to = from; }
inline void convert(uint8_t from, float &to) { to = from; }
inline void convert(uint32_t from, float &to) { to = (float)from; }

template <typename S, typename T> void cast(void **a) {
  const S *x = argument<const S *>(a, 3);
  T *out = argument<T *>(a, 4);
  for_elements(a, 1, [&](size_t i, size_t at) { convert(x[at], out[i]); });
}
template <typename T> void const_set(void **a) {
  T value = argument<T>(a, 3), *out = argument<T *>(a, 4);
  for_elements(a, 1, [&](size_t, size_t at) { out[at] = value; });
}
template <typename T> void copy2d(void **a) {
  const T *from = argument<const T *>(a, 0);
  T *to = argument<T *>(a, 1);
  uint32_t rows = argument<uint32_t>(a, 2), columns = argument<uint32_t>(a, 3);
  size_t from_row = argument<uint32_t>(a, 4), to_row = argument<uint32_t>(a, 5);
  for (size_t r = 0; r < rows; r++) {
    for (size_t c = 0; c < columns; c++) to[r * to_row + c] = from[r * from_row + c];
  }
}
// Arithmetic is done in f32, or f64 where numbers are.
inline float number(float x) { return x; }
inline double number(double x) { return x; }
inline float number(driver::bf16 x) { return driver::wide(x); }

template <typename T> void affine(void **a) {
  const T *x = argument<const T *>(a, 3);
  T *out = argument<T *>(a, 4), factor = argument<T>(a, 5), shift = argument<T>(a, 6);
  for_elements(a, 1, [&](size_t i, size_t at) {
    convert(number(x ? x[at] : out[i]) * number(factor) + number(shift), out[i]);
  });
}
template <char OPERATION, typename T = float> void binary(void **a) {
  const T *x = argument<const T *>(a, 3), *y = argument<const T *>(a, 4);
  T *out = argument<T *>(a, 5);
  size_t rank = argument<size_t>(a, 1);
  const size_t *dims = argument<const size_t *>(a, 2);
  for_elements(a, 1, [&](size_t i, size_t at) {
    auto l = number(x[at]), r = number(y[stands(i, rank, dims, dims + 2 * rank)]);
    convert(OPERATION == '+' ? l + r : OPERATION == '-' ? l - r : OPERATION == '*' ? l * r : l / r, out[i]);
  });
}
template <float (*FUNCTION)(float), typename T = float> void unary(void **a) {
  const T *x = argument<const T *>(a, 3);
  T *out = argument<T *>(a, 4);
  for_elements(a, 1, [&](size_t i, size_t at) { convert(FUNCTION(number(x ? x[at] : out[i])), out[i]); });
}
inline float square(float x) { return x * x; }
inline float negated(float x) { return -x; }
inline float root(float x) { return std::sqrt(x); }
inline float exponential(float x) { return std::exp(x); }
inline float error_function(float x) { return std::erf(x); }
inline float gelu_erf(float x) { return x * 0.5f * (1 + std::erf(x * 0.70710678f)); }

// Sums over `each` elements; candle has moved the summed dimensions to the end. The first argument counts what is summed, or
// where it is little, the sums.
template <bool LITTLE> void sum(void **a) {
  size_t count = argument<size_t>(a, 0), each = argument<size_t>(a, 1), rank = argument<size_t>(a, 2);
  const size_t *dims = argument<const size_t *>(a, 3);
  const float *x = argument<const float *>(a, 4);
  float *out = argument<float *>(a, 5);
  for (size_t i = 0; i < (LITTLE ? count : count / each); i++) {
    out[i] = 0;
    for (size_t j = i * each; j < (i + 1) * each; j++) out[i] += x[stands(j, rank, dims, dims + rank)];
  }
}

using Kernel = void (*)(void **);
// The argument that is written.
inline size_t written(const std::string &name) {
  if (name.rfind("copy2d", 0) == 0) return 1;
  return name[0] == 'b' || name.rfind("fast_sum", 0) == 0 ? 5 : 4;
}
inline const std::map<std::string, Kernel> &kernels() {
  using driver::bf16;
  static const auto &all = *new std::map<std::string, Kernel>{
      {"const_set_f32", const_set<float>}, {"const_set_bf16", const_set<bf16>}, {"const_set_u32", const_set<uint32_t>},
      {"ucopy_f32", cast<float, float>},   {"ucopy_bf16", cast<bf16, bf16>},    {"ucopy_u32", cast<uint32_t, uint32_t>},
      {"copy2d_f32", copy2d<float>},       {"copy2d_bf16", copy2d<bf16>},       {"copy2d_u32", copy2d<uint32_t>},
      {"cast_f32_bf16", cast<float, bf16>}, {"cast_bf16_f32", cast<bf16, float>}, {"cast_f32_f32", cast<float, float>},
      {"cast_u8_f32", cast<uint8_t, float>}, {"cast_u32_f32", cast<uint32_t, float>},
      {"cast_f32_f64", cast<float, double>}, {"cast_f64_f32", cast<double, float>},
      {"affine_f32", affine<float>},       {"affine_f64", affine<double>},      {"fast_sum_f32", sum<false>},
      {"badd_f32", binary<'+'>},           {"bsub_f32", binary<'-'>},           {"bmul_f32", binary<'*'>},
      {"bdiv_f32", binary<'/'>},           {"badd_f64", binary<'+', double>},   {"bmul_f64", binary<'*', double>},
      {"affine_bf16", affine<bf16>},       {"badd_bf16", binary<'+', bf16>},    {"bmul_bf16", binary<'*', bf16>},
      {"fast_sum_small_f32", sum<true>},   {"usqr_bf16", unary<square, bf16>},
      {"usqr_f32", unary<square>},         {"usqrt_f32", unary<root>},          {"uexp_f32", unary<exponential>},
      {"uerf_f32", unary<error_function>}, {"ugelu_erf_f32", unary<gelu_erf>},  {"uneg_f32", unary<negated>},
  };
  return all;
}

}  // namespace candle
