// Streams and events: queues of work that run as late as what waits for them allows, in a random order among streams.
#include "queues.hpp"
#include <cstdlib>
#include <cstring>
#include <cuda.h>
#include <random>

namespace driver {

std::mutex lock;

namespace {

// A GPU's own queues hold about as many.
const size_t LONGEST = 1024;

// Nothing here is destroyed at the end: threads that end then still free what they have.
auto &changed = *new std::condition_variable;
auto &streams = *new std::deque<Stream>;
// What the host has waited for.
auto &host = *new Clock;
int failed;

struct Flight {
  Memory *memory;
  size_t stream;
  uint64_t item;
  bool written;
};
auto &flights = *new std::vector<Flight>;

const char *setting(const char *name) {
  const char *value = std::getenv(name);
  return value ? value : "";
}
std::mt19937 &random() {
  static auto &numbers = *new std::mt19937((unsigned int)std::strtoul(setting("SIMCLR_EMULATED_SEED"), nullptr, 10) + 1);
  return numbers;
}
bool immediate() {
  static const bool now = std::strcmp(setting("SIMCLR_EMULATED_QUEUES"), "immediate") == 0;
  return now;
}

void set_views(Memory *m) {
  bool any = false, written = false;
  for (const Flight &f : flights) {
    if (f.memory == m) any = true, written = written || f.written;
  }
  if (any) close_view(m, written);
  else open_view(m);
}

void host_has_seen(const Clock &clock) {
  host.join(clock);
  for (size_t i = 0; i < flights.size();) {
    Flight f = flights[i];
    if (host.at(f.stream) < f.item) {
      i++;
      continue;
    }
    flights.erase(flights.begin() + i);
    set_views(f.memory);
  }
}

// Whether the stream waits for those who used the memory before; from here on it is among them.
bool ordered(Stream *s, const Piece &piece, const Use &use, Memory *m) {
  const User *unawaited = nullptr;
  bool other_writes = true;
  auto look = [&](const User &user, bool writes) {
    if (user.stream != s->number && s->clock.at(user.stream) < user.item) unawaited = &user, other_writes = writes;
  };
  look(m->writer, true);
  for (auto &reader : m->readers) {
    if (use.writes && !unawaited) look(reader.second, false);
  }
  if (unawaited) {
    complain(piece.who + " on stream " + std::to_string(s->number) + (use.writes ? " writes" : " reads") + " a memory of " +
             std::to_string(m->bytes) + " bytes that " + unawaited->who + " on stream " +
             std::to_string(unawaited->stream) + (other_writes ? " writes" : " reads") + ", and does not wait for it");
  }
  User me = {s->number, s->pushed, piece.who};
  if (use.writes) m->writer = me, m->readers.clear();
  else m->readers[s->number] = me;
  return !unawaited;
}

uint64_t add(Stream *s, Item item) {
  item.number = ++s->pushed;
  s->clock.join(host);
  s->clock.set(s->number, item.number);
  s->items.push_back(std::move(item));
  return s->pushed;
}

// Runs the first item of a stream, unless it has none, waits, or is at it.
bool step(Held &held, Stream *s) {
  if (s->busy || s->items.empty()) return false;
  if (s->items.front().awaited && !s->items.front().awaited->done) return false;
  if (s->items.front().ready && !s->items.front().ready()) return false;
  Item item = std::move(s->items.front());
  s->items.pop_front();
  s->busy = true;
  int error = 0;
  if (item.work) {
    held.unlock();
    error = item.work();
    item.work = nullptr;
    held.lock();
  }
  if (error && !failed) failed = error;
  s->busy = false, s->done = item.number;
  if (item.recorded) item.recorded->done = true, item.recorded->when = std::chrono::steady_clock::now();
  changed.notify_all();
  return true;
}

// The stream whose first item has to run before those of `s` can.
Stream *needed(Stream *s) {
  while (!s->items.empty() && s->items.front().awaited && !s->items.front().awaited->done) {
    s = s->items.front().awaited->stream;
  }
  return s;
}

// Where other ranks are waited for: what any stream can do meanwhile, or a moment for who else is at it.
void meanwhile(Held &held) {
  size_t count = streams.size(), first = random()() % count;
  for (size_t i = 0; i < count; i++) {
    if (step(held, &streams[(first + i) % count])) return;
  }
  changed.wait_for(held, std::chrono::microseconds(50));
}

void run_until(Held &held, Stream *s, uint64_t number) {
  while (s->done < number) {
    // Sometimes more than is needed.
    if (random()() % 4 == 0) step(held, &streams[random()() % streams.size()]);
    Stream *next = needed(s);
    if (s->done >= number || step(held, next)) continue;
    if (next->busy) changed.wait(held);
    else meanwhile(held);
  }
}

void follow(Held &held, Stream *s, Stream *other) {
  if (s == other || s->clock.at(other->number) >= other->pushed) return;
  await(held, s, record(held, other, false));
}

}  // namespace

Stream *new_stream(bool blocking) {
  // The legacy default stream is the first.
  if (streams.empty()) streams.push_back({0, -1, true});
  streams.push_back({streams.size(), device(), blocking});
  return &streams.back();
}

Stream *stream_of(void *handle) {
  if (streams.empty()) streams.push_back({0, -1, true});
  if (!handle || handle == (void *)CU_STREAM_LEGACY) return &streams[0];
  if (handle != (void *)CU_STREAM_PER_THREAD) return (Stream *)handle;
  static thread_local Stream *mine = nullptr;
  if (!mine) mine = new_stream(true);
  return mine;
}

int push(Held &held, Stream *s, const Piece &piece) {
  if (int error = failure()) return error;
  if (s->device >= 0 && s->device != device()) {
    complain(piece.who + " is for a stream of GPU " + std::to_string(s->device) + ", on a thread whose GPU is " +
             std::to_string(device()));
    return CUDA_ERROR_INVALID_HANDLE;
  }
  if (s->blocking) {
    for (size_t i = 0; i < (s->number == 0 ? streams.size() : 1); i++) {
      if (streams[i].blocking) follow(held, s, &streams[i]);
    }
  }
  for (const Use &use : piece.uses) {
    if (const Memory *m = find(use.address, use.bytes)) {
      if (m->pinned || s->device < 0 || m->device == s->device) continue;
      complain(piece.who + " on GPU " + std::to_string(s->device) + " uses memory of GPU " + std::to_string(m->device));
      return CUDA_ERROR_INVALID_VALUE;
    }
    complain(piece.who + " uses " + std::to_string(use.bytes) + " bytes that are in no memory of the GPU");
    return CUDA_ERROR_INVALID_VALUE;
  }
  s->before = s->clock;
  uint64_t number = add(s, {0, piece.work, nullptr, nullptr, piece.ready});
  bool sound = true;
  for (const Use &use : piece.uses) {
    Memory *m = find(use.address, use.bytes);
    sound = ordered(s, piece, use, m) && sound;
    if (!m->pinned) continue;
    flights.push_back({m, s->number, number, use.writes});
    set_views(m);
  }
  if (immediate()) run_until(held, s, number);
  else if (s->items.size() > LONGEST) run_until(held, s, number - LONGEST / 2);
  return sound ? 0 : CUDA_ERROR_ILLEGAL_ADDRESS;
}

Place record(Held &held, Stream *s, bool early) {
  auto place = std::make_shared<Token>();
  place->stream = s, place->done = false;
  if (early && !s->items.empty()) {
    // It has the number of the work before: no item of its own.
    Item &last = s->items.back();
    auto work = std::move(last.work);
    last.work = [place, work] {
      {
        std::lock_guard<std::mutex> held(lock);
        place->done = true;
        changed.notify_all();
      }
      return work ? work() : 0;
    };
    place->item = last.number - 1, place->clock = s->before;
    return place;
  }
  place->item = add(s, {0, nullptr, nullptr, place});
  place->clock = s->clock;
  if (immediate()) run_until(held, s, place->item);
  return place;
}

void await(Held &held, Stream *s, const Place &place) {
  if (!place) return;
  uint64_t number = add(s, {0, nullptr, place, nullptr});
  s->clock.join(place->clock);
  if (immediate()) run_until(held, s, number);
}

void finish(Held &held, const Place &place) {
  run_until(held, place->stream, place->item);
  host_has_seen(place->clock);
}

void finish_all(Held &held) {
  for (size_t i = 0; i < streams.size(); i++) {
    Stream *s = &streams[i];
    if (s->device >= 0 && s->device != device()) continue;
    Clock clock = s->clock;
    run_until(held, s, s->pushed);
    host_has_seen(clock);
  }
}

void advance(Held &held, const Place &place) {
  if (!step(held, needed(place->stream))) meanwhile(held);
}

int failure() {
  if (touched() && !failed) failed = CUDA_ERROR_ILLEGAL_ADDRESS;
  int error = failed;
  failed = 0;
  return error;
}

bool in_flight(const Memory *memory) {
  for (const Flight &f : flights) {
    if (f.memory == memory) return true;
  }
  return false;
}

int enqueue(void *stream, const std::string &who, const std::vector<Use> &uses, std::function<int()> work,
            std::function<bool()> ready) {
  Held held(lock);
  Stream *s = stream_of(stream);
  Piece piece = {who, uses, std::move(work), std::move(ready)};
  if (!s->captured) return push(held, s, piece);
  s->captured->pieces.push_back(std::move(piece));
  return 0;
}

namespace {

// A kind of call, and how many more of them there are until one is ignored.
struct Plant {
  // Arrays need no destructor: a thread's others may come after it.
  char text[64], kind[64];
  long left;
  void set(const std::string &wanted) {
    size_t colon = wanted.find(':');
    text[wanted.copy(text, sizeof text - 1)] = 0;
    kind[wanted.copy(kind, std::min(colon, sizeof kind - 1))] = 0;
    left = colon == std::string::npos ? 1 : std::atol(wanted.c_str() + colon + 1);
  }
  bool comes(const char *call) {
    if (std::strcmp(kind, call) != 0 || --left != 0) return false;
    return set(""), true;
  }
};
thread_local Plant of_thread;

}  // namespace

bool planted(const char *kind) {
  static std::mutex one;
  static Plant of_process;
  static std::once_flag once;
  std::call_once(once, [] { of_process.set(setting("SIMCLR_EMULATED_SKIP")); });
  std::lock_guard<std::mutex> held(one);
  return of_thread.comes(kind) || of_process.comes(kind);
}

}  // namespace driver

// That call of this thread, as SIMCLR_EMULATED_SKIP would name it, is to be ignored or misplaced. Gives what was planted
// before and has not come to its call.
extern "C" const char *emulated_plant(const char *wanted) {
  static thread_local char left[sizeof driver::of_thread.text];
  std::strcpy(left, driver::of_thread.text);
  driver::of_thread.set(wanted);
  return left;
}
