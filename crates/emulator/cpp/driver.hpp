// What the parts of the emulated driver share: the memory of the "GPU", and messages about faults.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace driver {

// Writes a fault to stderr: callers get only a number.
void complain(const std::string &what);

// Bytes that a piece of work uses; 0 stands for the whole memory that the address is in.
struct Use {
  const void *address;
  size_t bytes;
  bool writes;
};

// Puts work into a stream's queue (null: the legacy default stream), where it runs later, or into the graph that the stream
// captures, from which it runs any number of times: it owns what it needs, and gives 0 or an error. What it uses is checked
// now: that memories are there and of the stream's GPU, and that the stream waits for whoever used them before. Work that
// other ranks take part in is not begun before it is `ready`, which is asked often and waits for nobody. 0, or an error.
int enqueue(void *stream, const std::string &who, const std::vector<Use> &uses, std::function<int()> work,
            std::function<bool()> ready = nullptr);

// The GPU whose context this thread has made its own, or the first.
int device();

// Whether `bytes` from `address` on lie in one memory that is allocated; complains about `who` where they do not. What is
// queued is checked without it.
bool within(const void *address, size_t bytes, const char *who);

// Whether an address is of the GPU's memory.
bool known(const void *address);

// A stream that nobody else uses.
void *elsewhere();

// Whether the test or the environment wants the next call of that kind to be left out or led astray (`queues.hpp`).
bool planted(const char *kind);

// A number of a map, as f32 and back.
inline float wide(float v) { return v; }
struct bf16 {
  uint16_t bits;
};
inline float wide(bf16 v) {
  uint32_t bits = (uint32_t)v.bits << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof wide);
  return wide;
}
inline void store(float &to, float v) { to = v; }
inline void store(bf16 &to, float v) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, sizeof bits);
  bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to.bits = (uint16_t)(nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// As a GPU reads an f32 that it may multiply as TF32: 10 bits behind the point are left.
inline float tf32(float v) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, sizeof bits);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x0fffu + (bits >> 13 & 1u)) & ~0x1fffu;
  __builtin_memcpy(&v, &bits, sizeof v);
  return v;
}

}  // namespace driver
