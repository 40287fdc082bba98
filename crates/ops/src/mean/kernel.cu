// Means over the pixels of images: as mean/cpu.rs takes them.
#include "../gpu/device.cuh"

// The mean over the P pixels of each image, streams added: [N, P, streams * F] to [N, F].
template <typename T> __device__ void pixel_mean(const T *x, i64 pixels, i64 f, int streams, float *out) {
  i64 column = tile_column(), image = blockIdx.y;
  float all = 0;
  for (int s = 0; s < streams; s++) {
    float sum = 0;
    for (i64 p = threadIdx.y; column < f && p < pixels; p += ROWS) {
      sum += to_f32(x[((image * pixels + p) * streams + s) * f + column]);
    }
    all += column_sum(sum) / pixels;
  }
  if (column < f && threadIdx.y == 0) out[image * f + column] = all;
}
KERNELS(pixel_mean, (const T *x, i64 pixels, i64 f, int streams, float *out), (x, pixels, f, streams, out))

// The gradient of pixel_mean: each pixel of each stream gets `share` of the image's gradient.
template <typename T>
__device__ void pixel_spread(const float *dy, i64 pixels, i64 f, int streams, float share, T *dx, i64 items) {
  for (i64 i = first_item(); i < items; i += all_threads()) {
    dx[i] = of_f32<T>(dy[i / (pixels * streams * f) * f + i % f] * share);
  }
}
KERNELS(pixel_spread, (const float *dy, i64 pixels, i64 f, int streams, float share, T *dx, i64 items),
        (dy, pixels, f, streams, share, dx, items))
