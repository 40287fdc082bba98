// Batch normalisation over rows of [R, C], with residual add and ReLU: as norm/cpu.rs does it.
#include "../gpu/device.cuh"

// Rows that a thread holds at a time.
const int GROUP = 8;

// Rows, their mean, and the sum of their squared distances from it.
struct Part {
  float n, mean, squares;
};

// Chan, Golub and LeVeque 1979: no E[x^2] - E[x]^2, which loses digits.
__device__ inline void join(Part &a, float n, float mean, float squares) {
  if (n == 0) return;
  float all = a.n + n, d = mean - a.mean, share = n / all;
  a.mean += d * share;
  a.squares += squares + d * d * a.n * share;
  a.n = all;
}

// Mean and centred squares of `per_part` rows for each column: [parts, C] each.
template <typename T>
__device__ void moments_parts(const T *x, i64 rows, i64 c, i64 per_part, float *mean, float *squares) {
  SHARED(float) n_of[ROWS][COLUMNS];
  SHARED(float) mean_of[ROWS][COLUMNS];
  SHARED(float) squares_of[ROWS][COLUMNS];
  i64 column = tile_column(), first = blockIdx.y * per_part;
  i64 last = first + per_part < rows ? first + per_part : rows;
  Part part = {0, 0, 0};
  if (column < c) {
    for (i64 r = first + threadIdx.y; r < last; r += ROWS * GROUP) {
      float v[GROUP], n = 0, sum = 0, around = 0;
#pragma unroll
      for (int i = 0; i < GROUP; i++) {
        bool in = r + i * ROWS < last;
        v[i] = in ? to_f32(x[(r + i * ROWS) * c + column]) : 0.0f;
        n += in ? 1.0f : 0.0f;
        sum += v[i];
      }
      float centre = sum / n;
#pragma unroll
      for (int i = 0; i < GROUP; i++) {
        float d = r + i * ROWS < last ? v[i] - centre : 0.0f;
        around += d * d;
      }
      join(part, n, centre, around);
    }
  }
  n_of[threadIdx.y][threadIdx.x] = part.n;
  mean_of[threadIdx.y][threadIdx.x] = part.mean;
  squares_of[threadIdx.y][threadIdx.x] = part.squares;
  __syncthreads();
  if (threadIdx.y == 0 && column < c) {
    for (int y = 1; y < ROWS; y++) {
      join(part, n_of[y][threadIdx.x], mean_of[y][threadIdx.x], squares_of[y][threadIdx.x]);
    }
    mean[blockIdx.y * c + column] = part.mean;
    squares[blockIdx.y * c + column] = part.squares;
  }
}
KERNELS(moments_parts, (const T *x, i64 rows, i64 c, i64 per_part, float *mean, float *squares),
        (x, rows, c, per_part, mean, squares))

// Mean and biased variance of each channel from those of the parts, in double.
KERNEL(moments_merge, (const float *part_mean, const float *part_squares, i64 parts, i64 rows, i64 per_part, i64 c,
                       float *mean, float *var)) {
  i64 column = tile_column();
  bool in = column < c;
  double sum = 0;
  for (i64 p = threadIdx.y; in && p < parts; p += ROWS) {
    double n = p + 1 < parts ? per_part : rows - p * per_part;
    sum += n * part_mean[p * c + column];
  }
  double centre = column_sum(sum) / rows, around = 0;
  for (i64 p = threadIdx.y; in && p < parts; p += ROWS) {
    double n = p + 1 < parts ? per_part : rows - p * per_part, d = part_mean[p * c + column] - centre;
    around += part_squares[p * c + column] + n * d * d;
  }
  around = column_sum(around);
  if (in && threadIdx.y == 0) {
    mean[column] = (float)centre;
    var[column] = (float)(around / rows);
  }
}

// What normalises: y = (x - mean) * scale + shift; gamma and beta may be missing.
KERNEL(norm_affine, (const float *var, const float *gamma, const float *beta, float eps, i64 c, float *inv,
                     float *scale, float *shift)) {
  for (u32 j = first_item(); j < c; j += all_threads()) {
    float i = (float)(1.0 / sqrt((double)var[j] + (double)eps));
    inv[j] = i;
    scale[j] = gamma ? i * gamma[j] : i;
    shift[j] = beta ? beta[j] : 0.0f;
  }
}

template <typename T, int V>
__device__ void normalise(const T *x, const T *residual, const float *mean, const float *scale, const float *shift,
                          int relu, T *out, u32 packs, u32 c) {
  const Pack<T, V> *from = (const Pack<T, V> *)x, *added = (const Pack<T, V> *)residual;
  Pack<T, V> *to = (Pack<T, V> *)out;
  for (u32 i = first_item(); i < packs; i += all_threads()) {
    u32 j = i % (c / V) * V;
    Pack<T, V> a = from[i], r = {};
    if (residual) r = added[i];
#pragma unroll
    for (int k = 0; k < V; k++) {
      float y = (to_f32(a.v[k]) - mean[j + k]) * scale[j + k] + shift[j + k];
      if (residual) y += to_f32(r.v[k]);
      a.v[k] = of_f32<T>(relu && !(y > 0) ? 0.0f : y);
    }
    to[i] = a;
  }
}

template <typename T>
__device__ void norm_forward(const T *x, const T *residual, const float *mean, const float *scale, const float *shift,
                             int relu, T *out, u32 packs, u32 c, int wide) {
#define BODY(V) normalise<T, V>(x, residual, mean, scale, shift, relu, out, packs, c);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(norm_forward,
        (const T *x, const T *residual, const float *mean, const float *scale, const float *shift, int relu, T *out,
         u32 packs, u32 c, int wide),
        (x, residual, mean, scale, shift, relu, out, packs, c, wide))

// Of `per_part` rows: the sums of g and of g * (x - mean), [parts, C] each, g being `dy` where ReLU let through. With y,
// the output of the ReLU, dy becomes g; else the mask is found again from x.
template <typename T>
__device__ void norm_gradient_parts(const T *x, const T *y, T *dy, const float *mean, const float *scale,
                                    const float *shift, int relu, i64 rows, i64 c, i64 per_part, float *sums,
                                    float *centred) {
  i64 column = tile_column(), first = blockIdx.y * per_part;
  i64 last = first + per_part < rows ? first + per_part : rows;
  float sum = 0, products = 0;
  if (column < c) {
    float m = mean[column], s = scale[column], b = shift[column];
    for (i64 r = first + threadIdx.y; r < last; r += ROWS) {
      i64 at = r * c + column;
      float d = to_f32(x[at]) - m, g = to_f32(dy[at]);
      if (y) {
        if (!(to_f32(y[at]) > 0)) g = 0;
        dy[at] = of_f32<T>(g);
      } else if (relu && !(d * s + b > 0)) {
        g = 0;
      }
      sum += g;
      products += g * d;
    }
  }
  sum = column_sum(sum);
  products = column_sum(products);
  if (column < c && threadIdx.y == 0) {
    sums[blockIdx.y * c + column] = sum;
    centred[blockIdx.y * c + column] = products;
  }
}
KERNELS(norm_gradient_parts,
        (const T *x, const T *y, T *dy, const float *mean, const float *scale, const float *shift, int relu, i64 rows,
         i64 c, i64 per_part, float *sums, float *centred),
        (x, y, dy, mean, scale, shift, relu, rows, c, per_part, sums, centred))

// The gradients of gamma and beta, and what the gradient of x needs; `share` is 1 / rows, or 0 for running statistics.
KERNEL(norm_gradient_merge, (const float *sums, const float *centred, i64 parts, i64 c, float share, const float *inv,
                             float *d_gamma, float *d_beta, float *mean_g, float *slope)) {
  i64 column = tile_column();
  double sum = 0, products = 0;
  for (i64 p = threadIdx.y; column < c && p < parts; p += ROWS) {
    sum += sums[p * c + column];
    products += centred[p * c + column];
  }
  float all = (float)column_sum(sum), around = (float)column_sum(products);
  if (column < c && threadIdx.y == 0) {
    float i = inv[column];
    d_gamma[column] = around * i;
    d_beta[column] = all;
    mean_g[column] = all * share;
    slope[column] = around * share * i * i;
  }
}

template <typename T, int V>
__device__ void gradient(const T *x, const T *dy, const float *mean, const float *scale, const float *shift,
                         const float *mean_g, const float *slope, int relu, T *dx, u32 packs, u32 c) {
  const Pack<T, V> *from = (const Pack<T, V> *)x, *gradients = (const Pack<T, V> *)dy;
  Pack<T, V> *to = (Pack<T, V> *)dx;
  for (u32 i = first_item(); i < packs; i += all_threads()) {
    u32 j = i % (c / V) * V;
    Pack<T, V> a = from[i], g = gradients[i];
#pragma unroll
    for (int k = 0; k < V; k++) {
      float d = to_f32(a.v[k]) - mean[j + k], s = scale[j + k], grad = to_f32(g.v[k]);
      if (relu && !(d * s + shift[j + k] > 0)) grad = 0;
      a.v[k] = of_f32<T>(s * (grad - mean_g[j + k] - d * slope[j + k]));
    }
    to[i] = a;
  }
}

// The gradient of x; dx may be dy.
template <typename T>
__device__ void norm_backward(const T *x, const T *dy, const float *mean, const float *scale, const float *shift,
                              const float *mean_g, const float *slope, int relu, T *dx, u32 packs, u32 c, int wide) {
#define BODY(V) gradient<T, V>(x, dy, mean, scale, shift, mean_g, slope, relu, dx, packs, c);
  BY_WIDTH(wide, BODY)
#undef BODY
}
KERNELS(norm_backward,
        (const T *x, const T *dy, const float *mean, const float *scale, const float *shift, const float *mean_g,
         const float *slope, int relu, T *dx, u32 packs, u32 c, int wide),
        (x, dy, mean, scale, shift, mean_g, slope, relu, dx, packs, c, wide))

// Moves a running statistic towards the batch's.
KERNEL(norm_blend, (float *running, const float *batch, float keep, i64 c)) {
  for (u32 j = first_item(); j < c; j += all_threads()) running[j] = keep * running[j] + (1.0f - keep) * batch[j];
}
