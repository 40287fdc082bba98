// What the kernels share: elements of maps, packs of them, and sums over blocks.
//
// The same sources are compiled twice: by nvcc for a GPU, and as C++ against emulated.hpp, which the tests run on the
// processor. So they use of CUDA what that header knows. Sums are taken in a fixed order: no atomics.
#pragma once

#ifdef __CUDACC__
#define SHARED(T) __shared__ T
#define REGISTER(name)
#endif

typedef long long i64;
typedef unsigned int u32;

// A kernel under its own name, to be found by the launching side.
#define KERNEL(name, PARAMETERS) \
  extern "C" __global__ void name PARAMETERS; \
  REGISTER(name) \
  extern "C" __global__ void name PARAMETERS

// The device function `name<T>` as two kernels, for maps of f32 and of bf16. T may appear in PARAMETERS.
#define KERNELS(name, PARAMETERS, ARGUMENTS) \
  namespace maps_f32 { \
  typedef float T; \
  KERNEL(name##_f32, PARAMETERS) { name<T> ARGUMENTS; } \
  } \
  namespace maps_bf16 { \
  typedef bf16 T; \
  KERNEL(name##_bf16, PARAMETERS) { name<T> ARGUMENTS; } \
  }

// The upper half of an f32. Rounding is done in integers, so that every build gives the same bits.
struct bf16 {
  unsigned short bits;
};

__device__ inline float to_f32(float v) { return v; }
__device__ inline float to_f32(bf16 v) { return __uint_as_float((u32)v.bits << 16); }

template <typename T> struct Rounded;
template <> struct Rounded<float> {
  static __device__ float of(float v) { return v; }
};
template <> struct Rounded<bf16> {
  // To nearest, ties to even; NaN stays NaN.
  static __device__ bf16 of(float v) {
    u32 b = __float_as_uint(v);
    bf16 r;
    r.bits = (b & 0x7fffffffu) > 0x7f800000u ? (unsigned short)((b >> 16) | 0x40u)
                                             : (unsigned short)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
    return r;
  }
};
template <typename T> __device__ inline T of_f32(float v) { return Rounded<T>::of(v); }

// V elements that are read and written at once; V is 1, or fills 16 bytes.
template <typename T, int V> struct alignas(sizeof(T) * V) Pack {
  T v[V];
};
template <typename T> struct Wide {
  static const int LANES = 16 / sizeof(T);
};

// Runs `BODY(V)` for packs of 16 bytes where `wide`, else element by element.
#define BY_WIDTH(wide, BODY) \
  if (wide) { \
    BODY(Wide<T>::LANES) \
  } else { \
    BODY(1) \
  }

// The first of this thread's items, and the distance to its next one.
__device__ inline u32 first_item() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline u32 all_threads() { return gridDim.x * blockDim.x; }

struct Plus {
  template <typename S> static __device__ S of(S a, S b) { return a + b; }
};
struct Larger {
  template <typename S> static __device__ S of(S a, S b) { return a > b ? a : b; }
};

template <typename Op, typename S> __device__ inline S warp_reduce(S v) {
  for (int d = 16; d > 0; d >>= 1) v = Op::of(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

// `v` of all threads of a one-dimensional block of whole warps, joined by Op, for each of them; `none` joins to nothing.
template <typename Op, typename S> __device__ inline S block_reduce(S v, S none) {
  SHARED(S) parts[32];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  v = warp_reduce<Op>(v);
  __syncthreads();  // An earlier call's parts have been read.
  if (lane == 0) parts[warp] = v;
  __syncthreads();
  S part = none;
  if (lane < warps) part = parts[lane];
  return warp_reduce<Op>(part);
}
template <typename S> __device__ inline S block_sum(S v) { return block_reduce<Plus>(v, (S)0); }

// Tiles of sums over rows: 32 columns side by side, 8 rows at a time.
const int COLUMNS = 32;
const int ROWS = 8;
__device__ inline i64 tile_column() { return (i64)blockIdx.x * COLUMNS + threadIdx.x; }

// The sum of `v` over the threads of this column, for each of them.
template <typename S> __device__ inline S column_sum(S v) {
  SHARED(S) tile[ROWS][COLUMNS];
  __syncthreads();  // An earlier call's tile has been read.
  tile[threadIdx.y][threadIdx.x] = v;
  __syncthreads();
  S sum = 0;
  for (int y = 0; y < ROWS; y++) sum += (S)tile[y][threadIdx.x];
  return sum;
}
