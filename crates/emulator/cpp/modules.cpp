// The CUDA driver's modules and launches: a module is PTX text, its functions are the kernels' sources compiled as C++.
#include <cuda.h>
// CUDA's names come after its header.
#include "candle.hpp"
#include "driver.hpp"
#include "emulated.hpp"
// Written by whoever compiles this: it includes all kernels.
#include "kernels.hpp"
#include <mutex>

namespace {

struct Module {
  std::string text;
};
// Alive as long as the process. A kernel of this project, or one of candle's.
struct Function {
  std::string name;
  const emulated::Kernel *own;
  candle::Kernel candles;
};
std::map<std::string, Function> functions;
std::mutex one_launch;

}  // namespace

extern "C" {

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  std::string text = (const char *)image;
  if (text.find(".version") == std::string::npos) {
    driver::complain("a module is loaded that is no PTX");
    return CUDA_ERROR_INVALID_PTX;
  }
  *module = (CUmodule) new Module{text};
  return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule module) {
  delete (Module *)module;
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  if (((Module *)module)->text.find(".entry " + std::string(name) + "(") == std::string::npos) {
    driver::complain("the module's PTX has no entry " + std::string(name));
    return CUDA_ERROR_NOT_FOUND;
  }
  auto own = emulated::kernels().find(name);
  auto candles = candle::kernels().find(name);
  Function found = {name, nullptr, nullptr};
  if (own != emulated::kernels().end()) {
    found.own = &own->second;
  } else if (candles != candle::kernels().end()) {
    found.candles = candles->second;
  } else {
    driver::complain("kernel " + found.name + " is not emulated: it is candle's; see emulator/cpp/candle.hpp");
    return CUDA_ERROR_NOT_FOUND;
  }
  std::lock_guard<std::mutex> held(one_launch);
  *function = (CUfunction)&functions.emplace(name, found).first->second;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }

CUresult cuLaunchKernel(CUfunction function, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
                        unsigned int by, unsigned int bz, unsigned int shared, CUstream, void **arguments, void **extra) {
  static unsigned int seed = 1;
  std::lock_guard<std::mutex> held(one_launch);
  auto *kernel = (Function *)function;
  if (shared != 0 || extra) {
    driver::complain(kernel->name + ": shared memory and arguments of that kind are not emulated");
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (kernel->candles) {
    kernel->candles(arguments);
    return CUDA_SUCCESS;
  }
  unsigned int grid[3] = {gx, gy, gz}, size[3] = {bx, by, bz};
  seed = seed * 747796405u + 2891336453u;
  const char *fault = emulated_launch(kernel->name.c_str(), grid, size, arguments, kernel->own->kinds.c_str(), "", seed, 1);
  if (!fault) return CUDA_SUCCESS;
  driver::complain(fault);
  return CUDA_ERROR_LAUNCH_FAILED;
}

}  // extern "C"
