#include "common/device.h"

#include <array>
#include <cstdlib>
#include <mutex>

namespace kernelopt {
namespace {

__global__ void architecture_probe_kernel() {}

constexpr int kMaxDevices = 64;

struct DeviceState {
  std::once_flag once;
  std::string unavailable_reason;
  int multiprocessors = 0;
  int compute_capability = 0;
  int max_shared_bytes = 0;
};

std::string probe(int device_index, DeviceState& state) {
  const char* disabled = std::getenv("KERNELOPT_DISABLE_KERNELS");
  if (disabled != nullptr && std::string(disabled) != "0") {
    return "KERNELOPT_DISABLE_KERNELS is set";
  }
  int major = 0, minor = 0;
  cudaFuncAttributes attributes{};
  const cudaError_t errors[] = {
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_index),
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_index),
      cudaDeviceGetAttribute(&state.multiprocessors, cudaDevAttrMultiProcessorCount, device_index),
      cudaDeviceGetAttribute(&state.max_shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                             device_index),
      cudaFuncGetAttributes(&attributes, architecture_probe_kernel),
  };
  state.compute_capability = 10 * major + minor;
  for (const cudaError_t error : errors) {
    if (error == cudaErrorInsufficientDriver) {
      return "the GPU driver is older than CUDA " + std::to_string(CUDART_VERSION / 1000) + "." +
             std::to_string(CUDART_VERSION % 1000 / 10) + " needs";
    }
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
      return "this build has no code for compute capability " + std::to_string(major) + "." +
             std::to_string(minor);
    }
    if (error != cudaSuccess) {
      return std::string("CUDA answered ") + cudaGetErrorName(error) + ": " +
             cudaGetErrorString(error);
    }
  }
  return "";
}

DeviceState& device_state(int device_index) {
  static std::array<DeviceState, kMaxDevices> states;
  KERNELOPT_CHECK(device_index >= 0 && device_index < kMaxDevices, "device", "expected at most ",
                  kMaxDevices, " devices, got device ", device_index);
  DeviceState& state = states[device_index];
  std::call_once(state.once, [&] {
    torch::stable::accelerator::DeviceGuard guard(device_index);
    state.unavailable_reason = probe(device_index, state);
    cudaGetLastError();  // a failed probe must not surface at the next launch check
  });
  return state;
}

}  // namespace

const std::string& kernels_unavailable_reason(int device_index) {
  return device_state(device_index).unavailable_reason;
}

int multiprocessor_count(int device_index) { return device_state(device_index).multiprocessors; }

int max_shared_bytes_per_block(int device_index) {
  return device_state(device_index).max_shared_bytes;
}

int compute_capability(int device_index) { return device_state(device_index).compute_capability; }

bool has_wgmma(int device_index) {
#ifdef KERNELOPT_SM90A
  return compute_capability(device_index) == 90;
#else
  return false;
#endif
}

cudaStream_t current_stream(const Tensor& tensor) {
  KERNELOPT_CHECK(aoti_torch_get_current_cuda_stream != nullptr, "device",
                  "expected a torch with CUDA, got a CPU-only one");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

namespace {

std::string unavailable_reason(int64_t device_index) {
  return kernels_unavailable_reason(static_cast<int>(device_index));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kernelopt_runtime, CompositeExplicitAutograd, m) {
  m.impl("unavailable_reason", TORCH_BOX(&unavailable_reason));
}

}  // namespace kernelopt
