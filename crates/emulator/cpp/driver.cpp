// The CUDA driver's devices, contexts, streams, events and memory, on the processor.
//
// There is one device. Work is done when it is ordered: streams are not told apart, and an event is over once recorded.
// Memory stands between guard zones, is NaN until it is written, and becomes NaN when it is freed.
#include "driver.hpp"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda.h>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

namespace driver {
namespace {

const size_t GUARD = 256, TOTAL = (size_t)80 << 30, WAITING = (size_t)64 << 20;
const unsigned char ZONE = 0xa5, UNWRITTEN = 0xff;

struct Memory {
  unsigned char *block;
  size_t bytes;
};
std::mutex lock;
std::map<uintptr_t, Memory> memories;
// What was freed last, so that a late write is seen.
std::deque<Memory> freed;
size_t allocated, waiting;

bool all(const unsigned char *from, size_t bytes, unsigned char value) {
  return bytes == 0 || (from[0] == value && std::memcmp(from, from + 1, bytes - 1) == 0);
}
bool zones_hold(const Memory &m) {
  return all(m.block, GUARD, ZONE) && all(m.block + GUARD + m.bytes, GUARD, ZONE);
}

CUresult allocate(CUdeviceptr *address, size_t bytes) {
  if (!address || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> held(lock);
  if (allocated + bytes > TOTAL) return CUDA_ERROR_OUT_OF_MEMORY;
  size_t room = (bytes + 2 * GUARD + GUARD - 1) / GUARD * GUARD;
  Memory m = {(unsigned char *)std::aligned_alloc(GUARD, room), bytes};
  if (!m.block) return CUDA_ERROR_OUT_OF_MEMORY;
  std::memset(m.block, ZONE, GUARD);
  std::memset(m.block + GUARD, UNWRITTEN, bytes);
  std::memset(m.block + GUARD + bytes, ZONE, GUARD);
  *address = (CUdeviceptr)(m.block + GUARD);
  memories[*address] = m;
  allocated += bytes;
  return CUDA_SUCCESS;
}

CUresult release(CUdeviceptr address) {
  if (address == 0) return CUDA_SUCCESS;
  std::lock_guard<std::mutex> held(lock);
  auto found = memories.find(address);
  if (found == memories.end()) {
    complain("memory is freed that is not allocated");
    return CUDA_ERROR_INVALID_VALUE;
  }
  Memory m = found->second;
  memories.erase(found);
  allocated -= m.bytes;
  bool harmed = !zones_hold(m);
  if (harmed) complain("a memory of " + std::to_string(m.bytes) + " bytes was written beside");
  std::memset(m.block, UNWRITTEN, m.bytes + 2 * GUARD);
  freed.push_back(m);
  for (waiting += m.bytes; waiting > WAITING; freed.pop_front()) {
    Memory old = freed.front();
    waiting -= old.bytes;
    if (!all(old.block, old.bytes + 2 * GUARD, UNWRITTEN)) complain("memory was written after it was freed"), harmed = true;
    std::free(old.block);
  }
  return harmed ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS;
}

thread_local CUcontext current;
int device_context, objects;
CUcontext context() { return (CUcontext)&device_context; }
// Anything that is not null.
template <typename T> CUresult object(T *handle) {
  *handle = (T)&objects;
  return CUDA_SUCCESS;
}
CUresult copy(void *to, const void *from, size_t bytes) {
  if (!current) return CUDA_ERROR_INVALID_CONTEXT;
  std::memmove(to, from, bytes);
  return CUDA_SUCCESS;
}
CUresult set(CUdeviceptr to, unsigned char value, size_t bytes) {
  if (!within((void *)to, bytes, "cuMemsetD8")) return CUDA_ERROR_INVALID_VALUE;
  std::memset((void *)to, value, bytes);
  return CUDA_SUCCESS;
}
CUresult synchronised() { return unharmed("a synchronisation") ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS; }

}  // namespace

void complain(const std::string &what) { std::fprintf(stderr, "emulated GPU: %s\n", what.c_str()); }

bool within(const void *address, size_t bytes, const char *who) {
  std::lock_guard<std::mutex> held(lock);
  auto after = memories.upper_bound((uintptr_t)address);
  if (after != memories.begin()) {
    auto found = std::prev(after);
    if ((uintptr_t)address + bytes <= found->first + found->second.bytes) return true;
  }
  complain(std::string(who) + " uses " + std::to_string(bytes) + " bytes that are in no memory of the GPU");
  return false;
}

bool unharmed(const char *when) {
  std::lock_guard<std::mutex> held(lock);
  bool sound = true;
  for (auto &entry : memories) {
    if (zones_hold(entry.second)) continue;
    complain("at " + std::string(when) + ": a memory of " + std::to_string(entry.second.bytes) + " bytes was written beside");
    sound = false;
  }
  for (auto &m : freed) {
    if (all(m.block, m.bytes + 2 * GUARD, UNWRITTEN)) continue;
    complain("at " + std::string(when) + ": memory was written after it was freed");
    sound = false;
  }
  return sound;
}

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
    NAMED(CUDA_ERROR_INVALID_PTX)
    NAMED(CUDA_ERROR_NOT_FOUND)
    NAMED(CUDA_ERROR_ILLEGAL_ADDRESS)
    NAMED(CUDA_ERROR_LAUNCH_FAILED)
    default: return *name = "an error", CUDA_SUCCESS;
#undef NAMED
  }
}
CUresult cuGetErrorString(CUresult error, const char **text) { return cuGetErrorName(error, text); }

CUresult cuDeviceGetCount(int *count) { return *count = 1, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  return *device = 0, ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuDeviceGetName(char *name, int room, CUdevice) { return std::snprintf(name, room, "emulated GPU"), CUDA_SUCCESS; }
CUresult cuDeviceGetUuid_v2(CUuuid *id, CUdevice) { return std::memset(id, 0, sizeof *id), CUDA_SUCCESS; }
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice) { return *bytes = TOTAL, CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    default: complain("attribute " + std::to_string(attribute) + " of a device is not emulated"); return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice) { return object(pool); }
CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice) { return object(pool); }
CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, void *) { return CUDA_SUCCESS; }
CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) { return CUDA_SUCCESS; }

CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice) { return *c = context(), CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *c) { return *c = current, CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext c) { return current = c, CUDA_SUCCESS; }
CUresult cuCtxDestroy_v2(CUcontext) { return CUDA_SUCCESS; }
CUresult cuCtxSetFlags(unsigned int) { return CUDA_SUCCESS; }
CUresult cuCtxSynchronize() { return synchronised(); }

CUresult cuStreamCreate(CUstream *stream, unsigned int) { return object(stream); }
CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int, int) { return object(stream); }
CUresult cuStreamDestroy_v2(CUstream) { return CUDA_SUCCESS; }
CUresult cuStreamSynchronize(CUstream) { return synchronised(); }
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned int) { return CUDA_SUCCESS; }
CUresult cuStreamIsCapturing(CUstream, CUstreamCaptureStatus *status) {
  return *status = CU_STREAM_CAPTURE_STATUS_NONE, CUDA_SUCCESS;
}
CUresult cuLaunchHostFunc(CUstream, CUhostFn work, void *data) { return work(data), CUDA_SUCCESS; }
CUresult cuEventCreate(CUevent *event, unsigned int) { return object(event); }
CUresult cuEventDestroy_v2(CUevent) { return CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent, CUstream) { return CUDA_SUCCESS; }
CUresult cuEventQuery(CUevent) { return CUDA_SUCCESS; }
CUresult cuEventSynchronize(CUevent) { return synchronised(); }
CUresult cuEventElapsedTime_v2(float *ms, CUevent, CUevent) { return *ms = 0, CUDA_SUCCESS; }

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
  std::lock_guard<std::mutex> held(lock);
  return *free = TOTAL - allocated, *total = TOTAL, CUDA_SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
  return current ? allocate(address, bytes) : CUDA_ERROR_INVALID_CONTEXT;
}
CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream) { return cuMemAlloc_v2(address, bytes); }
CUresult cuMemFree_v2(CUdeviceptr address) { return release(address); }
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream) { return release(address); }
CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned int) {
  return *address = std::malloc(bytes), *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemFreeHost(void *address) { return std::free(address), CUDA_SUCCESS; }

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
  return within((void *)to, bytes, "cuMemcpyHtoD") ? copy((void *)to, from, bytes) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream) {
  return cuMemcpyHtoD_v2(to, from, bytes);
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
  return within((void *)from, bytes, "cuMemcpyDtoH") ? copy(to, (void *)from, bytes) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream) { return cuMemcpyDtoH_v2(to, from, bytes); }
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  bool fits = within((void *)to, bytes, "cuMemcpyDtoD") && within((void *)from, bytes, "cuMemcpyDtoD");
  return fits ? copy((void *)to, (void *)from, bytes) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
  return cuMemcpyDtoD_v2(to, from, bytes);
}
CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) { return set(to, value, bytes); }
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream) { return set(to, value, bytes); }

}  // extern "C"
