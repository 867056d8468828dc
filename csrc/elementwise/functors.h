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
template <typename A>
struct Add {
  A alpha;
  KERNELOPT_HOST_DEVICE A operator()(A self, A other) const { return self + alpha * other; }
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
    return ActivationType::backward(grad, z);
  }
};

}  // namespace kernelopt
