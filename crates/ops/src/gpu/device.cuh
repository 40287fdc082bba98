// What the kernels share: elements of maps, packs of them, and sums over blocks.
//
// The same sources are compiled twice: by nvcc for a GPU, and as C++ against emulated.hpp, which the tests run on the
// processor. So they use of CUDA what that header knows. Sums are taken in a fixed order: no atomics.
#pragma once

#ifdef __CUDACC__
#define SHARED(T) __shared__ T
#define REGISTER(name)
// Threads of a block at most, and how many blocks are to fit a multiprocessor: that bounds the registers of a thread.
#define BOUNDS(blocks) __launch_bounds__(256, blocks)
#else
#define BOUNDS(blocks)
#endif

typedef long long i64;
typedef unsigned int u32;
typedef unsigned char u8;

// A kernel under its own name, to be found by the launching side.
#define KERNEL(name, PARAMETERS) KERNEL_OF(1, name, PARAMETERS)
#define KERNEL_OF(blocks, name, PARAMETERS) \
  extern "C" __global__ void BOUNDS(blocks) name PARAMETERS; \
  REGISTER(name) \
  extern "C" __global__ void BOUNDS(blocks) name PARAMETERS

// The device function `name<T>` as two kernels, for maps of f32 and of bf16. T may appear in PARAMETERS.
#define KERNELS(name, PARAMETERS, ARGUMENTS) KERNELS_OF(1, name, PARAMETERS, ARGUMENTS)
#define KERNELS_OF(blocks, name, PARAMETERS, ARGUMENTS) \
  namespace maps_f32 { \
  typedef float T; \
  KERNEL_OF(blocks, name##_f32, PARAMETERS) { name<T> ARGUMENTS; } \
  } \
  namespace maps_bf16 { \
  typedef bf16 T; \
  KERNEL_OF(blocks, name##_bf16, PARAMETERS) { name<T> ARGUMENTS; } \
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

template <typename T, int V> __device__ inline void unpack(Pack<T, V> from, float *to) {
#pragma unroll
  for (int k = 0; k < V; k++) to[k] = to_f32(from.v[k]);
}
template <typename T, int V> __device__ inline Pack<T, V> packed(const float *from) {
  Pack<T, V> to;
#pragma unroll
  for (int k = 0; k < V; k++) to.v[k] = of_f32<T>(from[k]);
  return to;
}

// Eight bf16 are four words: two elements are rounded, or taken apart, at once.
template <> struct alignas(16) Pack<bf16, 8> {
  u32 w[4];
};
template <> __device__ inline void unpack<bf16, 8>(Pack<bf16, 8> from, float *to) {
#pragma unroll
  for (int k = 0; k < 4; k++) {
    to[2 * k] = __uint_as_float(from.w[k] << 16);
    to[2 * k + 1] = __uint_as_float(from.w[k] & 0xffff0000u);
  }
}
__device__ inline u32 two_bf16(float low, float high) {
#ifdef __CUDACC__
  // As Rounded does it, but for the bits of a NaN.
  u32 both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
#else
  return (u32)of_f32<bf16>(low).bits | (u32)of_f32<bf16>(high).bits << 16;
#endif
}
template <> __device__ inline Pack<bf16, 8> packed<bf16, 8>(const float *from) {
  Pack<bf16, 8> to;
#pragma unroll
  for (int k = 0; k < 4; k++) to.w[k] = two_bf16(from[2 * k], from[2 * k + 1]);
  return to;
}

// Bytes beside a map, as many as a pack has elements: words, where they fill some.
template <> struct alignas(8) Pack<u8, 8> {
  u32 w[2];
};
template <> struct alignas(4) Pack<u8, 4> {
  u32 w[1];
};
template <int V> __device__ inline Pack<u8, V> bytes_of(const u32 *from) {
  Pack<u8, V> to;
#pragma unroll
  for (int k = 0; k < V / 4; k++) {
    to.w[k] = from[4 * k] | from[4 * k + 1] << 8 | from[4 * k + 2] << 16 | from[4 * k + 3] << 24;
  }
  return to;
}
template <> __device__ inline Pack<u8, 1> bytes_of<1>(const u32 *from) {
  Pack<u8, 1> to = {{(u8)from[0]}};
  return to;
}
// Which bytes are `byte`.
template <int V> __device__ inline void equal_bytes(Pack<u8, V> bytes, u32 byte, bool *equal) {
#pragma unroll
  for (int k = 0; k < V; k++) equal[k] = ((bytes.w[k / 4] ^ byte * 0x01010101u) & 0xffu << k % 4 * 8) == 0;
}
template <> __device__ inline void equal_bytes<1>(Pack<u8, 1> bytes, u32 byte, bool *equal) { equal[0] = bytes.v[0] == byte; }

// The mask's bits of the pack at `at`, of V elements; the mask may have been written for packs of `lanes`.
template <int V> __device__ inline u32 open_of(const u8 *__restrict__ mask, u32 at, u32 lanes) {
  return V > 1 ? mask[at] : mask[at / lanes] >> at % lanes & 1u;
}

// V numbers of a vector of f32, four at a time where V allows it: the vector stands at 16 bytes then.
template <int V> __device__ inline void load(const float *__restrict__ from, float *to) {
  const int AT_ONCE = V % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int k = 0; k < V; k += AT_ONCE) unpack(((const Pack<float, AT_ONCE> *)from)[k / AT_ONCE], to + k);
}

// Runs `BODY(V)` for packs of 16 bytes where `wide`, else element by element.
#define BY_WIDTH(wide, BODY) \
  if (wide) { \
    BODY(Wide<T>::LANES) \
  } else { \
    BODY(1) \
  }

// A map as rows of packs. A block takes a tile: some packs side by side, and as many rows at a time as its threads reach.
// So each thread stays with its channels, and what belongs to a channel can stay in registers.
const int THREADS = 256;
struct Tile {
  // This thread's pack of a row, and its first row within the block; rows that the block has at a time.
  u32 pack, row, rows;
  // Which part of the rows the block takes, and how many parts there are.
  u32 part, parts;
  // Whether there is a pack for this thread.
  bool in;
};
// `packs` make a row; a tile has `side` of them, and `tiles` tiles a row.
#define TILE_PARAMETERS u32 packs, u32 side, u32 tiles
#define TILE_ARGUMENTS packs, side, tiles
__device__ inline Tile tile_of(TILE_PARAMETERS) {
  Tile t;
  t.rows = THREADS / side;
  t.row = threadIdx.x / side;
  t.pack = blockIdx.x % tiles * side + threadIdx.x % side;
  t.part = blockIdx.x / tiles;
  t.parts = gridDim.x / tiles;
  t.in = t.row < t.rows && t.pack < packs;
  return t;
}

// Cells of shared memory that a block's threads have side by side, for each lane of a pack. The distance spreads the lanes
// over the banks.
const int SLOTS = THREADS + 4;

// The channel of a tile that a thread finishes, after all have left their lanes in shared memory: its lane, the first cell
// of its pack, and its number in the map. Threads that finish none have `in` false.
struct Channel {
  u32 lane, slot, number;
  bool in;
};
template <int V> __device__ inline Channel channel_of(TILE_PARAMETERS) {
  Channel c;
  u32 pack = threadIdx.x / V, first = blockIdx.x % tiles * side;
  c.lane = threadIdx.x % V;
  c.slot = pack;
  c.number = (first + pack) * V + c.lane;
  c.in = pack < side && first + pack < packs;
  return c;
}

// Sums over the rows of a tile, for the channel that this thread finishes; `v` are the sums of its own lanes.
template <int V> __device__ inline float tile_sum(const float *v, Tile t, u32 side, Channel c) {
  SHARED(float) sums[V][SLOTS];
  __syncthreads();  // An earlier call's sums have been read.
#pragma unroll
  for (int k = 0; k < V; k++) sums[k][threadIdx.x] = v[k];
  __syncthreads();
  float sum = 0;
  if (c.in) {
    for (u32 y = 0; y < t.rows; y++) sum += (float)sums[c.lane][y * side + c.slot];
  }
  return sum;
}

// 1 / v of an ordinary number, to its last bit or the one before: the compiler's division calls a function for others.
__device__ inline float inverse_of(float v) {
#ifdef __CUDACC__
  float r;
  asm("rcp.approx.f32 %0, %1;" : "=f"(r) : "f"(v));
  return fmaf(r, fmaf(-v, r, 1.0f), r);
#else
  return 1.0f / v;
#endif
}

// The first of this thread's items, and the distance to its next one. Launches have so few items that their sum is a u32.
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

// Merging columns of partial results: eight columns side by side, and 32 threads each, which take MERGED partial results at
// most. Few columns a block make many blocks, and all that a thread reads is in flight at once.
const int MERGE_COLUMNS = 8;
const int MERGE_ROWS = THREADS / MERGE_COLUMNS;
const int MERGED = 32;
__device__ inline u32 merge_column() { return blockIdx.x * MERGE_COLUMNS + threadIdx.x % MERGE_COLUMNS; }
__device__ inline u32 merge_row() { return threadIdx.x / MERGE_COLUMNS; }

// The sum of `v` over the threads of this column, for each of them.
__device__ inline double merge_sum(double v) {
  SHARED(double) parts[THREADS / 32][MERGE_COLUMNS];
  v += __shfl_xor_sync(0xffffffffu, v, 8);
  v += __shfl_xor_sync(0xffffffffu, v, 16);
  __syncthreads();  // An earlier call's parts have been read.
  if (threadIdx.x % 32 < MERGE_COLUMNS) parts[threadIdx.x / 32][threadIdx.x % MERGE_COLUMNS] = v;
  __syncthreads();
  double sum = 0;
  for (int warp = 0; warp < THREADS / 32; warp++) sum += (double)parts[warp][threadIdx.x % MERGE_COLUMNS];
  return sum;
}
