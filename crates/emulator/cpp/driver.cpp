// The CUDA driver's devices, contexts, streams, events, graphs and memory, on the processor.
//
// There are four devices, or as many as SIMCLR_EMULATED_DEVICES says. `queues.hpp` says when work runs and what is found; `memory.hpp` what memory is.
#include "driver.hpp"
#include "memory.hpp"
#include "queues.hpp"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda.h>
#include <thread>

namespace driver {
namespace {

thread_local CUcontext current;
const int MOST = 64;
int contexts[MOST], objects;
CUcontext context(CUdevice device) { return (CUcontext)&contexts[device]; }
int devices() {
  static const char *wanted = std::getenv("SIMCLR_EMULATED_DEVICES");
  return wanted ? std::min(std::max(std::atoi(wanted), 0), MOST) : 4;
}
// Anything that is not null.
template <typename T> CUresult object(T *handle) {
  *handle = (T)&objects;
  return CUDA_SUCCESS;
}

bool pools() {
  const char *wanted = std::getenv("SIMCLR_EMULATED_POOLS");
  return !wanted || std::strcmp(wanted, "0") != 0;
}
CUresult unsupported(const std::string &what) {
  complain(what + " while a stream captures: a graph cannot hold that, or it is not emulated");
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}
// What comes of a wait of the host.
CUresult synchronised() {
  bool sound = unharmed("a synchronisation");
  if (int error = failure()) return (CUresult)error;
  return sound ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}
// Where a call goes that is led astray.
void *astray(const char *kind, void *stream) {
  return planted(kind) ? elsewhere() : stream;
}

CUresult set(CUstream stream, CUdeviceptr to, unsigned char value, size_t bytes) {
  if (!current) return CUDA_ERROR_INVALID_CONTEXT;
  return (CUresult)enqueue(stream, "a fill of memory", {{(void *)to, bytes, true}}, [=] {
    std::memset((void *)to, value, bytes);
    return 0;
  });
}

enum Side { DEVICE, HOST };
// Where the emulated GPU sees host memory; null where it is pageable.
unsigned char *pinned(const void *host, size_t bytes) {
  Held held(lock);
  Memory *m = find(host, bytes);
  return m && m->pinned ? m->alias + ((unsigned char *)host - m->start) : nullptr;
}

// Copies that are queued; `blocking`: the host waits for them.
CUresult copy(CUstream stream, Side to_side, void *to, Side from_side, const void *from, size_t bytes, bool blocking,
              const char *who) {
  if (!current) return CUDA_ERROR_INVALID_CONTEXT;
  if (bytes == 0) return CUDA_SUCCESS;
  if (!blocking) stream = (CUstream)astray("copy elsewhere", stream);
  std::vector<Use> uses;
  unsigned char *target = (unsigned char *)to, *gpu = nullptr;
  // Pageable memory is read before the call returns, pinned memory when the copy runs.
  std::shared_ptr<std::vector<unsigned char>> staged;
  const unsigned char *source = (const unsigned char *)from;
  if (to_side == DEVICE || (gpu = pinned(to, bytes))) uses.push_back({to, bytes, true});
  if (gpu) target = gpu;
  // Pageable memory gets the numbers before the call returns.
  else blocking = blocking || to_side == HOST;
  if (from_side == DEVICE) {
    uses.push_back({from, bytes, false});
  } else if (unsigned char *seen = pinned(from, bytes)) {
    uses.push_back({from, bytes, false});
    source = seen;
  } else {
    staged = std::make_shared<std::vector<unsigned char>>(source, source + bytes);
    source = staged->data();
  }
  Held held(lock);
  Stream *s = stream_of(stream);
  Piece piece = {who, uses, [=] {
    (void)staged;
    std::memmove(target, source, bytes);
    return 0;
  }};
  if (s->captured) {
    if (blocking || staged) return unsupported(who);
    s->captured->pieces.push_back(piece);
    return CUDA_SUCCESS;
  }
  if (int error = push(held, s, piece)) return (CUresult)error;
  if (!blocking) return CUDA_SUCCESS;
  finish(held, record(held, s, false));
  return (CUresult)failure();
}

CUresult allocate_in(void *handle, bool ordered, CUdeviceptr *address, size_t bytes) {
  if (!current) return CUDA_ERROR_INVALID_CONTEXT;
  if (!address || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (ordered && !pools()) return CUDA_ERROR_NOT_SUPPORTED;
  Held held(lock);
  Stream *s = ordered ? stream_of(handle) : nullptr;
  Memory *m = allocate(bytes);
  if (!m) return CUDA_ERROR_OUT_OF_MEMORY;
  unsigned char *start = m->start;
  *address = (CUdeviceptr)start;
  if (!ordered) return CUDA_SUCCESS;
  Piece piece = {"an allocation", {{start, bytes, true}}, nullptr};
  if (!s->captured) return (CUresult)push(held, s, piece);
  // The graph's own, at one address for good: each launch finds it as new memory is.
  piece.work = [=] { return unwritten(start, bytes), 0; };
  s->captured->memories.insert((uintptr_t)start);
  s->captured->pieces.push_back(piece);
  return CUDA_SUCCESS;
}

CUresult free_in(void *handle, CUdeviceptr address) {
  if (address == 0) return CUDA_SUCCESS;
  handle = astray("free elsewhere", handle);
  Held held(lock);
  Stream *s = stream_of(handle);
  Memory *m = find((void *)address, 0);
  if (!m || m->pinned || m->start != (void *)address) {
    complain("memory is freed that is not allocated");
    return CUDA_ERROR_INVALID_VALUE;
  }
  Piece piece = {"the free", {{m->start, m->bytes, true}}, nullptr};
  if (s->captured) {
    if (!s->captured->memories.erase(address)) return unsupported("a free of memory that was allocated before");
    unsigned char *start = m->start;
    size_t bytes = m->bytes;
    piece.work = [=] { return unwritten(start, bytes), 0; };
    s->captured->pieces.push_back(piece);
    return CUDA_SUCCESS;
  }
  // It goes behind those who use it, or not at all.
  if (int error = push(held, s, piece)) return (CUresult)error;
  Memory *taken = take((void *)address, false);
  piece.uses.clear();
  piece.work = [taken] { return bury(taken) ? 0 : (int)CUDA_ERROR_ILLEGAL_ADDRESS; };
  return (CUresult)push(held, s, piece);
}

CUresult free_now(void *address, bool is_pinned) {
  if (!address) return CUDA_SUCCESS;
  Held held(lock);
  Memory *m = find(address, 0);
  if (!m || m->pinned != is_pinned || m->start != address) {
    complain("memory is freed that is not allocated");
    return CUDA_ERROR_INVALID_VALUE;
  }
  // CUDA waits here; whoever counts on it is told nevertheless.
  bool early = is_pinned && in_flight(m);
  if (early) complain("pinned memory is freed while a copy of it is in flight");
  finish_all(held);
  bool whole = bury(take(address, is_pinned));
  return whole && !early ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}

}  // namespace

int device() { return current ? (int)((int *)current - contexts) : 0; }
bool within(const void *address, size_t bytes, const char *who) {
  Held held(lock);
  if (find(address, bytes)) return true;
  complain(std::string(who) + " uses " + std::to_string(bytes) + " bytes that are in no memory of the GPU");
  return false;
}
bool known(const void *address) {
  Held held(lock);
  return find(address, 0) != nullptr;
}
void *elsewhere() {
  Held held(lock);
  return new_stream(false);
}
void complain(const std::string &what) { std::fprintf(stderr, "emulated GPU: %s\n", what.c_str()); }

}  // namespace driver

using namespace driver;

extern "C" {

CUresult cuInit(unsigned int) { return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int *version) { return *version = CUDA_VERSION, CUDA_SUCCESS; }
CUresult cuGetErrorName(CUresult error, const char **name) {
  switch (error) {
#define NAMED(e) case e: return *name = #e, CUDA_SUCCESS;
    NAMED(CUDA_ERROR_INVALID_VALUE)
    NAMED(CUDA_ERROR_OUT_OF_MEMORY)
    NAMED(CUDA_ERROR_INVALID_CONTEXT)
    NAMED(CUDA_ERROR_INVALID_DEVICE)
    NAMED(CUDA_ERROR_INVALID_HANDLE)
    NAMED(CUDA_ERROR_INVALID_PTX)
    NAMED(CUDA_ERROR_NOT_FOUND)
    NAMED(CUDA_ERROR_ILLEGAL_ADDRESS)
    NAMED(CUDA_ERROR_LAUNCH_FAILED)
    NAMED(CUDA_ERROR_NOT_READY)
    NAMED(CUDA_ERROR_NOT_SUPPORTED)
    NAMED(CUDA_ERROR_ILLEGAL_STATE)
    NAMED(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    default: return *name = "an error", CUDA_SUCCESS;
#undef NAMED
  }
}
CUresult cuGetErrorString(CUresult error, const char **text) { return cuGetErrorName(error, text); }

CUresult cuDeviceGetCount(int *count) { return *count = devices(), CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  return *device = ordinal, ordinal >= 0 && ordinal < devices() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuDeviceGetName(char *name, int room, CUdevice) { return std::snprintf(name, room, "emulated GPU"), CUDA_SUCCESS; }
CUresult cuDeviceGetUuid_v2(CUuuid *id, CUdevice device) {
  std::memset(id, 0, sizeof *id);
  return id->bytes[0] = (char)(device + 1), CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice) { return *bytes = TOTAL, CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
    // SIMCLR_EMULATED_POOLS=0: a GPU that has none.
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = pools(); break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    default: complain("attribute " + std::to_string(attribute) + " of a device is not emulated"); return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice) {
  return pools() ? object(pool) : CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) { return cuDeviceGetDefaultMemPool(pool, device); }
CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, void *) { return CUDA_SUCCESS; }
CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) { return CUDA_SUCCESS; }

CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice device) { return *c = context(device), CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *c) { return *c = current, CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext c) { return current = c, CUDA_SUCCESS; }
CUresult cuCtxDestroy_v2(CUcontext) { return CUDA_SUCCESS; }
CUresult cuCtxSetFlags(unsigned int) { return CUDA_SUCCESS; }
CUresult cuCtxSynchronize() {
  Held held(lock);
  finish_all(held);
  return synchronised();
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
  Held held(lock);
  return *stream = (CUstream)new_stream(!(flags & CU_STREAM_NON_BLOCKING)), CUDA_SUCCESS;
}
CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int) { return cuStreamCreate(stream, flags); }
// Its work goes on.
CUresult cuStreamDestroy_v2(CUstream) { return CUDA_SUCCESS; }
CUresult cuStreamSynchronize(CUstream stream) {
  if (planted("stream")) return CUDA_SUCCESS;
  Held held(lock);
  Stream *s = stream_of(stream);
  if (s->captured) return unsupported("a wait of the host");
  finish(held, record(held, s, false));
  return synchronised();
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int) {
  if (planted("wait")) return CUDA_SUCCESS;
  stream = (CUstream)astray("wait elsewhere", stream);
  Held held(lock);
  Stream *s = stream_of(stream);
  const Place &place = ((Event *)event)->last;
  if (s->captured) return place ? unsupported("a wait for an event") : CUDA_SUCCESS;
  return await(held, s, place), CUDA_SUCCESS;
}
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn work, void *data) {
  return (CUresult)enqueue(stream, "a function of the host", {}, [=] { return work(data), 0; });
}

CUresult cuEventCreate(CUevent *event, unsigned int) { return *event = (CUevent) new Event, CUDA_SUCCESS; }
CUresult cuEventDestroy_v2(CUevent event) {
  Held held(lock);
  return delete (Event *)event, CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
  if (planted("record")) return CUDA_SUCCESS;
  bool early = planted("early record");
  stream = (CUstream)astray("record elsewhere", stream);
  Held held(lock);
  Stream *s = stream_of(stream);
  if (s->captured) return unsupported("the record of an event");
  ((Event *)event)->last = record(held, s, early);
  return CUDA_SUCCESS;
}
CUresult cuEventQuery(CUevent event) {
  Held held(lock);
  Place place = ((Event *)event)->last;
  if (place && place->stream->done < place->item) {
    // Whoever asks again and again gets there.
    advance(held, place);
    return CUDA_ERROR_NOT_READY;
  }
  if (place) finish(held, place);
  return (CUresult)failure();
}
CUresult cuEventSynchronize(CUevent event) {
  if (planted("event")) return CUDA_SUCCESS;
  Held held(lock);
  Place place = ((Event *)event)->last;
  if (place) finish(held, place);
  return synchronised();
}
CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end) {
  Held held(lock);
  const Place &from = ((Event *)start)->last, &to = ((Event *)end)->last;
  if (!from || !to) return CUDA_ERROR_INVALID_HANDLE;
  if (!from->done || !to->done) return CUDA_ERROR_NOT_READY;
  return *ms = std::chrono::duration<float, std::milli>(to->when - from->when).count(), CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
  Held held(lock);
  *status = stream_of(stream)->captured ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode) {
  Held held(lock);
  Stream *s = stream_of(stream);
  if (s->captured || s->blocking) return CUDA_ERROR_ILLEGAL_STATE;
  return s->captured = std::make_shared<Graph>(), CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
  Held held(lock);
  Stream *s = stream_of(stream);
  if (!s->captured) return CUDA_ERROR_ILLEGAL_STATE;
  *graph = (CUgraph) new std::shared_ptr<Graph>(std::move(s->captured));
  return s->captured = nullptr, CUDA_SUCCESS;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long) {
  return *exec = (CUgraphExec) new std::shared_ptr<Graph>(*(std::shared_ptr<Graph> *)graph), CUDA_SUCCESS;
}
CUresult cuGraphUpload(CUgraphExec, CUstream) { return CUDA_SUCCESS; }
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
  Held held(lock);
  Stream *s = stream_of(stream);
  if (s->captured) return unsupported("the launch of a graph");
  for (const Piece &piece : (*(std::shared_ptr<Graph> *)exec)->pieces) {
    if (int error = push(held, s, piece)) return (CUresult)error;
  }
  return CUDA_SUCCESS;
}
CUresult cuGraphExecDestroy(CUgraphExec exec) { return delete (std::shared_ptr<Graph> *)exec, CUDA_SUCCESS; }
CUresult cuGraphDestroy(CUgraph graph) { return delete (std::shared_ptr<Graph> *)graph, CUDA_SUCCESS; }

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
  Held held(lock);
  return *free = TOTAL - bytes_allocated(), *total = TOTAL, CUDA_SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) { return allocate_in(nullptr, false, address, bytes); }
CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream) {
  return allocate_in(stream, true, address, bytes);
}
CUresult cuMemFree_v2(CUdeviceptr address) { return free_now((void *)address, false); }
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) { return free_in(stream, address); }
CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned int) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  Held held(lock);
  Memory *m = allocate_pinned(bytes);
  return m ? (*address = m->start, CUDA_SUCCESS) : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemFreeHost(void *address) { return free_now(address, true); }

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
  return copy(nullptr, DEVICE, (void *)to, HOST, from, bytes, true, "a copy to the GPU");
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  return copy(stream, DEVICE, (void *)to, HOST, from, bytes, false, "a copy to the GPU");
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
  return copy(nullptr, HOST, to, DEVICE, (void *)from, bytes, true, "a copy to the host");
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(stream, HOST, to, DEVICE, (void *)from, bytes, false, "a copy to the host");
}
// Not even this one has the host wait.
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy(nullptr, DEVICE, (void *)to, DEVICE, (void *)from, bytes, false, "a copy on the GPU");
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(stream, DEVICE, (void *)to, DEVICE, (void *)from, bytes, false, "a copy on the GPU");
}
CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) { return set(nullptr, to, value, bytes); }
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  return set(stream, to, value, bytes);
}

}  // extern "C"
