// The CUDA driver's modules and launches: a module is PTX text, its functions are the kernels' sources compiled as C++.
//
// How many bytes each argument has is read in the PTX: a launch copies them, as CUDA does.
#include <cuda.h>
// CUDA's names come after its header.
#include "candle.hpp"
#include "driver.hpp"
#include "emulated.hpp"
// Written by whoever compiles this: it includes all kernels.
#include "kernels.hpp"
#include <cctype>
#include <cstring>
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
  // Bytes of each argument.
  std::vector<size_t> sizes;
};
auto &functions = *new std::map<std::string, Function>;
std::mutex one_launch;

// Bytes of the arguments of the entry whose list begins at `from`: `.param .u64 name`, `.param .align 8 .b8 name[16]`.
std::vector<size_t> sizes_of_arguments(const std::string &text, size_t from) {
  std::vector<size_t> sizes;
  size_t end = text.find(')', from);
  for (size_t at = text.find(".param", from); at < end; at = text.find(".param", at + 1)) {
    size_t stop = std::min(text.find(',', at), end), bytes = 0;
    for (size_t dot = text.find('.', at + 1); dot < stop; dot = text.find('.', dot + 1)) {
      size_t digit = dot + 1 + (text.compare(dot, 3, ".bf") == 0 ? 2 : 1);
      if (!std::strchr("usbf", text[dot + 1]) || digit >= stop || !isdigit(text[digit])) continue;
      bytes = std::strtoul(&text[digit], nullptr, 10) / 8;
    }
    size_t bracket = text.find('[', at);
    if (bracket < stop) bytes *= std::strtoul(&text[bracket + 1], nullptr, 10);
    sizes.push_back(bytes);
  }
  return sizes;
}

int launch(const Function *kernel, const unsigned int *grid, const unsigned int *size, std::vector<uint64_t> values,
           const std::vector<size_t> &starts) {
  static unsigned int seed = 1;
  std::vector<void *> arguments;
  for (size_t start : starts) arguments.push_back(&values[start]);
  std::lock_guard<std::mutex> held(one_launch);
  if (kernel->candles) return kernel->candles(arguments.data()), 0;
  seed = seed * 747796405u + 2891336453u;
  const char *fault =
      emulated_launch(kernel->name.c_str(), grid, size, arguments.data(), kernel->own->kinds.c_str(), "", seed, 1);
  if (!fault) return 0;
  driver::complain(fault);
  return CUDA_ERROR_LAUNCH_FAILED;
}

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
  const std::string &text = ((Module *)module)->text;
  size_t entry = text.find(".entry " + std::string(name) + "(");
  if (entry == std::string::npos) {
    driver::complain("the module's PTX has no entry " + std::string(name));
    return CUDA_ERROR_NOT_FOUND;
  }
  auto own = emulated::kernels().find(name);
  auto candles = candle::kernels().find(name);
  Function found = {name, nullptr, nullptr, sizes_of_arguments(text, entry)};
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
                        unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void **arguments,
                        void **extra) {
  const auto *kernel = (Function *)function;
  if (shared != 0 || extra) {
    driver::complain(kernel->name + ": shared memory and arguments of that kind are not emulated");
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (kernel->own && kernel->own->kinds.size() != kernel->sizes.size()) {
    driver::complain(kernel->name + ": its PTX has another number of arguments than its source");
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::vector<uint64_t> values;
  std::vector<size_t> starts;
  std::vector<driver::Use> uses;
  for (size_t i = 0; i < kernel->sizes.size(); i++) {
    size_t start = values.size(), bytes = kernel->sizes[i];
    values.resize(start + (bytes + 7) / 8);
    std::memcpy(&values[start], arguments[i], bytes);
    starts.push_back(start);
    // Of candle's kernels, a number of 64 bits that is an address of the GPU's memory is taken for one.
    const void *address = (void *)values[start];
    if (kernel->own ? kernel->own->kinds[i] != 'a' || !address : bytes != 8 || !driver::known(address)) continue;
    uses.push_back({address, 0, kernel->own ? (bool)kernel->own->writes[i] : i == candle::written(kernel->name)});
  }
  if (driver::planted("launch elsewhere")) stream = (CUstream)driver::elsewhere();
  return (CUresult)driver::enqueue(stream, "kernel " + kernel->name, uses, [=] {
    const unsigned int grid[3] = {gx, gy, gz}, size[3] = {bx, by, bz};
    return launch(kernel, grid, size, values, starts);
  });
}

}  // extern "C"
