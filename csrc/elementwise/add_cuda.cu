#include "elementwise/add.h"

#include "elementwise/elementwise_launch.cuh"
#include "elementwise/functors.h"

namespace kernelopt {
namespace {

Tensor add_cuda(const Tensor& self, const Tensor& other, double alpha) {
  Tensor output = prepare_add(self, other);
  if (!kernels_available(self)) {
    return call_aten_path<Tensor>("add", self, other, alpha);
  }
  const auto functor = [alpha](auto tag) {
    using A = AccumulateType<typename decltype(tag)::type>;
    return Add<A>{static_cast<A>(alpha)};
  };
  launch_elementwise<2>("add", functor, {&output, &self, &other});
  return output;
}

std::tuple<Tensor, Tensor> add_backward_cuda(const Tensor& grad_output, IntList self_sizes,
                                             IntList other_sizes, double alpha,
                                             const BoolList& output_mask) {
  check_add_backward(grad_output, self_sizes, other_sizes, output_mask);
  if (!kernels_available(grad_output)) {
    return call_aten_path<std::tuple<Tensor, Tensor>>("add_backward", grad_output, self_sizes,
                                                      other_sizes, alpha, output_mask);
  }
  return add_gradients(grad_output, self_sizes, other_sizes, alpha, output_mask, sum_to_size_cuda);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CUDA, m) {
  m.impl("add", TORCH_BOX(&add_cuda));
  m.impl("add_backward", TORCH_BOX(&add_backward_cuda));
}

}  // namespace kernelopt
