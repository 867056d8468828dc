// The device side of a launch: whether this build can run there at all, and on which stream.
#pragma once

#include "common/check.h"

#include <cuda_runtime.h>

namespace kernelopt {

/// Empty when this build's kernels can run on the CUDA device, else the reason: the driver is older
/// than the CUDA runtime inside the module, no code for the device's architecture is in it, or
/// KERNELOPT_DISABLE_KERNELS is set. Asked once a device, then remembered.
const std::string& kernels_unavailable_reason(int device_index);

inline bool kernels_available(const Tensor& tensor) {
  return kernels_unavailable_reason(tensor.get_device_index()).empty();
}

/// torch's current stream on the device.
cudaStream_t current_stream(const Tensor& tensor);

int multiprocessor_count(int device_index);

/// Shared memory that one block may ask for, in bytes.
int max_shared_bytes_per_block(int device_index);

/// 10 * major + minor: 90 on Hopper.
int compute_capability(int device_index);

/// Whether the device is a Hopper and the module has code for sm_90a.
bool has_wgmma(int device_index);

#define KERNELOPT_CUDA_CHECK(op, call)                                                            \
  do {                                                                                            \
    const cudaError_t kernelopt_error = (call);                                                   \
    KERNELOPT_CHECK(kernelopt_error == cudaSuccess, op, "CUDA error ",                            \
                    cudaGetErrorName(kernelopt_error), ": ", cudaGetErrorString(kernelopt_error), \
                    " in " #call);                                                                \
  } while (false)

/// To stand after each launch: reports a refused launch configuration.
#define KERNELOPT_CHECK_LAUNCH(op) KERNELOPT_CUDA_CHECK(op, cudaGetLastError())

}  // namespace kernelopt
