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

template <int V> __device__ inline u32 byte_of(Pack<u8, V> bytes, int k) { return bytes.w[k / 4] >> k % 4 * 8 & 0xffu; }
template <> __device__ inline u32 byte_of<1>(Pack<u8, 1> bytes, int) { return bytes.v[0]; }

// Bytes as numbers of 0..1, the bits that the loader gives pixels which it need not resize. A thread's turn is as many of
// them as fill 16 bytes of the result.
template <typename T, int V> __device__ void scaled(const u8 *__restrict__ bytes, T *__restrict__ out, u32 packs) {
#pragma unroll 2
  for (u32 i = first_item(); i < packs; i += all_threads()) {
    Pack<u8, V> from = ((const Pack<u8, V> *)bytes)[i];
    float to[V];
#pragma unroll
    for (int k = 0; k < V; k++) to[k] = (float)byte_of<V>(from, k) * (1.0f / 255.0f);
    ((Pack<T, V> *)out)[i] = packed<T, V>(to);
  }
}
template <typename T> __device__ void scale_bytes(const u8 *bytes, T *out, u32 packs, int wide) {
#define BODY(V) scaled<T, V>(bytes, out, packs);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(scale_bytes, (const u8 *bytes, T *out, u32 packs, int wide), (bytes, out, packs, wide))
