// The memory of the emulated GPU and the host's pinned memory.
//
// The GPU's stands between guard zones, is NaN until it is written, and becomes NaN when it is freed. The host's pinned
// memory is mapped twice: once for the host, whose view is closed while a copy is in flight, and once for the GPU.
#include "memory.hpp"
#include "driver.hpp"
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace driver {
namespace {

const size_t GUARD = 256, WAITING = (size_t)64 << 20;
const unsigned char ZONE = 0xa5, UNWRITTEN = 0xff;

// Nothing here is destroyed at the end: threads that end then still free what they have.
auto &memories = *new std::map<uintptr_t, Memory>;
size_t allocated, waiting;
// What was freed last, so that a late write is seen.
auto &freed = *new std::deque<Memory>;
std::mutex graveyard;

bool all(const unsigned char *from, size_t bytes, unsigned char value) {
  return bytes == 0 || (from[0] == value && std::memcmp(from, from + 1, bytes - 1) == 0);
}
bool zones_hold(const Memory &m) {
  return m.pinned || (all(m.block, GUARD, ZONE) && all(m.block + GUARD + m.bytes, GUARD, ZONE));
}

// Views that are closed, where a signal handler can read them without a lock.
struct View {
  std::atomic<uintptr_t> from, bytes;
};
View views[4096];
std::atomic<bool> touch;
struct sigaction before;

size_t pages(size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page;
}

void on_fault(int, siginfo_t *info, void *) {
  uintptr_t address = (uintptr_t)info->si_addr;
  for (View &v : views) {
    uintptr_t from = v.from.load(), bytes = v.bytes.load();
    if (from == 0 || address < from || address >= from + bytes) continue;
    const char said[] = "emulated GPU: the host touches pinned memory while a copy of it is in flight\n";
    touch = true;
    if (write(2, said, sizeof said - 1) < 0) _exit(1);
    mprotect((void *)from, bytes, PROT_READ | PROT_WRITE);
    return;
  }
  // Somebody else's: it comes again, to whoever handled it before.
  sigaction(SIGSEGV, &before, nullptr);
}

void watch_the_host() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &ours, &before);
  });
}

View *view_of(const Memory *m) {
  for (View &v : views) {
    if (v.from.load() == (uintptr_t)m->start) return &v;
  }
  return nullptr;
}

}  // namespace

Memory *allocate(size_t bytes) {
  if (allocated + bytes > TOTAL) return nullptr;
  size_t room = (bytes + 2 * GUARD + GUARD - 1) / GUARD * GUARD;
  auto *block = (unsigned char *)std::aligned_alloc(GUARD, room);
  if (!block) return nullptr;
  std::memset(block, ZONE, GUARD);
  std::memset(block + GUARD, UNWRITTEN, bytes);
  std::memset(block + GUARD + bytes, ZONE, GUARD);
  unsigned char *start = block + GUARD;
  allocated += bytes;
  return &(memories[(uintptr_t)start] = {block, start, bytes, start, false, device(), {}, {}});
}

Memory *allocate_pinned(size_t bytes) {
  watch_the_host();
  int file = memfd_create("pinned", 0);
  if (file < 0) return nullptr;
  size_t room = pages(bytes);
  void *views[2] = {MAP_FAILED, MAP_FAILED};
  if (ftruncate(file, (off_t)room) == 0) {
    for (void *&view : views) view = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  close(file);
  if (views[0] == MAP_FAILED || views[1] == MAP_FAILED) return nullptr;
  auto *host = (unsigned char *)views[0], *gpu = (unsigned char *)views[1];
  return &(memories[(uintptr_t)host] = {host, host, bytes, gpu, true, device(), {}, {}});
}

Memory *find(const void *address, size_t bytes) {
  auto after = memories.upper_bound((uintptr_t)address);
  if (after == memories.begin()) return nullptr;
  Memory &m = std::prev(after)->second;
  return (uintptr_t)address + bytes <= (uintptr_t)m.start + m.bytes ? &m : nullptr;
}

Memory *take(const void *start, bool pinned) {
  auto found = memories.find((uintptr_t)start);
  if (found == memories.end() || found->second.pinned != pinned) return nullptr;
  auto *taken = new Memory(std::move(found->second));
  memories.erase(found);
  if (!pinned) allocated -= taken->bytes;
  return taken;
}

bool bury(Memory *memory) {
  Memory m = std::move(*memory);
  delete memory;
  if (m.pinned) {
    munmap(m.start, pages(m.bytes));
    munmap(m.alias, pages(m.bytes));
    return true;
  }
  bool whole = zones_hold(m);
  if (!whole) complain("a memory of " + std::to_string(m.bytes) + " bytes was written beside");
  std::memset(m.block, UNWRITTEN, m.bytes + 2 * GUARD);
  std::lock_guard<std::mutex> held(graveyard);
  waiting += m.bytes;
  freed.push_back(std::move(m));
  for (; waiting > WAITING; freed.pop_front()) {
    Memory &old = freed.front();
    waiting -= old.bytes;
    if (!all(old.block, old.bytes + 2 * GUARD, UNWRITTEN)) complain("memory was written after it was freed"), whole = false;
    std::free(old.block);
  }
  return whole;
}

void unwritten(unsigned char *start, size_t bytes) { std::memset(start, UNWRITTEN, bytes); }
size_t bytes_allocated() { return allocated; }

bool unharmed(const char *when) {
  std::string at = "at " + std::string(when) + ": ";
  bool sound = true;
  for (auto &entry : memories) {
    if (zones_hold(entry.second)) continue;
    complain(at + "a memory of " + std::to_string(entry.second.bytes) + " bytes was written beside");
    sound = false;
  }
  std::lock_guard<std::mutex> held(graveyard);
  for (auto &m : freed) {
    if (all(m.block, m.bytes + 2 * GUARD, UNWRITTEN)) continue;
    complain(at + "memory was written after it was freed");
    sound = false;
  }
  return sound;
}

void close_view(Memory *m, bool entirely) {
  View *view = view_of(m);
  for (View *v = views; !view && v < std::end(views); v++) {
    if (v->from.load() == 0) view = v;
  }
  if (!view) return complain("more pinned memories are in flight than the emulated GPU watches");
  view->bytes = pages(m->bytes), view->from = (uintptr_t)m->start;
  mprotect(m->start, pages(m->bytes), entirely ? PROT_NONE : PROT_READ);
}

void open_view(Memory *m) {
  View *view = view_of(m);
  if (!view) return;
  mprotect(m->start, pages(m->bytes), PROT_READ | PROT_WRITE);
  view->from = 0;
}

bool touched() { return touch.exchange(false); }

}  // namespace driver
