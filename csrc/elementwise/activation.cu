#include "elementwise/elementwise_launch.cuh"
#include "elementwise/functors.h"

namespace kernelopt {

void activation_cuda(const char* op, const Tensor& z, const Tensor& output, Activation activation) {
  with_activation(activation, [&](auto kind) {
    const auto functor = [](auto tag) {
      return ActivationForward<ActivationFor<typename decltype(tag)::type, decltype(kind)>>{};
    };
    launch_elementwise<1>(op, functor, {&output, &z});
  });
}

void activation_backward_cuda(const char* op, const Tensor& grad, const Tensor& z,
                              const Tensor& grad_z, Activation activation) {
  with_activation(activation, [&](auto kind) {
    const auto functor = [](auto tag) {
      return ActivationBackward<ActivationFor<typename decltype(tag)::type, decltype(kind)>>{};
    };
    launch_elementwise<2>(op, functor, {&grad_z, &grad, &z});
  });
}

}  // namespace kernelopt
