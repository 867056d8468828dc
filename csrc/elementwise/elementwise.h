// The host interface of the element-wise family, for its own ops and for other families' epilogues.
#pragma once

#include "common/math.h"
#include "common/tensor.h"
#include "elementwise/iteration.h"

#include <vector>

namespace kernelopt {

/// The shape two tensors broadcast to; raises where they do not.
std::vector<int64_t> broadcast_sizes(const char* op, const Tensor& self, const Tensor& other);

/// Strides of the output of an element-wise op, by torch's rule: the order of the inputs'
/// dimensions is kept, gaps are closed.
std::vector<int64_t> elementwise_output_strides(IntList sizes,
                                                const std::vector<const Tensor*>& inputs);

/// The merged index space over `output` and `inputs`, which broadcast to its shape.
template <int kOperands>
Iteration<kOperands> plan_iteration(const Tensor* const (&operands)[kOperands]);

/// The sum of `source` over the dimensions in which `sizes` is 1 and source is not, or which
/// `sizes` lacks at its front.
Reduction plan_reduction(const Tensor& source, IntList sizes);

/// destination = source, element by element; the same shape and dtype, any strides.
void copy_cuda(const char* op, const Tensor& source, const Tensor& destination);

/// A contiguous tensor of the same values: the tensor itself where it is contiguous already.
Tensor contiguous_cuda(const char* op, const Tensor& tensor);
/// The same in torch.channels_last; 4-D.
Tensor channels_last_cuda(const char* op, const Tensor& tensor);

/// output = activation(z). The output may be z itself.
void activation_cpu(const char* op, const Tensor& z, const Tensor& output, Activation activation);
void activation_cuda(const char* op, const Tensor& z, const Tensor& output, Activation activation);

/// grad_z = grad * activation'(z). grad_z may be grad or z itself.
void activation_backward_cpu(const char* op, const Tensor& grad, const Tensor& z,
                             const Tensor& grad_z, Activation activation);
void activation_backward_cuda(const char* op, const Tensor& grad, const Tensor& z,
                              const Tensor& grad_z, Activation activation);

/// Both on one kind of device.
struct ActivationFunctions {
  void (*forward)(const char* op, const Tensor& z, const Tensor& output, Activation activation);
  void (*backward)(const char* op, const Tensor& grad, const Tensor& z, const Tensor& grad_z,
                   Activation activation);
};
inline constexpr ActivationFunctions kActivationCpu{activation_cpu, activation_backward_cpu};
inline constexpr ActivationFunctions kActivationCuda{activation_cuda, activation_backward_cuda};

/// activation(value) with the given strides; may write into `value`, which ATen has just made.
Tensor finish(const char* op, const Tensor& value, IntList strides, Activation activation,
              const ActivationFunctions& functions);

/// scale * the sum of `source` over the dimensions in which `sizes` is 1 and source is not, or
/// which `sizes` lacks at its front: the transpose of broadcasting. Contiguous, in source's dtype.
/// Bitwise repeatable: partial sums have a fixed order, no atomics.
Tensor sum_to_size_cpu(const char* op, const Tensor& source, IntList sizes, double scale);
Tensor sum_to_size_cuda(const char* op, const Tensor& source, IntList sizes, double scale);
/// The same beside the kernel in front in the stream: `source` was complete before that one began.
Tensor sum_to_size_beside_cuda(const char* op, const Tensor& source, IntList sizes, double scale);

}  // namespace kernelopt
