// The memory of the emulated GPU and the host's pinned memory: who has it, who used it last, and whether it is whole.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace driver {

// Of each stream, by its number, how many of its items come before.
struct Clock {
  std::vector<uint64_t> items;
  uint64_t at(size_t stream) const { return stream < items.size() ? items[stream] : 0; }
  void set(size_t stream, uint64_t item) {
    if (items.size() <= stream) items.resize(stream + 1);
    items[stream] = item;
  }
  void join(const Clock &other) {
    if (items.size() < other.items.size()) items.resize(other.items.size());
    for (size_t i = 0; i < other.items.size(); i++) {
      if (items[i] < other.items[i]) items[i] = other.items[i];
    }
  }
};

// An item of a stream that used a memory.
struct User {
  size_t stream;
  uint64_t item;
  std::string who;
};

struct Memory {
  // With guard zones around `start` for the GPU's memory; whole pages of the host, which `start` and `alias` both show.
  unsigned char *block, *start;
  size_t bytes;
  // Where the emulated GPU sees it: the host's view of pinned memory may be closed.
  unsigned char *alias;
  bool pinned;
  // The GPU that it was allocated on.
  int device;
  // The last to write it, and those who have read it since, one a stream.
  User writer;
  std::map<size_t, User> readers;
};

// All of the following need the driver's lock, but `bury`.

// Null where there is no memory for it.
Memory *allocate(size_t bytes);
Memory *allocate_pinned(size_t bytes);
// The memory that holds `bytes` from `address` on, or null.
Memory *find(const void *address, size_t bytes);
// Takes it out of those that can be found; null where it is none, or starts elsewhere.
Memory *take(const void *start, bool pinned);
// Gives it back after all that used it: the GPU's becomes NaN. Whether its zones are whole.
bool bury(Memory *memory);
// As memory is that nobody has written: NaN in every type of float.
void unwritten(unsigned char *start, size_t bytes);
size_t bytes_allocated();
const size_t TOTAL = (size_t)80 << 30;

// Whether no memory was written beside, and none after it was freed; complains where one was.
bool unharmed(const char *when);

// Closes the host's view of pinned memory while a copy is in flight: to writing where the GPU reads it, entirely where it
// writes it. A host that touches it nevertheless is complained about and goes on.
void close_view(Memory *memory, bool entirely);
void open_view(Memory *memory);
// Whether a host has touched closed memory since this was asked last.
bool touched();

}  // namespace driver
