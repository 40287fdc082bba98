// Streams and events: queues of work that run as late as what waits for them allows, in a random order among streams.
//
// Work that other ranks take part in (`nccl.cpp`) may have to wait for them: whoever waits for it runs what else there is.
//
// Two things find a missing wait. Work is done late, so that whoever does not wait reads what was there before. And every
// item knows what comes before it on all streams (a vector clock): a use of a memory that is not ordered behind the last
// write to it, or a write that is not behind the last reads, is an error whatever order they happened to run in.
//
// The environment's SIMCLR_EMULATED_QUEUES=immediate runs all work when it is ordered; SIMCLR_EMULATED_SEED draws other
// orders. SIMCLR_EMULATED_SKIP=KIND, or KIND:N for the Nth, or `emulated_plant`, makes the driver ignore or misplace a call:
//   wait, record, event, stream     an event that a stream should wait for; its record; a wait of the host for either
//   early record                    the record stands before the last work of its stream
//   record|wait|free|copy|launch elsewhere   the call goes to a stream of its own
//   handle                          cuBLAS or cuDNN is not told its stream
#pragma once
#include "driver.hpp"
#include "memory.hpp"
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <set>

namespace driver {

struct Stream;

// A place in a stream.
struct Token {
  Stream *stream;
  uint64_t item;
  Clock clock;
  bool done;
  std::chrono::steady_clock::time_point when;
};
using Place = std::shared_ptr<Token>;

// Work with what it uses.
struct Piece {
  std::string who;
  std::vector<Use> uses;
  std::function<int()> work;
  // Where there is one, work is not begun before it gives true.
  std::function<bool()> ready = nullptr;
};
// What a stream captures, or a graph launches.
struct Graph {
  std::vector<Piece> pieces;
  // Memories that it allocates and does not free again. They last as long as the process.
  std::set<uintptr_t> memories;
};

struct Item {
  uint64_t number;
  std::function<int()> work;
  Place awaited, recorded;
  std::function<bool()> ready = nullptr;
};
struct Stream {
  size_t number;
  // Its GPU; -1 for the legacy default stream, which all have.
  int device;
  // Whether the legacy default stream and it wait for one another.
  bool blocking;
  bool busy = false;
  std::deque<Item> items;
  uint64_t pushed = 0, done = 0;
  // What comes before its next item, and before its last piece of work.
  Clock clock, before;
  std::shared_ptr<Graph> captured;
};
struct Event {
  Place last;
};

using Held = std::unique_lock<std::mutex>;
// Held by all that follows.
extern std::mutex lock;

Stream *new_stream(bool blocking);
// Null is the legacy default stream.
Stream *stream_of(void *handle);
// Behind all that was given to the stream. 0 or an error; so for all that give an int.
int push(Held &held, Stream *s, const Piece &piece);
Place record(Held &held, Stream *s, bool early);
void await(Held &held, Stream *s, const Place &place);
// Runs what the place needs, and perhaps more; the host knows then that it is done.
void finish(Held &held, const Place &place);
// Of this thread's GPU.
void finish_all(Held &held);
// Runs one item, of a stream that `place` needs.
void advance(Held &held, const Place &place);
// The error that work, or a host that did not wait, has left, once.
int failure();
// Whether a copy is in flight that the host has not waited for.
bool in_flight(const Memory *memory);

}  // namespace driver
