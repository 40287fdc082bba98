// LARS, SGD and Adam over all parameters in one launch, and sums over them: as optim/*.rs do it.
//
// A block takes one chunk of one tensor. Momentum and weights change in place.
#include "../gpu/device.cuh"

const i64 CHUNK = 1 << 14;

// One tensor: addresses of weights, gradient and states; elements; its first chunk among all.
struct Slot {
  float *w, *g, *first, *second;
  i64 len, chunk;
  i64 adapted;
};

// The tensor that chunk `blockIdx.x` belongs to.
__device__ inline Slot slot_of(const Slot *slots, i64 count) {
  i64 low = 0, high = count;
  while (high - low > 1) {
    i64 middle = (low + high) / 2;
    if (slots[middle].chunk <= (i64)blockIdx.x) low = middle; else high = middle;
  }
  return slots[low];
}
__device__ inline i64 begin_of(Slot s) { return ((i64)blockIdx.x - s.chunk) * CHUNK; }
__device__ inline i64 end_of(Slot s) {
  i64 end = begin_of(s) + CHUNK;
  return end < s.len ? end : s.len;
}

// LARS, first launch: the squares of weights and updates, summed by chunk. Where momentum is not classic it moves here.
KERNEL(lars_norms, (const Slot *slots, i64 count, float momentum, float decay, int classic, int nesterov,
                    double *squares)) {
  Slot s = slot_of(slots, count);
  float d = s.adapted ? decay : 0.0f;
  double of_w = 0, of_u = 0;
  for (i64 i = begin_of(s) + threadIdx.x; i < end_of(s); i += blockDim.x) {
    float w = s.w[i], u = s.g[i] + d * w;
    if (!classic) {
      float v = momentum * s.first[i] + u;
      s.first[i] = v;
      u = nesterov ? momentum * v + u : v;
    }
    of_w += (double)w * w;
    of_u += (double)u * u;
  }
  of_w = block_sum(of_w);
  of_u = block_sum(of_u);
  if (threadIdx.x == 0) {
    squares[2 * (i64)blockIdx.x] = of_w;
    squares[2 * (i64)blockIdx.x + 1] = of_u;
  }
}

// LARS, second launch: the trust ratio from the sums of the tensor's chunks, and the step.
KERNEL(lars_update, (const Slot *slots, i64 count, const double *squares, double lr, double eta, float momentum,
                     float decay, int classic, int nesterov)) {
  Slot s = slot_of(slots, count);
  double of_w = 0, of_u = 0;
  i64 chunks = (s.len + CHUNK - 1) / CHUNK;
  for (i64 i = threadIdx.x; s.adapted && i < chunks; i += blockDim.x) {
    of_w += squares[2 * (s.chunk + i)];
    of_u += squares[2 * (s.chunk + i) + 1];
  }
  double norm = sqrt(block_sum(of_w)), update = sqrt(block_sum(of_u));
  float factor = (float)(lr * (norm > 0 && update > 0 ? eta * norm / update : 1.0)), d = s.adapted ? decay : 0.0f;
  for (i64 i = begin_of(s) + threadIdx.x; i < end_of(s); i += blockDim.x) {
    float w = s.w[i], u = s.g[i] + d * w, v = s.first[i];
    if (classic) {
      u = factor * u;
      v = momentum * v + u;
      s.first[i] = v;
      s.w[i] = w - (nesterov ? momentum * v + u : v);
    } else {
      s.w[i] = w - factor * (nesterov ? momentum * v + u : v);
    }
  }
}

// v <- m v - lr g, w <- w - lr g + m v.
KERNEL(sgd_update, (const Slot *slots, i64 count, float lr, float momentum)) {
  Slot s = slot_of(slots, count);
  for (i64 i = begin_of(s) + threadIdx.x; i < end_of(s); i += blockDim.x) {
    float g = s.g[i], v = momentum * s.first[i] - lr * g;
    s.first[i] = v;
    s.w[i] = (s.w[i] - lr * g) + momentum * v;
  }
}

// Keras' form: epsilon outside the bias correction, which is in lr.
KERNEL(adam_update, (const Slot *slots, i64 count, float lr, float b1, float b2, float eps)) {
  Slot s = slot_of(slots, count);
  for (i64 i = begin_of(s) + threadIdx.x; i < end_of(s); i += blockDim.x) {
    float g = s.g[i], m = s.first[i], q = s.second[i];
    m += (g - m) * (1.0f - b1);
    q += (g * g - q) * (1.0f - b2);
    s.first[i] = m;
    s.second[i] = q;
    s.w[i] -= lr * m / (sqrtf(q) + eps);
  }
}

// The weights rounded to bf16, to where the gradients would stand.
KERNEL(round_weights, (const Slot *slots, i64 count)) {
  Slot s = slot_of(slots, count);
  bf16 *to = (bf16 *)s.g;
  for (i64 i = begin_of(s) + threadIdx.x; i < end_of(s); i += blockDim.x) to[i] = of_f32<bf16>(s.w[i]);
}

// g <- g + factor w: the gradient of factor / 2 |w|^2.
KERNEL(decay_gradients, (const Slot *slots, i64 count, float factor)) {
  Slot s = slot_of(slots, count);
  for (i64 i = begin_of(s) + threadIdx.x; i < end_of(s); i += blockDim.x) s.g[i] += factor * s.w[i];
}

// The squares of the weights, summed by chunk.
KERNEL(sum_squares, (const Slot *slots, i64 count, double *squares)) {
  Slot s = slot_of(slots, count);
  double sum = 0;
  for (i64 i = begin_of(s) + threadIdx.x; i < end_of(s); i += blockDim.x) sum += (double)s.w[i] * s.w[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// The sum of all numbers; one block.
KERNEL(sum_all, (const double *values, i64 items, double *out)) {
  double sum = 0;
  for (i64 i = threadIdx.x; i < items; i += blockDim.x) sum += values[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[0] = sum;
}

// The sums of each tensor's chunks; a block a tensor.
KERNEL(sum_each, (const Slot *slots, const double *squares, double *out)) {
  Slot s = slots[blockIdx.x];
  i64 chunks = (s.len + CHUNK - 1) / CHUNK;
  double sum = 0;
  for (i64 i = threadIdx.x; i < chunks; i += blockDim.x) sum += squares[s.chunk + i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
