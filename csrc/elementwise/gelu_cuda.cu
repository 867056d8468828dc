#include "elementwise/gelu.h"

#include "common/device.h"

namespace kernelopt {
namespace {

Tensor gelu_cuda(const Tensor& self, int64_t approximate) {
  Tensor output = prepare_gelu(self, approximate);
  if (!kernels_available(self)) {
    return call_aten_path<Tensor>("gelu", self, approximate);
  }
  activation_cuda("gelu", self, output, gelu_form(approximate));
  return output;
}

Tensor gelu_backward_cuda(const Tensor& grad_output, const Tensor& self, int64_t approximate) {
  Tensor grad_self = prepare_gelu_backward(grad_output, self, approximate);
  if (!kernels_available(self)) {
    return call_aten_path<Tensor>("gelu_backward", grad_output, self, approximate);
  }
  activation_backward_cuda("gelu_backward", grad_output, self, grad_self, gelu_form(approximate));
  return grad_self;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CUDA, m) {
  m.impl("gelu", TORCH_BOX(&gelu_cuda));
  m.impl("gelu_backward", TORCH_BOX(&gelu_backward_cuda));
}

}  // namespace kernelopt
