// Batch normalisation over rows of [R, C], with residual add and ReLU: as norm/cpu.rs does it.
//
// Maps are rows of packs of V elements, of which each thread takes one column: what belongs to its channels stays in
// registers. Loads of several rows are in flight at once. Blocks take parts of `per_part` rows one after the other. A pass
// for sums begins at the end of a map, where whoever wrote the map ended, and the pass that follows at its beginning: so
// each finds in the cache what was used last.
#include "../gpu/device.cuh"

// Rows whose mean a thread takes at a time, and rows that it loads at a time elsewhere.
const int GROUP = 8;
const int AHEAD = 4;

// Mean and centred squares of `per_part` rows for each channel: [parts, C] each. Groups of rows join by Chan, Golub and
// LeVeque 1979: no E[x^2] - E[x]^2, which loses digits.
template <typename T, int V>
__device__ void moments_of(const T *__restrict__ x, u32 rows, TILE_PARAMETERS, u32 per_part, float *__restrict__ mean,
                           float *__restrict__ squares) {
  SHARED(float) n_of[SLOTS];
  SHARED(float) mean_of[V][SLOTS];
  SHARED(float) squares_of[V][SLOTS];
  Tile t = tile_of(TILE_ARGUMENTS);
  t.part = t.parts - 1 - t.part;
  u32 first = t.part * per_part, last = first + per_part < rows ? first + per_part : rows;
  float n = 0, m[V] = {}, s[V] = {};
  if (t.in) {
    const Pack<T, V> *from = (const Pack<T, V> *)x + t.pack;
    u32 r = first + t.row;
    for (; r + (GROUP - 1) * t.rows < last; r += GROUP * t.rows) {
      Pack<T, V> a[GROUP];
#pragma unroll
      for (int i = 0; i < GROUP; i++) a[i] = from[(r + i * t.rows) * packs];
      float all = n + GROUP, share = GROUP * inverse_of(all), weight = n * share;
      n = all;
      float sum[V] = {}, around[V] = {}, v[V];
#pragma unroll
      for (int i = 0; i < GROUP; i++) {
        unpack(a[i], v);
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] += v[k];
      }
#pragma unroll
      for (int k = 0; k < V; k++) sum[k] *= 1.0f / GROUP;
#pragma unroll
      for (int i = 0; i < GROUP; i++) {
        unpack(a[i], v);
#pragma unroll
        for (int k = 0; k < V; k++) {
          float d = v[k] - sum[k];
          around[k] += d * d;
        }
      }
#pragma unroll
      for (int k = 0; k < V; k++) {
        float d = sum[k] - m[k];
        m[k] += d * share;
        s[k] += around[k] + d * d * weight;
      }
    }
    for (; r < last; r += t.rows) {
      float v[V], share = inverse_of(n + 1.0f), weight = n * share;
      unpack(from[r * packs], v);
      n += 1.0f;
#pragma unroll
      for (int k = 0; k < V; k++) {
        float d = v[k] - m[k];
        m[k] += d * share;
        s[k] += d * d * weight;
      }
    }
  }
  n_of[threadIdx.x] = n;
#pragma unroll
  for (int k = 0; k < V; k++) {
    mean_of[k][threadIdx.x] = m[k];
    squares_of[k][threadIdx.x] = s[k];
  }
  __syncthreads();
  Channel c = channel_of<V>(TILE_ARGUMENTS);
  if (!c.in) return;
  // Around the first thread's mean, as sums of large numbers would lose digits.
  float near = mean_of[c.lane][c.slot], all = 0, sum = 0, around = 0;
  for (u32 y = 0, at = c.slot; y < t.rows; y++, at += side) {
    float count = n_of[at];
    all += count;
    sum += count * ((float)mean_of[c.lane][at] - near);
  }
  float centre = near + sum * inverse_of(all);
  for (u32 y = 0, at = c.slot; y < t.rows; y++, at += side) {
    float d = (float)mean_of[c.lane][at] - centre;
    around += (float)squares_of[c.lane][at] + (float)n_of[at] * d * d;
  }
  u32 to = t.part * (packs * V) + c.number;
  mean[to] = centre;
  squares[to] = around;
}
template <typename T>
__device__ void moments_parts(const T *x, u32 rows, TILE_PARAMETERS, u32 per_part, int wide, float *mean,
                              float *squares) {
#define BODY(V) moments_of<T, V>(x, rows, TILE_ARGUMENTS, per_part, mean, squares);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS_OF(3, moments_parts,
           (const T *x, u32 rows, TILE_PARAMETERS, u32 per_part, int wide, float *mean, float *squares),
           (x, rows, TILE_ARGUMENTS, per_part, wide, mean, squares))

// What normalises, y = (x - mean) * scale + shift, of channel j: 1 / deviation, scale and shift stand after one another.
// Running statistics move towards those of the batch. Gamma, beta and running statistics may be missing.
#define AFFINE_PARAMETERS \
  const float *gamma, const float *beta, float eps, u32 c, float *affine, float *running_mean, float *running_var, \
      float keep
#define AFFINE_ARGUMENTS gamma, beta, eps, c, affine, running_mean, running_var, keep
__device__ inline void affine_of(u32 j, float mean, float var, AFFINE_PARAMETERS) {
  float inv = (float)(1.0 / sqrt((double)var + (double)eps));
  affine[j] = inv;
  affine[c + j] = gamma ? inv * gamma[j] : inv;
  affine[2 * c + j] = beta ? beta[j] : 0.0f;
  if (running_mean) running_mean[j] = keep * running_mean[j] + (1.0f - keep) * mean;
  if (running_var) running_var[j] = keep * running_var[j] + (1.0f - keep) * var;
}

// A channel's mean and squares around it, from those of the parts, in double: for the first thread of its column. All
// threads of the block come here.
struct Merged {
  double centre, around;
};
__device__ inline Merged merge_parts(const float *part_mean, const float *part_squares, u32 parts, u32 rows, u32 per_part,
                                     u32 c, u32 column) {
  float means[MERGED], squares[MERGED];
#pragma unroll
  for (int i = 0; i < MERGED; i++) {
    u32 p = merge_row() + i * MERGE_ROWS;
    bool in = column < c && p < parts;
    means[i] = in ? part_mean[p * c + column] : 0.0f;
    squares[i] = in ? part_squares[p * c + column] : 0.0f;
  }
  double sum = 0, around = 0;
#pragma unroll
  for (int i = 0; i < MERGED; i++) {
    u32 p = merge_row() + i * MERGE_ROWS;
    if (p < parts) sum += (double)(p + 1 < parts ? per_part : rows - p * per_part) * means[i];
  }
  double centre = merge_sum(sum) / rows;
#pragma unroll
  for (int i = 0; i < MERGED; i++) {
    u32 p = merge_row() + i * MERGE_ROWS;
    if (p < parts) {
      double d = means[i] - centre;
      around += squares[i] + (double)(p + 1 < parts ? per_part : rows - p * per_part) * d * d;
    }
  }
  return {centre, merge_sum(around)};
}

// Mean and biased variance of each channel from those of the parts, and all that follows from them.
KERNEL(moments_merge, (const float *part_mean, const float *part_squares, u32 parts, u32 rows, u32 per_part,
                       float *mean, float *var, AFFINE_PARAMETERS)) {
  u32 column = merge_column();
  Merged merged = merge_parts(part_mean, part_squares, parts, rows, per_part, c, column);
  if (column < c && merge_row() == 0) {
    float m = (float)merged.centre, v = (float)(merged.around / rows);
    mean[column] = m;
    var[column] = v;
    affine_of(column, m, v, AFFINE_ARGUMENTS);
  }
}

// What a rank tells the others of its rows: how many there are, then each channel's mean, then the squares around it.
KERNEL(moments_tell, (const float *part_mean, const float *part_squares, u32 parts, u32 rows, u32 per_part, u32 c,
                      double *told)) {
  u32 column = merge_column();
  Merged merged = merge_parts(part_mean, part_squares, parts, rows, per_part, c, column);
  if (column < c && merge_row() == 0) {
    if (column == 0) told[0] = rows;
    told[1 + column] = merged.centre;
    told[1 + c + column] = merged.around;
  }
}

// Mean and biased variance of all ranks' rows from what they told, in the order of ranks, and all that follows from them;
// `share` gets 1 / rows.
KERNEL(moments_of_ranks, (const double *told, u32 ranks, float *mean, float *var, float *share, AFFINE_PARAMETERS)) {
  u32 width = 1 + 2 * c;
  for (u32 j = first_item(); j < c; j += all_threads()) {
    double rows = 0, sum = 0, around = 0;
    for (u32 r = 0; r < ranks; r++) {
      const double *own = told + r * width;
      rows += own[0];
      sum += own[0] * own[1 + j];
    }
    double centre = sum / rows;
    for (u32 r = 0; r < ranks; r++) {
      const double *own = told + r * width;
      double d = own[1 + j] - centre;
      around += own[1 + c + j] + own[0] * d * d;
    }
    float m = (float)centre, v = (float)(around / rows);
    mean[j] = m;
    var[j] = v;
    if (j == 0) share[0] = (float)(1.0 / rows);
    affine_of(j, m, v, AFFINE_ARGUMENTS);
  }
}

// What normalises by moments that are there.
KERNEL(norm_affine, (const float *mean, const float *var, AFFINE_PARAMETERS)) {
  for (u32 j = first_item(); j < c; j += all_threads()) affine_of(j, mean[j], var[j], AFFINE_ARGUMENTS);
}

// A thread's channels: (x - mean) * scale + shift.
template <int V> struct Channels {
  float mean[V], scale[V], shift[V];
  __device__ Channels(const float *of_mean, const float *affine, u32 c, u32 first) {
    load<V>(of_mean + first, mean);
    load<V>(affine + c + first, scale);
    load<V>(affine + 2 * c + first, shift);
  }
};

// What a kernel does about ReLU: there is none; the backward pass finds it again from x; or it is to be read from a mask,
// a byte for each pack, whose bits tell which elements it lets through, the first in the lowest bit.
const int NO_RELU = 0, FROM_X = 1, MASKED = 2;

template <typename T, int V, bool RESIDUAL, int RELU>
__device__ void normalise(const T *__restrict__ x, const T *__restrict__ residual, const float *__restrict__ mean,
                          const float *__restrict__ affine, u32 rows, TILE_PARAMETERS, u32 per_part, T *__restrict__ out,
                          u8 *__restrict__ mask) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  const Pack<T, V> *from = (const Pack<T, V> *)x + t.pack, *added = (const Pack<T, V> *)residual + t.pack;
  Pack<T, V> *to = (Pack<T, V> *)out + t.pack;
  Channels<V> of(mean, affine, packs * V, t.pack * V);
  u32 first = t.part * per_part, last = first + per_part < rows ? first + per_part : rows;
  for (u32 r = first + t.row; r < last; r += AHEAD * t.rows) {
    Pack<T, V> a[AHEAD] = {}, q[AHEAD] = {};
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      u32 row = r + i * t.rows;
      if (row < last) a[i] = from[row * packs];
      if (RESIDUAL && row < last) q[i] = added[row * packs];
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      u32 row = r + i * t.rows, open = 0;
      float v[V], w[V];
      unpack(a[i], v);
      unpack(q[i], w);
#pragma unroll
      for (int k = 0; k < V; k++) {
        float y = (v[k] - of.mean[k]) * of.scale[k] + of.shift[k];
        if (RESIDUAL) y += w[k];
        bool on = y > 0;
        v[k] = RELU != NO_RELU && !on ? 0.0f : y;
        if (RELU == MASKED) open |= on ? 1u << k : 0u;
      }
      if (row < last) {
        to[row * packs] = packed<T, V>(v);
        if (RELU == MASKED) mask[row * packs + t.pack] = (u8)open;
      }
    }
  }
}
template <typename T>
__device__ void norm_forward(const T *x, const T *residual, const float *mean, const float *affine, int relu, u32 rows,
                             TILE_PARAMETERS, u32 per_part, int wide, T *out, u8 *mask) {
#define BODY(V) \
  if (mask) { \
    normalise<T, V, true, MASKED>(x, residual, mean, affine, rows, TILE_ARGUMENTS, per_part, out, mask); \
  } else if (residual && relu) { \
    normalise<T, V, true, FROM_X>(x, residual, mean, affine, rows, TILE_ARGUMENTS, per_part, out, mask); \
  } else if (residual) { \
    normalise<T, V, true, NO_RELU>(x, residual, mean, affine, rows, TILE_ARGUMENTS, per_part, out, mask); \
  } else if (relu) { \
    normalise<T, V, false, FROM_X>(x, residual, mean, affine, rows, TILE_ARGUMENTS, per_part, out, mask); \
  } else { \
    normalise<T, V, false, NO_RELU>(x, residual, mean, affine, rows, TILE_ARGUMENTS, per_part, out, mask); \
  }
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS_OF(3, norm_forward,
           (const T *x, const T *residual, const float *mean, const float *affine, int relu, u32 rows, TILE_PARAMETERS,
            u32 per_part, int wide, T *out, u8 *mask),
           (x, residual, mean, affine, relu, rows, TILE_ARGUMENTS, per_part, wide, out, mask))

// Of `per_part` rows: the sums of g and of g * (x - mean), [parts, C] each, g being `dy` where ReLU let through. With a
// mask dy becomes g; else what ReLU let through is found again from x.
template <typename T, int V, int RELU>
__device__ void gradient_sums(const T *__restrict__ x, const u8 *__restrict__ mask, u32 lanes, T *dy,
                              const float *__restrict__ mean, const float *__restrict__ affine, u32 rows,
                              TILE_PARAMETERS, u32 per_part, float *__restrict__ sums, float *__restrict__ centred) {
  Tile t = tile_of(TILE_ARGUMENTS);
  t.part = t.parts - 1 - t.part;
  u32 first = t.part * per_part, last = first + per_part < rows ? first + per_part : rows;
  float sum[V] = {}, products[V] = {};
  if (t.in) {
    const Pack<T, V> *from = (const Pack<T, V> *)x + t.pack;
    Pack<T, V> *gradients = (Pack<T, V> *)dy + t.pack;
    Channels<V> of(mean, affine, packs * V, t.pack * V);
    for (u32 r = first + t.row; r < last; r += AHEAD * t.rows) {
      Pack<T, V> a[AHEAD] = {}, g[AHEAD] = {};
      u32 open[AHEAD] = {};
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        u32 row = r + i * t.rows;
        if (row < last) {
          a[i] = from[row * packs];
          g[i] = gradients[row * packs];
          if (RELU == MASKED) open[i] = open_of<V>(mask, row * packs + t.pack, lanes);
        }
      }
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        u32 row = r + i * t.rows;
        float v[V], w[V];
        unpack(a[i], v);
        unpack(g[i], w);
#pragma unroll
        for (int k = 0; k < V; k++) {
          float d = v[k] - of.mean[k];
          if (RELU == MASKED) w[k] = open[i] >> k & 1u ? w[k] : 0.0f;
          if (RELU == FROM_X) w[k] = d * of.scale[k] + of.shift[k] > 0 ? w[k] : 0.0f;
          sum[k] += w[k];
          products[k] += w[k] * d;
        }
        if (RELU == MASKED && row < last) gradients[row * packs] = packed<T, V>(w);
      }
    }
  }
  Channel c = channel_of<V>(TILE_ARGUMENTS);
  float all = tile_sum<V>(sum, t, side, c), around = tile_sum<V>(products, t, side, c);
  if (!c.in) return;
  u32 to = t.part * (packs * V) + c.number;
  sums[to] = all;
  centred[to] = around;
}
template <typename T>
__device__ void norm_gradient_parts(const T *x, const u8 *mask, u32 lanes, T *dy, const float *mean,
                                    const float *affine, int relu, u32 rows, TILE_PARAMETERS, u32 per_part, int wide,
                                    float *sums, float *centred) {
#define BODY(V) \
  if (mask) { \
    gradient_sums<T, V, MASKED>(x, mask, lanes, dy, mean, affine, rows, TILE_ARGUMENTS, per_part, sums, centred); \
  } else if (relu) { \
    gradient_sums<T, V, FROM_X>(x, mask, lanes, dy, mean, affine, rows, TILE_ARGUMENTS, per_part, sums, centred); \
  } else { \
    gradient_sums<T, V, NO_RELU>(x, mask, lanes, dy, mean, affine, rows, TILE_ARGUMENTS, per_part, sums, centred); \
  }
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS_OF(2, norm_gradient_parts,
        (const T *x, const u8 *mask, u32 lanes, T *dy, const float *mean, const float *affine, int relu,
         u32 rows, TILE_PARAMETERS, u32 per_part, int wide, float *sums, float *centred),
        (x, mask, lanes, dy, mean, affine, relu, rows, TILE_ARGUMENTS, per_part, wide, sums, centred))

// The gradients of gamma and beta, and what the gradient of x needs: mean of g and slope, after one another. `share` is
// 1 / rows, or 0 for running statistics, or 1 where ranks first sum what they found.
KERNEL(norm_gradient_merge, (const float *sums, const float *centred, u32 parts, u32 c, float share,
                             const float *affine, float *d_gamma, float *d_beta, float *terms)) {
  u32 column = merge_column();
  float own_sums[MERGED], own_products[MERGED];
#pragma unroll
  for (int i = 0; i < MERGED; i++) {
    u32 p = merge_row() + i * MERGE_ROWS;
    bool in = column < c && p < parts;
    own_sums[i] = in ? sums[p * c + column] : 0.0f;
    own_products[i] = in ? centred[p * c + column] : 0.0f;
  }
  double sum = 0, products = 0;
#pragma unroll
  for (int i = 0; i < MERGED; i++) {
    sum += own_sums[i];
    products += own_products[i];
  }
  float all = (float)merge_sum(sum), around = (float)merge_sum(products);
  if (column < c && merge_row() == 0) {
    float i = affine[column];
    d_gamma[column] = around * i;
    d_beta[column] = all;
    terms[column] = all * share;
    terms[c + column] = around * share * i * i;
  }
}

template <typename T, int V, int RELU>
__device__ void gradient(const T *__restrict__ x, const T *dy, const float *__restrict__ mean,
                         const float *__restrict__ affine, const float *__restrict__ terms, u32 rows, TILE_PARAMETERS,
                         u32 per_part, T *dx) {
  Tile t = tile_of(TILE_ARGUMENTS);
  if (!t.in) return;
  const Pack<T, V> *from = (const Pack<T, V> *)x + t.pack, *gradients = (const Pack<T, V> *)dy + t.pack;
  Pack<T, V> *to = (Pack<T, V> *)dx + t.pack;
  u32 c = packs * V;
  Channels<V> of(mean, affine, c, t.pack * V);
  float mean_g[V], slope[V];
  load<V>(terms + t.pack * V, mean_g);
  load<V>(terms + c + t.pack * V, slope);
  u32 first = t.part * per_part, last = first + per_part < rows ? first + per_part : rows;
  for (u32 r = first + t.row; r < last; r += AHEAD * t.rows) {
    Pack<T, V> a[AHEAD] = {}, g[AHEAD] = {};
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      u32 row = r + i * t.rows;
      if (row < last) {
        a[i] = from[row * packs];
        g[i] = gradients[row * packs];
      }
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      u32 row = r + i * t.rows;
      float v[V], w[V];
      unpack(a[i], v);
      unpack(g[i], w);
#pragma unroll
      for (int k = 0; k < V; k++) {
        float d = v[k] - of.mean[k];
        float own = RELU == FROM_X && !(d * of.scale[k] + of.shift[k] > 0) ? 0.0f : w[k];
        v[k] = of.scale[k] * (own - mean_g[k] - d * slope[k]);
      }
      if (row < last) to[row * packs] = packed<T, V>(v);
    }
  }
}

// The gradient of x; dx may be dy.
template <typename T>
__device__ void norm_backward(const T *x, const T *dy, const float *mean, const float *affine, const float *terms,
                              int relu, u32 rows, TILE_PARAMETERS, u32 per_part, int wide, T *dx) {
#define BODY(V) \
  if (relu) { \
    gradient<T, V, FROM_X>(x, dy, mean, affine, terms, rows, TILE_ARGUMENTS, per_part, dx); \
  } else { \
    gradient<T, V, NO_RELU>(x, dy, mean, affine, terms, rows, TILE_ARGUMENTS, per_part, dx); \
  }
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS_OF(2, norm_backward,
        (const T *x, const T *dy, const float *mean, const float *affine, const float *terms, int relu,
         u32 rows, TILE_PARAMETERS, u32 per_part, int wide, T *dx),
        (x, dy, mean, affine, terms, relu, rows, TILE_ARGUMENTS, per_part, wide, dx))

// Moves running mean and variance towards those of a batch.
KERNEL(norm_blend, (float *running_mean, float *running_var, const float *mean, const float *var, float keep, u32 c)) {
  for (u32 j = first_item(); j < c; j += all_threads()) {
    running_mean[j] = keep * running_mean[j] + (1.0f - keep) * mean[j];
    running_var[j] = keep * running_var[j] + (1.0f - keep) * var[j];
  }
}
