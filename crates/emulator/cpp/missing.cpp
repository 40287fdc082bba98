// Functions that binaries are linked to and that nothing here calls: whoever does ends with the function's name.
#include <cstdio>
#include <cstdlib>

#define MISSING(name) \
  extern "C" int name() { std::fprintf(stderr, "the emulated GPU has no %s\n", #name), std::abort(); }

MISSING(cuMemcpyPeerAsync)
MISSING(cuModuleLoad)
MISSING(cublasDgemmStridedBatched)
MISSING(curandGenerateUniform)
MISSING(curandGenerateUniformDouble)
MISSING(cudnnSetTensor4dDescriptorEx)
