// NCCL between threads and processes of one machine: each call is work of its stream, in two pieces that no thread waits in:
// one brings a rank's numbers to memory that all ranks share, the other takes those of all, once they are there.
//
// The memory is a file of /dev/shm, without a name once all ranks have it open. Each rank holds a lock on a byte of it,
// which ends with its process: who waits for a rank that is gone goes on with NaN, as after an abort, and is told so by
// ncclCommGetAsyncError. Sums are taken in the order of ranks.
#include "driver.hpp"
#include <atomic>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

namespace {

using driver::complain;

enum { SUCCESS = 0, CUDA_ERROR = 1, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE_ERROR = 6 };
enum { UINT8 = 1, FLOAT32 = 7, FLOAT64 = 8 };
const int SUM = 0;
enum Kind { ALL_REDUCE = 1, ALL_GATHER, BROADCAST };

const int MOST = 64;
// Bytes that a rank brings at a time.
const size_t SLOT = 1 << 20;
const std::chrono::seconds PATIENCE(60);
const std::chrono::milliseconds LOOK(20);

struct Call {
  uint64_t kind, count, type, root;
  bool operator==(const Call &o) const { return kind == o.kind && count == o.count && type == o.type && root == o.root; }
};
// What a rank shows the others. Numbers of calls begin at 1.
struct Shown {
  std::atomic<uint64_t> brought, taken;
  std::atomic<int> there, device, process;
  Call call;
};
struct Room {
  std::atomic<int> size, there, aborted;
  Shown ranks[MOST];
};

struct Id {
  char bytes[128];
};

int lock_byte(int file, int rank, short type) {
  struct flock byte = {};
  byte.l_type = type, byte.l_whence = SEEK_SET, byte.l_start = rank, byte.l_len = 1;
  return fcntl(file, F_OFD_SETLK, &byte);
}

struct Comm {
  Room *room;
  unsigned char *slots;
  int file, rank, size, device;
  uint64_t calls = 0;
  std::atomic<bool> aborted{false}, lost{false};
  // Read and written with the driver's lock held.
  std::chrono::steady_clock::time_point looked;

  Shown &own() { return room->ranks[rank]; }
  unsigned char *slot(int of) { return slots + of * SLOT; }
  size_t bytes() const { return sizeof(Room) + size * SLOT; }
  bool over() const { return aborted || lost || room->aborted; }

  // Whether a rank that was there is gone.
  bool gone(int of) {
    struct flock test = {};
    test.l_type = F_WRLCK, test.l_whence = SEEK_SET, test.l_start = of, test.l_len = 1;
    return of != rank && room->ranks[of].there && fcntl(file, F_OFD_GETLK, &test) == 0 && test.l_type == F_UNLCK;
  }
  // Whether all ranks have come as far, or nobody needs to wait for them any more.
  bool all(std::atomic<uint64_t> Shown::*far, uint64_t call) {
    if (over()) return true;
    int missing = -1;
    for (int r = 0; r < size && missing < 0; r++) {
      if (room->ranks[r].*far < call) missing = r;
    }
    if (missing < 0) return true;
    auto now = std::chrono::steady_clock::now();
    if (now - looked < LOOK) return false;
    looked = now;
    for (int r = 0; r < size; r++) {
      // It may have come so far before it went.
      if (gone(r) && room->ranks[r].*far < call) return lost = true;
    }
    return false;
  }
};

size_t size_of(int type) { return type == UINT8 ? 1 : type == FLOAT32 ? 4 : type == FLOAT64 ? 8 : 0; }

template <typename T> void sum(Comm &c, void *to, size_t count) {
  T *out = (T *)to;
  for (size_t i = 0; i < count; i++) {
    T all = ((const T *)c.slot(0))[i];
    for (int r = 1; r < c.size; r++) all += ((const T *)c.slot(r))[i];
    out[i] = all;
  }
}

// Takes what all ranks have brought, of `count` numbers that begin at the `first`, of `whole`.
int take(Comm &c, const Call &call, size_t first, size_t count, size_t whole, unsigned char *to) {
  size_t each = size_of((int)call.type);
  if (c.over()) {
    for (int r = 0; r < (call.kind == ALL_GATHER ? c.size : 1); r++) std::memset(to + (r * whole + first) * each, 0xff, count * each);
    return 0;
  }
  for (int r = 0; r < c.size; r++) {
    const Call &other = c.room->ranks[r].call;
    if (other == call) continue;
    complain("NCCL: rank " + std::to_string(c.rank) + " makes call " + std::to_string(call.kind) + " of " +
             std::to_string(call.count) + " numbers of type " + std::to_string(call.type) + ", rank " + std::to_string(r) +
             " call " + std::to_string(other.kind) + " of " + std::to_string(other.count) + " of type " +
             std::to_string(other.type));
    // NCCL would hang, or give anything.
    c.room->aborted = 1;
    return take(c, call, first, count, whole, to);
  }
  if (call.kind == ALL_GATHER) {
    for (int r = 0; r < c.size; r++) std::memcpy(to + (r * whole + first) * each, c.slot(r), count * each);
  } else if (call.kind == BROADCAST) {
    std::memcpy(to + first * each, c.slot((int)call.root), count * each);
  } else if (call.type == FLOAT32) {
    sum<float>(c, to + first * each, count);
  } else {
    sum<double>(c, to + first * each, count);
  }
  c.own().taken++;
  return 0;
}

int queue(Comm *c, Kind kind, const void *from, void *to, size_t count, int type, int root, void *stream) {
  size_t each = size_of(type);
  if (!c || each == 0 || (kind == ALL_REDUCE && type == UINT8)) return INVALID_ARGUMENT;
  if (c->aborted) return complain("NCCL: a call after an abort"), INVALID_USAGE;
  if (driver::device() != c->device) return complain("NCCL: a call on a thread whose GPU is another"), INVALID_USAGE;
  bool brings = kind != BROADCAST || c->rank == root;
  size_t received = kind == ALL_GATHER ? count * c->size : count;
  std::vector<driver::Use> uses = {{to, received * each, true}};
  if (brings) uses.push_back({from, count * each, false});
  const char *who = kind == ALL_REDUCE ? "a sum of NCCL" : kind == ALL_GATHER ? "a gather of NCCL" : "a broadcast of NCCL";
  for (size_t first = 0; first < count; first += SLOT / each) {
    size_t part = std::min(count - first, SLOT / each);
    Call call = {(uint64_t)kind, (uint64_t)count, (uint64_t)type, (uint64_t)root};
    uint64_t number = ++c->calls;
    // The slots are free once all have taken what was there; calls of one communicator come one after the other.
    auto free = [=] { return c->all(&Shown::taken, number - 1); };
    auto bring = [=] {
      if (c->over()) return 0;
      c->own().call = call;
      if (brings) std::memcpy(c->slot(c->rank), (const unsigned char *)from + first * each, part * each);
      c->own().brought = number;
      return 0;
    };
    if (driver::enqueue(stream, who, uses, bring, free)) return CUDA_ERROR;
    auto there = [=] { return c->all(&Shown::brought, number); };
    auto taken = [=] { return take(*c, call, first, part, count, (unsigned char *)to); };
    if (driver::enqueue(stream, who, uses, taken, there)) return CUDA_ERROR;
  }
  return SUCCESS;
}

// Waits until all ranks are there.
int meet(Comm *c, const std::string &name) {
  auto until = std::chrono::steady_clock::now() + PATIENCE;
  while (c->room->there < c->size) {
    for (int r = 0; r < c->size; r++) {
      if (c->gone(r)) return complain("NCCL: rank " + std::to_string(r) + " is gone before all are there"), REMOTE_ERROR;
    }
    if (std::chrono::steady_clock::now() > until) return complain("NCCL: not all ranks have come"), SYSTEM_ERROR;
    usleep(200);
  }
  if (c->rank == 0) shm_unlink(name.c_str());
  for (int r = 0; r < c->size; r++) {
    const Shown &other = c->room->ranks[r];
    if (r == c->rank || other.device != c->device || other.process != c->own().process) continue;
    return complain("NCCL: ranks " + std::to_string(c->rank) + " and " + std::to_string(r) + " have one GPU"), INVALID_USAGE;
  }
  return SUCCESS;
}

void leave(Comm *c) {
  munmap(c->room, c->bytes());
  close(c->file);
}

}  // namespace

extern "C" {

int ncclGetVersion(int *version) { return *version = 22800, SUCCESS; }
const char *ncclGetErrorString(int error) {
  switch (error) {
    case SUCCESS: return "no error";
    case SYSTEM_ERROR: return "unhandled system error";
    case INVALID_ARGUMENT: return "invalid argument";
    case INVALID_USAGE: return "invalid usage";
    case REMOTE_ERROR: return "remote process exited or there was a network error";
    default: return "an error";
  }
}
const char *ncclGetLastError(void *) { return "the emulated GPU says on stderr what is wrong"; }

int ncclGetUniqueId(Id *id) {
  std::random_device random;
  std::memset(id, 0, sizeof *id);
  std::snprintf(id->bytes, sizeof id->bytes, "/simclr-emulated-%08x%08x%08x", random(), random(), random());
  return SUCCESS;
}

int ncclCommInitRank(Comm **made, int size, Id id, int rank) {
  if (size < 1 || size > MOST || rank < 0 || rank >= size) return INVALID_ARGUMENT;
  std::string name(id.bytes, strnlen(id.bytes, sizeof id.bytes - 1));
  int file = shm_open(name.c_str(), O_RDWR | O_CREAT, 0600);
  if (file < 0) return SYSTEM_ERROR;
  auto *c = new Comm;
  c->file = file, c->rank = rank, c->size = size, c->device = driver::device();
  void *memory = MAP_FAILED;
  // Zeros, whoever is first.
  if (ftruncate(file, (off_t)c->bytes()) == 0) {
    memory = mmap(nullptr, c->bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (memory == MAP_FAILED) return close(file), delete c, SYSTEM_ERROR;
  c->room = (Room *)memory, c->slots = (unsigned char *)memory + sizeof(Room);
  int none = 0;
  if (lock_byte(file, rank, F_WRLCK) != 0 || c->own().there.exchange(1) != 0 ||
      (!c->room->size.compare_exchange_strong(none, size) && none != size)) {
    complain("NCCL: rank " + std::to_string(rank) + " of " + std::to_string(size) + " comes twice, or among others");
    return leave(c), delete c, INVALID_ARGUMENT;
  }
  c->own().device = c->device, c->own().process = (int)getpid();
  c->room->there++;
  if (int error = meet(c, name)) {
    c->room->aborted = 1;
    shm_unlink(name.c_str());
    return leave(c), delete c, error;
  }
  // Ranks come back from here when they like: one may have ended before another has.
  if (rank == 0) usleep(200'000);
  return *made = c, SUCCESS;
}

// Those who wait for this rank wait in vain. Work that is queued goes on without the others; what it uses stays.
int ncclCommAbort(Comm *c) {
  if (!c) return INVALID_ARGUMENT;
  c->room->aborted = 1;
  return c->aborted = true, SUCCESS;
}
int ncclCommDestroy(Comm *c) {
  if (!c) return INVALID_ARGUMENT;
  // It may still be queued where the caller has not waited.
  bool idle = c->own().taken == c->calls || c->over();
  if (!idle) complain("NCCL: a communicator is destroyed while its work is queued");
  // The lock stays with the mapped memory, too: a file that is closed keeps it.
  if (idle) lock_byte(c->file, c->rank, F_UNLCK), close(c->file), c->file = -1;
  return c->aborted = true, SUCCESS;
}
int ncclCommGetAsyncError(Comm *c, int *error) {
  if (!c) return INVALID_ARGUMENT;
  return *error = c->lost || c->room->aborted ? REMOTE_ERROR : SUCCESS, SUCCESS;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, Comm *c, void *stream) {
  if (operation != SUM) return INVALID_ARGUMENT;
  return queue(c, ALL_REDUCE, from, to, count, type, 0, stream);
}
int ncclAllGather(const void *from, void *to, size_t count, int type, Comm *c, void *stream) {
  return queue(c, ALL_GATHER, from, to, count, type, 0, stream);
}
int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, Comm *c, void *stream) {
  if (root < 0 || (c && root >= c->size)) return INVALID_ARGUMENT;
  return queue(c, BROADCAST, from, to, count, type, root, stream);
}

}  // extern "C"
