// Of cuBLAS the products that candle asks for, and of cuRAND the generator that it makes beside each device.
#include "driver.hpp"
#include <vector>

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_32F_TF32 = 77 };

// Columns of A (m x k after its operation), of B (k x n) and of C (m x n) are next to each other.
struct Product {
  bool ta, tb, tf32;
  int m, n, k, lda, ldb, ldc;
  float alpha, beta;
};

float read(const Product &p, float v) { return p.tf32 ? driver::tf32(v) : v; }
float read(const Product &, driver::bf16 v) { return driver::wide(v); }

template <typename T> void multiply(const Product &p, const T *a, const T *b, T *c) {
  // A's columns as they are multiplied, and one column of C.
  std::vector<float> columns((size_t)p.m * p.k), sum(p.m);
  for (int l = 0; l < p.k; l++) {
    for (int i = 0; i < p.m; i++) {
      columns[(size_t)l * p.m + i] = read(p, p.ta ? a[l + (size_t)i * p.lda] : a[i + (size_t)l * p.lda]);
    }
  }
  for (int j = 0; j < p.n; j++) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int l = 0; l < p.k; l++) {
      float factor = read(p, p.tb ? b[j + (size_t)l * p.ldb] : b[l + (size_t)j * p.ldb]);
      const float *column = &columns[(size_t)l * p.m];
      for (int i = 0; i < p.m; i++) sum[i] += column[i] * factor;
    }
    T *to = c + (size_t)j * p.ldc;
    for (int i = 0; i < p.m; i++) {
      float kept = p.beta == 0 ? 0 : p.beta * driver::wide(to[i]);
      driver::store(to[i], p.alpha * sum[i] + kept);
    }
  }
}

// Elements from the first to the last of a matrix, and of a batch of them.
size_t span(int rows, int columns, int ld, long long stride, int batch) {
  return (size_t)(columns - 1) * ld + rows + (size_t)(batch - 1) * stride;
}

struct Handle {
  void *stream;
};

template <typename T>
int batched(const Handle *handle, const Product &p, const void *a, long long sa, const void *b, long long sb, void *c,
            long long sc, int batch) {
  size_t as = p.ta ? span(p.k, p.m, p.lda, sa, batch) : span(p.m, p.k, p.lda, sa, batch);
  size_t bs = p.tb ? span(p.n, p.k, p.ldb, sb, batch) : span(p.k, p.n, p.ldb, sb, batch);
  size_t cs = span(p.m, p.n, p.ldc, sc, batch);
  std::vector<driver::Use> uses = {{a, as * sizeof(T), false}, {b, bs * sizeof(T), false}, {c, cs * sizeof(T), true}};
  int error = driver::enqueue(handle->stream, "a product of cuBLAS", uses, [=] {
    for (int i = 0; i < batch; i++) multiply(p, (const T *)a + i * sa, (const T *)b + i * sb, (T *)c + i * sc);
    return 0;
  });
  return error ? EXECUTION_FAILED : SUCCESS;
}

int objects;

}  // namespace

extern "C" {

int cublasCreate_v2(Handle **handle) { return *handle = new Handle{nullptr}, SUCCESS; }
int cublasDestroy_v2(Handle *handle) { return delete handle, SUCCESS; }
int cublasSetStream_v2(Handle *handle, void *stream) {
  if (!driver::planted("handle")) handle->stream = stream;
  return SUCCESS;
}
int cublasSetMathMode(Handle *, int) { return SUCCESS; }
int cublasSetPointerMode_v2(Handle *, int mode) { return mode == 0 ? SUCCESS : NOT_SUPPORTED; }

int cublasGemmStridedBatchedEx(Handle *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a,
                               int a_type, int lda, long long sa, const void *b, int b_type, int ldb, long long sb, const void *beta,
                               void *c, int c_type, int ldc, long long sc, int batch, int compute, int) {
  bool leading = lda >= (ta ? k : m) && ldb >= (tb ? n : k) && ldc >= m;
  if (m <= 0 || n <= 0 || k <= 0 || batch <= 0 || !leading || ta > 1 || tb > 1) {
    driver::complain("cuBLAS: sizes or leading dimensions of a product are wrong");
    return INVALID_VALUE;
  }
  if ((compute != COMPUTE_32F && compute != COMPUTE_32F_TF32) || a_type != b_type || a_type != c_type) {
    driver::complain("cuBLAS: a product of these types is not emulated");
    return NOT_SUPPORTED;
  }
  Product p = {ta == 1, tb == 1, compute == COMPUTE_32F_TF32, m, n, k, lda, ldb, ldc, *(const float *)alpha, *(const float *)beta};
  if (a_type == R_32F) return batched<float>(handle, p, a, sa, b, sb, c, sc, batch);
  if (a_type == R_16BF) return batched<driver::bf16>(handle, p, a, sa, b, sb, c, sc, batch);
  driver::complain("cuBLAS: a product of type " + std::to_string(a_type) + " is not emulated");
  return NOT_SUPPORTED;
}

int curandCreateGenerator(void **generator, int) { return *generator = &objects, 0; }
int curandDestroyGenerator(void *) { return 0; }
int curandSetStream(void *, void *) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetGeneratorOffset(void *, unsigned long long) { return 0; }

}  // extern "C"
