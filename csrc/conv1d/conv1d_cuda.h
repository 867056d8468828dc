// One-dimensional convolution on a GPU, for conv1d, conv_transpose1d and other families: every
// function takes both directions and launches on torch's current stream.
#pragma once

#include "conv1d/conv1d.h"
#include "conv1d/conv1d_problem.h"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

struct Conv1dSliding;

/// Computes a checked problem: no pointer but the bias's is null, every element that sizes and
/// strides describe is inside its memory.
/// @param like  gives the dtype and the device
void conv1d_forward_cuda(const char* op, const Conv1dProblem& problem, const Tensor& like);

/// Computes a checked problem's weight gradient.
/// @param gradient  contiguous, with as many elements as the problem's weight; gives the dtype and
///                  the device
void conv1d_weight_gradient_cuda(const char* op, const Conv1dWeightGradientProblem& problem,
                                 const Tensor& gradient);

/// The sum of a gradient [N, C, L] over all but its channels: [C].
/// @param ready  it was complete before the kernel in front in the stream began
Tensor conv1d_bias_gradient_cuda(const char* op, const Tensor& grad_output, bool ready);

/// A whole op on checked tensors. Results are contiguous.
Tensor conv1d_forward_cuda(const char* op, const Tensor& input, const Tensor& weight,
                           const std::optional<Tensor>& bias, const Conv1dArguments& arguments);
/// The forward by ATen's convolution; bias and activation by one pass behind it.
Tensor conv1d_forward_aten_cuda(const char* op, const Tensor& input, const Tensor& weight,
                                const std::optional<Tensor>& bias,
                                const Conv1dArguments& arguments);
Conv1dGradients conv1d_backward_cuda(const char* op, const Tensor& grad_output, const Tensor& input,
                                     const Tensor& weight, const std::optional<Tensor>& bias,
                                     const Conv1dArguments& arguments, const BoolList& output_mask);

/// The ways conv1d_forward_cuda computes a problem that is not empty; it chooses. On tensor cores
/// (wgmma on sm_90, mma on sm_80 and later): fp16, bf16, and fp32 in default precision as three
/// products of bf16 parts; false where the problem is not served. mma: where some phase is not, and
/// then outputs of others may have been written; it leaves positions without taps alone. On CUDA
/// cores fp32 is computed in IEEE precision; the direct kernel serves every problem, the GEMM those
/// within 32-bit positions.
bool launch_conv1d_wgmma(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
                         const Tensor& like);
bool launch_conv1d_mma(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
                       const Tensor& like);
/// On tensor cores (mma): transposed, at few positions, to few channels or with large strides;
/// false for the rest. Writes every position.
bool launch_conv1d_columns(const char* op, const Conv1dProblem& problem, const Tensor& like);
/// On tensor cores (mma): from few channels a group, not transposed; false for the rest.
bool launch_conv1d_toeplitz(const char* op, const Conv1dProblem& problem, const Tensor& like);
/// Transposed, to few channels; false for the rest. Writes every position.
bool launch_conv1d_phases(const char* op, const Conv1dProblem& problem, const Tensor& like);
/// Depthwise, with few taps and windows short enough for shared memory; false for the rest.
bool launch_conv1d_sliding(const char* op, const Conv1dProblem& problem, const Tensor& like);
/// The same for the rows of planes, all dense.
/// @param operands  its pointers, strides and activation count
bool launch_conv1d_rows(const char* op, const Conv1dProblem& operands, const Conv1dSliding& row,
                        const Tensor& like);
void launch_conv1d_implicit_gemm(const char* op, const Conv1dProblem& problem,
                                 const Conv1dPhases& phases, bool flat, const Tensor& like);
void launch_conv1d_direct(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
                          const Tensor& like);
/// output = activation(bias) everywhere.
void launch_conv1d_fill(const char* op, const Conv1dProblem& problem, const Tensor& like);

/// Whether the tensor cores are worth having for a problem on `like`'s device.
bool conv1d_on_tensor_cores(const Conv1dProblem& problem, const Tensor& like);

/// `blocks` as a grid's size; raises where it is too large for one.
unsigned grid_size(const char* op, int64_t blocks);

}  // namespace kernelopt
