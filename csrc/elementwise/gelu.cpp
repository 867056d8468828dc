#include "elementwise/gelu.h"

namespace kernelopt {
namespace {

constexpr int64_t kNumForms = 2;

}  // namespace

Tensor prepare_gelu(const Tensor& self, int64_t approximate) {
  constexpr const char* kOp = "gelu";
  check_tensor(kOp, "self", self);
  check_enum(kOp, "approximate", approximate, kNumForms);
  return empty_strided(kOp, self.sizes(), elementwise_output_strides(self.sizes(), {&self}),
                       self.scalar_type(), self);
}

Tensor prepare_gelu_backward(const Tensor& grad_output, const Tensor& self, int64_t approximate) {
  constexpr const char* kOp = "gelu_backward";
  check_tensor(kOp, "grad_output", grad_output);
  check_tensor(kOp, "self", self);
  check_enum(kOp, "approximate", approximate, kNumForms);
  check_matches(kOp, "grad_output", grad_output, "self", self);
  check_sizes(kOp, "grad_output", grad_output, self.sizes());
  return empty_strided(kOp, self.sizes(), elementwise_output_strides(self.sizes(), {&self}),
                       self.scalar_type(), self);
}

namespace {

Tensor gelu_cpu(const Tensor& self, int64_t approximate) {
  Tensor output = prepare_gelu(self, approximate);
  activation_cpu("gelu", self, output, gelu_form(approximate));
  return output;
}

Tensor gelu_backward_cpu(const Tensor& grad_output, const Tensor& self, int64_t approximate) {
  Tensor grad_self = prepare_gelu_backward(grad_output, self, approximate);
  activation_backward_cpu("gelu_backward", grad_output, self, grad_self, gelu_form(approximate));
  return grad_self;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kernelopt, m) {
  m.def("gelu(Tensor self, int approximate=0) -> Tensor");
  m.def("gelu_backward(Tensor grad_output, Tensor self, int approximate=0) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CPU, m) {
  m.impl("gelu", TORCH_BOX(&gelu_cpu));
  m.impl("gelu_backward", TORCH_BOX(&gelu_backward_cpu));
}

}  // namespace kernelopt
