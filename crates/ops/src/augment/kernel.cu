// Colour jitter, grayscale and blur of views [N, H, W, C] f32, by TensorFlow's definitions.
//
// A table says what becomes of each view, a row a view: four operations, each with its factor; whether it turns gray; the
// number of the blur's weights; these weights, from the middle outwards.
#include "../gpu/device.cuh"

const int NOTHING = 0, BRIGHTNESS = 1, CONTRAST = 2, SATURATION = 3, HUE = 4;
const int OPS = 4, GRAY = 8, TAPS = 9, HEAD = 10;

__device__ inline float unit(float v) { return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v; }
__device__ inline float larger(float a, float b) { return a > b ? a : b; }
__device__ inline float smaller(float a, float b) { return a < b ? a : b; }

// Every channel moves along its distance from the largest; the ratio ends where saturation is 1.
__device__ inline void saturate(float *v, float factor) {
  float most = larger(larger(v[0], v[1]), v[2]), least = smaller(smaller(v[0], v[1]), v[2]);
  float ratio = most / (most - least);
  if (!(ratio < factor)) ratio = factor;
  if (!(ratio > 0.0f)) ratio = 0.0f;
  for (int k = 0; k < 3; k++) v[k] = most - (most - v[k]) * ratio;
}

__device__ inline void turn_hue(float *v, float delta) {
  float most = larger(larger(v[0], v[1]), v[2]), least = smaller(smaller(v[0], v[1]), v[2]);
  float range = most - least, scale = range > 0.0f ? 1.0f / range : 0.0f;
  float sector = most == v[0]   ? (v[1] - v[2]) * scale
                 : most == v[1] ? (v[2] - v[0]) * scale + 2.0f
                                : (v[0] - v[1]) * scale + 4.0f;
  float turned = sector + delta * 6.0f;
  turned -= floorf(turned * (1.0f / 6.0f)) * 6.0f;
  v[0] = most - range * unit(2.0f - fabsf(turned - 3.0f));
  v[1] = most - range * unit(fabsf(turned - 2.0f) - 1.0f);
  v[2] = most - range * unit(fabsf(turned - 4.0f) - 1.0f);
}

// A pixel after the first `ops` operations of a row, each with its clip.
__device__ inline void pixel_after(const float *pixel, int channels, const float *row, int ops, const float *mean, float *v) {
  for (int k = 0; k < 3; k++) v[k] = k < channels ? pixel[k] : 0.0f;
  for (int i = 0; i < ops; i++) {
    int op = (int)row[2 * i];
    float factor = row[2 * i + 1];
    if (op == NOTHING) continue;
    if (op == BRIGHTNESS) {
      for (int k = 0; k < 3; k++) v[k] *= factor;
    } else if (op == CONTRAST) {
      for (int k = 0; k < 3; k++) v[k] = (v[k] - mean[k]) * factor + mean[k];
    } else if (op == SATURATION) {
      saturate(v, factor);
    } else if (op == HUE) {
      turn_hue(v, factor);
    }
    for (int k = 0; k < 3; k++) v[k] = unit(v[k]);
  }
}

// Jitter, grayscale and a last clip of view `blockIdx.x`. What comes before contrast is computed twice: for the means that
// contrast needs, and for the result.
KERNEL(distort_colors, (float *views, const float *table, i64 pitch, i64 pixels, int channels)) {
  const float *row = table + blockIdx.x * pitch;
  float *view = views + blockIdx.x * pixels * channels;
  float mean[3] = {0, 0, 0}, v[3];
  int before = 0;
  while (before < OPS && (int)row[2 * before] != CONTRAST) before++;
  if (before < OPS) {
    double sums[3] = {0, 0, 0};
    for (i64 p = threadIdx.x; p < pixels; p += blockDim.x) {
      pixel_after(view + p * channels, channels, row, before, mean, v);
      for (int k = 0; k < 3; k++) sums[k] += v[k];
    }
    for (int k = 0; k < 3; k++) mean[k] = (float)(block_sum(sums[k]) / pixels);
  }
  // Each thread changes the pixels that it alone has read.
  for (i64 p = threadIdx.x; p < pixels; p += blockDim.x) {
    pixel_after(view + p * channels, channels, row, OPS, mean, v);
    if (row[GRAY] != 0.0f) v[0] = v[1] = v[2] = 0.2989f * v[0] + 0.5870f * v[1] + 0.1140f * v[2];
    for (int k = 0; k < channels; k++) view[p * channels + k] = unit(v[k]);
  }
}

// Blurs along one axis, whose `extent` numbers lie `step` apart, with zeros beyond; views without blur are left out.
KERNEL(blur_pass, (const float *x, const float *table, u32 pitch, u32 view, u32 step, u32 extent, u32 items, float *out)) {
  for (u32 i = first_item(); i < items; i += all_threads()) {
    const float *row = table + (i64)(i / view) * pitch, *weights = row + HEAD;
    u32 taps = (u32)row[TAPS], place = i / step % extent;
    if (taps == 0) continue;
    float sum = weights[0] * x[i];
    for (u32 d = 1; d < taps; d++) {
      float near = d <= place ? x[i - d * step] : 0.0f, far = place + d < extent ? x[i + d * step] : 0.0f;
      sum += (near + far) * weights[d];
    }
    out[i] = unit(sum);
  }
}
