// add: checks and output, shared by the CPU and the CUDA implementation.
#pragma once

#include "elementwise/elementwise.h"

namespace kernelopt {

/// Checks both operands and returns the uninitialized output.
Tensor prepare_add(const Tensor& self, const Tensor& other);

/// Checks the arguments of add_backward.
void check_add_backward(const Tensor& grad_output, IntList self_sizes, IntList other_sizes,
                        const BoolList& output_mask);

/// The two gradients, by the device's own `sum_to_size`; a 0-element tensor where none is asked
/// for.
template <typename SumToSize>
std::tuple<Tensor, Tensor> add_gradients(const Tensor& grad_output, IntList self_sizes,
                                         IntList other_sizes, double alpha,
                                         const BoolList& output_mask, SumToSize&& sum_to_size) {
  constexpr const char* kOp = "add_backward";
  const auto none = [&] {
    return empty_contiguous(kOp, std::vector<int64_t>{0}, grad_output.scalar_type(), grad_output);
  };
  return {output_mask[0] ? sum_to_size(kOp, grad_output, self_sizes, 1.0) : none(),
          output_mask[1] ? sum_to_size(kOp, grad_output, other_sizes, alpha) : none()};
}

}  // namespace kernelopt
