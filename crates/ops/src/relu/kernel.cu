// ReLU, with an addition before it: as relu/cpu.rs does it.
#include "../gpu/device.cuh"

// max(x + residual, 0); the residual may be missing. With `mask` a byte for each pack tells which elements ReLU lets
// through, the first in the lowest bit.
template <typename T, int V>
__device__ void relu_of(const T *__restrict__ x, const T *__restrict__ residual, T *__restrict__ out,
                        u8 *__restrict__ mask, u32 packs) {
#pragma unroll 2
  for (u32 i = first_item(); i < packs; i += all_threads()) {
    float v[V], w[V] = {};
    u32 open = 0;
    unpack(((const Pack<T, V> *)x)[i], v);
    if (residual) unpack(((const Pack<T, V> *)residual)[i], w);
#pragma unroll
    for (int k = 0; k < V; k++) {
      float y = v[k] + w[k];
      open |= y > 0 ? 1u << k : 0u;
      v[k] = y > 0 ? y : 0.0f;
    }
    ((Pack<T, V> *)out)[i] = packed<T, V>(v);
    if (mask) mask[i] = (u8)open;
  }
}
template <typename T>
__device__ void add_relu(const T *x, const T *residual, T *out, u8 *mask, u32 packs, int wide) {
#define BODY(V) relu_of<T, V>(x, residual, out, mask, packs);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(add_relu, (const T *x, const T *residual, T *out, u8 *mask, u32 packs, int wide),
        (x, residual, out, mask, packs, wide))

// dy becomes zero where ReLU let nothing through; `copy`, where there is one, becomes the same. The mask may have been
// written for packs of `lanes`.
template <typename T, int V>
__device__ void masked(const u8 *__restrict__ mask, u32 lanes, T *dy, T *__restrict__ copy, u32 packs) {
#pragma unroll 2
  for (u32 i = first_item(); i < packs; i += all_threads()) {
    u32 open = open_of<V>(mask, i, lanes);
    float g[V];
    unpack(((const Pack<T, V> *)dy)[i], g);
#pragma unroll
    for (int k = 0; k < V; k++) g[k] = open >> k & 1u ? g[k] : 0.0f;
    Pack<T, V> pack = packed<T, V>(g);
    ((Pack<T, V> *)dy)[i] = pack;
    if (copy) ((Pack<T, V> *)copy)[i] = pack;
  }
}
template <typename T> __device__ void relu_mask(const u8 *mask, u32 lanes, T *dy, T *copy, u32 packs, int wide) {
#define BODY(V) masked<T, V>(mask, lanes, dy, copy, packs);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(relu_mask, (const u8 *mask, u32 lanes, T *dy, T *copy, u32 packs, int wide),
        (mask, lanes, dy, copy, packs, wide))
