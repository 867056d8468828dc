// gelu: checks and output, shared by the CPU and the CUDA implementation.
#pragma once

#include "common/check.h"
#include "elementwise/elementwise.h"

namespace kernelopt {

/// Checks the arguments and returns the uninitialized output, in the format of `self`.
Tensor prepare_gelu(const Tensor& self, int64_t approximate);

/// The same for the gradient with respect to `self`.
Tensor prepare_gelu_backward(const Tensor& grad_output, const Tensor& self, int64_t approximate);

/// `approximate` 0 is exact, 1 the tanh form.
inline Activation gelu_form(int64_t approximate) {
  return approximate == 0 ? Activation::kGelu : Activation::kGeluTanh;
}

}  // namespace kernelopt
