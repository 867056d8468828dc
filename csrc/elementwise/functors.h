// What the element-wise ops compute, one struct each, in the accumulate type of the operands.
// Includes no torch header.
#pragma once

#include "common/math.h"

namespace kernelopt {

struct Copy {
  template <typename A>
  KERNELOPT_HOST_DEVICE A operator()(A value) const {
    return value;
  }
};

/// self + alpha * other
struct Add {
  double alpha;
  template <typename A>
  KERNELOPT_HOST_DEVICE A operator()(A self, A other) const {
    return self + static_cast<A>(alpha) * other;
  }
};

template <typename ActivationType>
struct ActivationForward {
  template <typename A>
  KERNELOPT_HOST_DEVICE A operator()(A z) const {
    return ActivationType::forward(z);
  }
};

/// grad * activation'(z)
template <typename ActivationType>
struct ActivationBackward {
  template <typename A>
  KERNELOPT_HOST_DEVICE A operator()(A grad, A z) const {
    // As torch: where relu stops a gradient it is 0, even one that is not finite.
    if constexpr (std::is_same_v<ActivationType, Relu>) {
      return z <= A(0) ? A(0) : grad;
    } else {
      return grad * ActivationType::derivative(z);
    }
  }
};

}  // namespace kernelopt
