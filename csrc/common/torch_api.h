// Everything of torch that kernelopt calls: the LibTorch Stable ABI and its header-only C++.
// Host files include this one header; kernel (.cuh) and policy headers include no torch header at
// all.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

// Symbols that not every supported torch has. Weak: where they are missing (a CPU-only torch, an
// older release) the address is null instead of the library failing to load.
extern "C" {
__attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index,
                                                                        void** ret_stream);
}

namespace kernelopt {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using IntList = torch::headeronly::IntHeaderOnlyArrayRef;
using BoolList = std::vector<bool>;

namespace detail {

template <typename T>
StableIValue to_stack(const T& value) {
  return torch::stable::detail::from(value);
}

/// torch converts no std::vector<bool>, which has no array of bool beneath.
inline StableIValue to_stack(const BoolList& values) {
  const std::unique_ptr<bool[]> array(new bool[values.size()]);
  std::copy(values.begin(), values.end(), array.get());
  return torch::stable::detail::from(
      torch::headeronly::HeaderOnlyArrayRef<bool>(array.get(), values.size()));
}

template <typename Return>
struct UnpackReturn {
  static Return from_stack(const StableIValue* stack) {
    return torch::stable::detail::to<Return>(stack[0]);
  }
};

template <typename... Returns>
struct UnpackReturn<std::tuple<Returns...>> {
  template <size_t... kIndex>
  static std::tuple<Returns...> unpack(const StableIValue* stack, std::index_sequence<kIndex...>) {
    return {torch::stable::detail::to<Returns>(stack[kIndex])...};
  }
  static std::tuple<Returns...> from_stack(const StableIValue* stack) {
    return unpack(stack, std::index_sequence_for<Returns...>{});
  }
};

}  // namespace detail

/// Calls any operator through torch's dispatcher. Where it fails, torch's message and type do not
/// get here: by the message thrown instead Python knows, and calls ATen's operators itself to have
/// them.
/// @param name  qualified name, "aten::convolution"
/// @param args  the operator's arguments in schema order, all of them
/// @return a Tensor, or a std::tuple of them, as `Return` says
template <typename Return, typename... Args>
Return call_operator(const char* name, const Args&... args) {
  // Results overwrite the arguments from the front, so the stack must hold whichever are more.
  constexpr size_t kStackSize = sizeof...(Args) < 4 ? 4 : sizeof...(Args);
  std::array<StableIValue, kStackSize> stack{detail::to_stack(args)...};
  if (torch_call_dispatcher(name, "", stack.data(), TORCH_ABI_VERSION) != TORCH_SUCCESS) {
    throw std::runtime_error(std::string("kernelopt: ATen's operators failed in ") + name);
  }
  return detail::UnpackReturn<Return>::from_stack(stack.data());
}

/// The ATen path of a whole op: its decomposition into ATen operators, which Python registers under
/// the same name and schema in the namespace kernelopt_aten. Taken where this build's kernels
/// cannot run on the tensor's device at all.
template <typename Return, typename... Args>
Return call_aten_path(const char* op, const Args&... args) {
  return call_operator<Return>((std::string("kernelopt_aten::") + op).c_str(), args...);
}

}  // namespace kernelopt
