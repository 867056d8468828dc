// Programmatic dependent launch: a kernel launched so may start before the one in front of it in
// the stream has ended. Includes no torch header.
#pragma once

#include <cuda_runtime.h>

namespace kernelopt {

/// Lets the dependent kernel start once every block has called this or ended. Nothing where none
/// was launched so.
__device__ __forceinline__ void grid_dependency_launch() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Waits until the kernel in front has ended and its writes are visible.
__device__ __forceinline__ void grid_dependency_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Launches a kernel, `dependent` or after all that is in front. A dependent one calls
/// grid_dependency_wait() before it touches what the kernel in front writes, or anything that
/// kernel may still read.
template <typename... Parameters, typename... Arguments>
cudaError_t launch_kernel(bool dependent, void (*kernel)(Parameters...), dim3 grid,
                          unsigned threads, size_t shared_bytes, cudaStream_t stream,
                          const Arguments&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = dependent ? 1 : 0;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch_dependent(void (*kernel)(Parameters...), dim3 grid, unsigned threads,
                             size_t shared_bytes, cudaStream_t stream,
                             const Arguments&... arguments) {
  return launch_kernel(true, kernel, grid, threads, shared_bytes, stream, arguments...);
}

}  // namespace kernelopt
