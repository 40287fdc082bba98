// Sums of tensors, as tensor/cpu.rs takes them, and pixels that came as bytes.
#include "../gpu/device.cuh"

// sum += term.
template <typename T, int V> __device__ void added(T *sum, const T *__restrict__ term, u32 packs) {
#pragma unroll 2
  for (u32 i = first_item(); i < packs; i += all_threads()) {
    float a[V], b[V];
    unpack(((const Pack<T, V> *)sum)[i], a);
    unpack(((const Pack<T, V> *)term)[i], b);
#pragma unroll
    for (int k = 0; k < V; k++) a[k] += b[k];
    ((Pack<T, V> *)sum)[i] = packed<T, V>(a);
  }
}
template <typename T> __device__ void add_assign(T *sum, const T *term, u32 packs, int wide) {
#define BODY(V) added<T, V>(sum, term, packs);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(add_assign, (T *sum, const T *term, u32 packs, int wide), (sum, term, packs, wide))

// The sum of all numbers times `factor`; one block.
KERNEL(total, (const double *values, i64 items, double factor, float *out)) {
  double sum = 0;
  for (i64 i = threadIdx.x; i < items; i += blockDim.x) sum += values[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[0] = (float)(sum * factor);
}

// Every number times `factor[0]`.
KERNEL(scale_by, (float *values, const float *factor, u32 items)) {
  float f = factor[0];
  for (u32 i = first_item(); i < items; i += all_threads()) values[i] *= f;
}

// Bytes as numbers of 0..1, the bits that the loader gives pixels which it need not resize. A thread's turn is as many of
// them as fill 16 bytes of the result.
template <typename T, int V> __device__ void scale_packs(const unsigned char *bytes, T *out, u32 packs) {
  const Pack<unsigned char, V> *from = (const Pack<unsigned char, V> *)bytes;
  Pack<T, V> *to = (Pack<T, V> *)out;
  for (u32 i = first_item(); i < packs; i += all_threads()) {
    Pack<unsigned char, V> pack = from[i];
    Pack<T, V> scaled;
    for (int k = 0; k < V; k++) scaled.v[k] = of_f32<T>((float)pack.v[k] * (1.0f / 255.0f));
    to[i] = scaled;
  }
}
template <typename T> __device__ void scale_bytes(const unsigned char *bytes, T *out, u32 packs, int wide) {
#define SCALE(V) scale_packs<T, V>(bytes, out, packs);
  BY_WIDTH(wide, SCALE)
#undef SCALE
}
KERNELS(scale_bytes, (const unsigned char *bytes, T *out, u32 packs, int wide), (bytes, out, packs, wide))
