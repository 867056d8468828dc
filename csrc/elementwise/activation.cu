#include "elementwise/elementwise_launch.cuh"
#include "elementwise/functors.h"

namespace kernelopt {

void activation_cuda(const char* op, const Tensor& z, const Tensor& output, Activation activation) {
  dispatch_activation(activation, [&](auto kind) {
    launch_elementwise<1>(op, ActivationForward<decltype(kind)>{}, {&output, &z});
  });
}

void activation_backward_cuda(const char* op, const Tensor& grad, const Tensor& z,
                              const Tensor& grad_z, Activation activation) {
  dispatch_activation(activation, [&](auto kind) {
    launch_elementwise<2>(op, ActivationBackward<decltype(kind)>{}, {&grad_z, &grad, &z});
  });
}

}  // namespace kernelopt
