// A GPU as far as the kernels need one, on the processor: grid, blocks, threads, shared memory, barriers and shuffles.
//
// The threads of a block are fibers that run one at a time, in random order, until they wait or end; blocks run one
// after another, in random order too. Shared memory remembers who used it since the last barrier: a cell that two
// threads use, one of them writing, without a barrier between them is an error, whatever order they happened to run in.
// So is a barrier that only some threads reach, one that they reach at different lines, a shuffle that not all lanes of
// a warp take part in, and shared memory that is read before it was written.
#pragma once
#include "fiber.hpp"
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define SHARED(T) static emulated::Cell<T>
#define __syncthreads() emulated::barrier(__FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, lanes) emulated::shuffle_xor(mask, value, lanes, __FILE__, __LINE__)
#define threadIdx (emulated::block.thread->index)
#define blockIdx (emulated::block.index)
#define blockDim (emulated::block.size)
#define gridDim (emulated::strides())
#define REGISTER(name) static emulated::Entry entry_##name(#name, emulated::call<&name>, emulated::kinds(&name), emulated::writes(&name));

inline float __uint_as_float(unsigned int bits) {
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
inline unsigned int __float_as_uint(float v) {
  unsigned int bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
}

// What a library that hides all else shows: two of them in one process must not share the state below.
#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace emulated {

struct Dim {
  unsigned int x, y, z;
};

enum State { READY, BARRIER, SHUFFLE, DONE };

struct Thread {
  Fiber fiber;
  Dim index;
  int number;
  State state;
  // Where it waits, and what it gives and gets in a shuffle.
  const char *file;
  int line, lanes;
  unsigned char given[8], got[8];
};

// The block that runs, and the launch that it is of.
struct Block {
  Dim index, size, grid;
  Thread *thread;
  Fiber scheduler;
  // Where a fault goes that happens without fibers.
  jmp_buf back;
  void (*entry)(void **);
  void **arguments;
  std::string name, error, skipped;
  // Counts barriers and blocks over all time, so that the marks of an earlier block mean nothing to a later one.
  long interval = 0, first_interval = 0;
  std::string last_barrier;
  std::set<std::string> sites;
  // Whether a thread has waited since the launch, or asked for the size of the grid, as kernels do that go over single
  // items; whether none can wait, as there are no fibers.
  bool waited = false, strides = false, plain = false;
};
// Not destroyed at the end, when threads may still wait for their launches; as all that outlives a launch.
inline Block &block = *new Block;
inline Dim &strides() { return block.strides = true, block.grid; }
const int WARP = 32;
const size_t STACK = 64 << 10;

// Ends the block: the first error is kept.
[[noreturn]] inline void fail(const std::string &what) {
  if (block.error.empty()) {
    block.error = block.name + ", block (" + std::to_string(block.index.x) + ", " + std::to_string(block.index.y) +
                  "), thread " + std::to_string(block.thread->number) + ": " + what + "; last barrier: " +
                  (block.last_barrier.empty() ? "none" : block.last_barrier);
  }
  if (block.plain) _longjmp(block.back, 1);
  change(block.thread->fiber, block.scheduler);
  std::abort();
}

// A place in the sources, as `norm/kernel.cu:63`.
inline std::string site(const char *file, int line) {
  std::string name = file;
  size_t folder = name.find_last_of('/');
  if (folder != std::string::npos && folder > 0) folder = name.find_last_of('/', folder - 1);
  return name.substr(folder == std::string::npos ? 0 : folder + 1) + ":" + std::to_string(line);
}

inline void wait(State state, const char *file, int line) {
  Thread *t = block.thread;
  if (block.plain) fail("waits at " + site(file, line) + ", and no thread of the first block waited");
  block.waited = true;
  t->state = state, t->file = file, t->line = line;
  change(t->fiber, block.scheduler);
}

inline void barrier(const char *file, int line) {
  std::string here = site(file, line);
  block.sites.insert(here);
  if (here != block.skipped) wait(BARRIER, file, line);
}

template <typename T> T shuffle_xor(unsigned int mask, T value, int lanes, const char *file, int line) {
  static_assert(sizeof(T) <= 8, "at most eight bytes go through a shuffle");
  if (mask != 0xffffffffu) fail("a shuffle of some lanes is not emulated");
  Thread *t = block.thread;
  std::memcpy(t->given, &value, sizeof value);
  t->lanes = lanes;
  wait(SHUFFLE, file, line);
  std::memcpy(&value, block.thread->got, sizeof value);
  return value;
}

// A cell of shared memory.
template <typename T> class Cell {
  T value{};
  mutable long interval = -1;
  long written = -1;
  mutable int reader = NOBODY;
  mutable int writer = NOBODY;
  static const int NOBODY = -1, MANY = -2;

  static void race(int other) {
    fail("thread " + (other == MANY ? std::string("(many)") : std::to_string(other)) +
         " uses the same cell of shared memory, one of the two writes, and no barrier is between them");
  }
  void enter() const {
    if (interval != block.interval) interval = block.interval, reader = NOBODY, writer = NOBODY;
  }

public:
  constexpr Cell() = default;
  operator T() const {
    int me = block.thread->number;
    enter();
    if (writer != NOBODY && writer != me) race(writer);
    if (written < block.first_interval) fail("reads shared memory that this block has not written");
    reader = reader == NOBODY || reader == me ? me : MANY;
    return value;
  }
  Cell &operator=(T v) {
    int me = block.thread->number;
    enter();
    if (writer != NOBODY && writer != me) race(writer);
    if (reader != NOBODY && reader != me) race(reader);
    value = v, writer = me, written = block.interval;
    return *this;
  }
};

// Kinds of arguments, by which a launch is checked: an address, or a number.
template <typename T> struct Kind;
template <typename T> struct Kind<T *> { static const char LETTER = 'a'; };
template <> struct Kind<int> { static const char LETTER = 'i'; };
template <> struct Kind<unsigned int> { static const char LETTER = 'u'; };
template <> struct Kind<long long> { static const char LETTER = 'l'; };
template <> struct Kind<float> { static const char LETTER = 'f'; };
template <> struct Kind<double> { static const char LETTER = 'd'; };

template <typename... A> std::string kinds(void (*)(A...)) { return {Kind<A>::LETTER...}; }
// Of each argument whether memory is written through it.
template <typename T> struct Writes { static const bool SO = false; };
template <typename T> struct Writes<T *> { static const bool SO = !std::is_const<T>::value; };
template <typename... A> std::vector<bool> writes(void (*)(A...)) { return {Writes<A>::SO...}; }
template <typename... A, size_t... I> void apply(void (*f)(A...), void **arguments, std::index_sequence<I...>) {
  f(*(A *)arguments[I]...);
}
template <typename... A> void apply(void (*f)(A...), void **arguments) {
  apply(f, arguments, std::index_sequence_for<A...>());
}
template <auto F> void call(void **arguments) { apply(F, arguments); }

struct Kernel {
  void (*entry)(void **);
  std::string kinds;
  std::vector<bool> writes;
};
inline std::map<std::string, Kernel> &kernels() {
  static auto &all = *new std::map<std::string, Kernel>;
  return all;
}
struct Entry {
  Entry(const char *name, void (*entry)(void **), std::string kinds, std::vector<bool> writes) {
    kernels()[name] = {entry, kinds, writes};
  }
};

inline void run_thread() {
  block.entry(block.arguments);
  block.thread->state = DONE;
  change(block.thread->fiber, block.scheduler);
}

// Lets those go on that wait for nothing any more; false where there are none.
inline bool release(std::vector<Thread> &threads, std::vector<int> &ready) {
  int n = (int)threads.size();
  for (int first = 0; first + WARP <= n; first += WARP) {
    auto from = threads.begin() + first;
    auto together = [&](const Thread &t) {
      return t.state == SHUFFLE && t.file == from->file && t.line == from->line && t.lanes == from->lanes;
    };
    if (!std::all_of(from, from + WARP, together)) continue;
    for (int lane = 0; lane < WARP; lane++) {
      std::memcpy(from[lane].got, from[lane ^ from->lanes].given, sizeof from->got);
      from[lane].state = READY;
      ready.push_back(first + lane);
    }
  }
  if (!ready.empty()) return true;
  const Thread &one = threads[0];
  auto together = [&](const Thread &t) { return t.state == BARRIER && t.file == one.file && t.line == one.line; };
  if (!std::all_of(threads.begin(), threads.end(), together)) return false;
  block.last_barrier = site(one.file, one.line);
  block.interval++;
  for (Thread &t : threads) t.state = READY, ready.push_back(t.number);
  return true;
}

inline Dim place(unsigned int i) {
  return {i % block.size.x, i / block.size.x % block.size.y, i / block.size.x / block.size.y};
}

// A block none of whose threads waits: one thread after the other, without fibers.
inline void run_plain_block(std::vector<Thread> &threads, std::mt19937 &random) {
  block.first_interval = ++block.interval;
  if (_setjmp(block.back)) return;
  int count = (int)threads.size(), first = (int)(random() % count);
  for (int i = 0; i < count; i++) {
    block.thread = &threads[(first + i) % count];
    block.entry(block.arguments);
  }
}

inline void run_block(std::vector<Thread> &threads, std::vector<unsigned char> &stacks, std::mt19937 &random) {
  std::vector<int> ready;
  for (Thread &t : threads) {
    int i = (int)(&t - threads.data());
    begin(t.fiber, &stacks[i * STACK], STACK, run_thread);
    t.number = i, t.state = READY;
    t.index = place(i);
    ready.push_back(i);
  }
  block.first_interval = ++block.interval;
  block.last_barrier.clear();
  while (block.error.empty()) {
    if (ready.empty() && !release(threads, ready)) {
      for (const Thread &t : threads) {
        if (t.state == DONE) continue;
        block.thread = &threads[t.number];
        block.error = block.name + ", thread " + std::to_string(t.number) + " waits at " + site(t.file, t.line) +
                      " for threads that are not there";
      }
      return;
    }
    size_t pick = random() % ready.size();
    std::swap(ready[pick], ready.back());
    block.thread = &threads[ready.back()];
    ready.pop_back();
    change(block.scheduler, block.thread->fiber);
  }
}

}  // namespace emulated

// Launches a kernel; the message says what is wrong, and is null where nothing is. `skipped` names a barrier to leave out
// (`norm.cu:63`). `arguments` point to values whose kinds are in `kinds`. `quick`: where no thread of the block that ran
// first waited, the others run without fibers.
EXPORTED const char *emulated_launch(const char *name, const unsigned int *grid, const unsigned int *size,
                                       void **arguments, const char *kinds, const char *skipped, unsigned int seed, int quick) {
  using namespace emulated;
  auto found = kernels().find(name);
  block.name = name;
  block.error.clear();
  block.skipped = skipped;
  block.waited = block.strides = block.plain = false;
  if (found == kernels().end()) {
    block.error = block.name + ": there is no such kernel";
    return block.error.c_str();
  }
  if (found->second.kinds != kinds) {
    block.error = block.name + " takes arguments " + found->second.kinds + ", not " + kinds;
    return block.error.c_str();
  }
  block.entry = found->second.entry;
  block.arguments = arguments;
  block.size = {size[0], size[1], size[2]};
  block.grid = {grid[0], grid[1], grid[2]};
  size_t count = (size_t)size[0] * size[1] * size[2];
  if (count == 0 || count > 1024 || grid[0] == 0 || grid[1] == 0 || grid[1] > 65535 || grid[2] != 1) {
    block.error = block.name + ": no GPU has such a grid";
    return block.error.c_str();
  }
  static auto &stacks = *new std::vector<unsigned char>;
  if (stacks.size() < count * STACK) stacks.resize(count * STACK);
  std::vector<Thread> threads(count);
  std::mt19937 random(seed);
  std::vector<size_t> order((size_t)grid[0] * grid[1]);
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  for (size_t i : order) {
    block.index = {(unsigned int)(i % grid[0]), (unsigned int)(i / grid[0]), 0};
    if (block.plain) run_plain_block(threads, random);
    else run_block(threads, stacks, random);
    block.plain = quick && block.strides && !block.waited;
    if (block.error.empty()) continue;
    return block.error.c_str();
  }
  return nullptr;
}

// The barriers that were reached so far, one a line.
EXPORTED const char *emulated_barriers() {
  static std::string all;
  all.clear();
  for (const std::string &site : emulated::block.sites) all += site + "\n";
  return all.c_str();
}
