#include "elementwise/elementwise_launch.cuh"
#include "elementwise/functors.h"

namespace kernelopt {

void copy_cuda(const char* op, const Tensor& source, const Tensor& destination) {
  launch_elementwise<1>(op, [](auto) { return Copy{}; }, {&destination, &source});
}

Tensor contiguous_cuda(const char* op, const Tensor& tensor) {
  if (tensor.is_contiguous()) {
    return tensor;
  }
  Tensor copy = empty_contiguous(op, tensor.sizes(), tensor.scalar_type(), tensor);
  copy_cuda(op, tensor, copy);
  return copy;
}

Tensor channels_last_cuda(const char* op, const Tensor& tensor) {
  if (is_channels_last(tensor)) {
    return tensor;
  }
  Tensor copy = empty_channels_last(op, tensor.sizes(), tensor.scalar_type(), tensor);
  copy_cuda(op, tensor, copy);
  return copy;
}

}  // namespace kernelopt
