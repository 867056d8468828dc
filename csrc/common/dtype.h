// From a runtime dtype to a C++ type.
#pragma once

#include "common/check.h"

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

namespace kernelopt {

template <typename T>
struct TypeTag {
  using type = T;
};

/// Calls `function(TypeTag<T>{})` with T the C++ type of a floating dtype. `Half` and `BFloat16`
/// are the 16-bit types of the target: torch's header-only ones on the CPU, the toolkit's on a GPU.
template <typename Half, typename BFloat16, typename Function>
auto dispatch_floating(const char* op, ScalarType dtype, Function&& function) {
  switch (dtype) {
    case ScalarType::Float: return function(TypeTag<float>{});
    case ScalarType::Double: return function(TypeTag<double>{});
    case ScalarType::Half: return function(TypeTag<Half>{});
    case ScalarType::BFloat16: return function(TypeTag<BFloat16>{});
    default: fail(op, "expected a floating dtype, got ", dtype_name(dtype));
  }
}

template <typename Function>
auto dispatch_floating_cpu(const char* op, ScalarType dtype, Function&& function) {
  return dispatch_floating<torch::headeronly::Half, torch::headeronly::BFloat16>(
      op, dtype, std::forward<Function>(function));
}

}  // namespace kernelopt
