// From the depthwise parameters to launches of its kernels, one function for each kind of kernel.
// All tensors are CUDA tensors of one dtype and device, dense in the format the call names; the
// result has at least one element.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "depthwise/depthwise_conv2d.h"
#include "depthwise/depthwise_params.h"

#include <cstdlib>
#include <optional>

namespace kernelopt {

/// Whether every source and result coordinate that a kernel computes along an axis fits 32 bits.
/// @param slack  results and taps beyond the axis's own that a kernel may compute
inline bool axis_fits_32bit(const DepthwiseAxis& axis, int64_t slack) {
  const double reach = static_cast<double>(axis.result_size + slack) * axis.stride +
                       static_cast<double>(axis.kernel_size + slack) * axis.dilation +
                       static_cast<double>(std::abs(axis.padding)) + axis.source_size;
  return reach < static_cast<double>(kMaxIndex32);
}

struct DepthwiseOperands {
  const Tensor& source;
  const Tensor& weight;               // [filters, 1, KH, KW], contiguous
  const std::optional<Tensor>& bias;  // contiguous
  const Tensor& result;
  bool channels_last;
  Precision precision = Precision::kIeee;
};

/// Whether all index arithmetic of a kernel over `items` items fits 32 bits.
inline bool fits_32bit(const DepthwiseParams& params, int64_t items, int64_t slack) {
  return items <= kMaxIndex32 && axis_fits_32bit(params.h, slack) &&
         axis_fits_32bit(params.w, slack) &&
         params.h.source_size * params.w.source_size <= kMaxIndex32 &&
         params.result_channels * params.filters <= kMaxIndex32;
}

/// Channels a thread of a channels_last kernel moves as one access: as many as fill 16 bytes where
/// each channel has one filter and every access is aligned, else 1.
template <typename T>
int channel_vector_size(const DepthwiseParams& params, const DepthwiseOperands& operands) {
  constexpr int kVec = 16 / sizeof(T);
  const auto aligned = [](const Tensor& tensor) {
    return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0;
  };
  const bool wide = params.filters == 1 && params.multiplier == 1 &&
                    params.result_channels % kVec == 0 && aligned(operands.source) &&
                    aligned(operands.weight) && aligned(operands.result);
  return wide ? kVec : 1;
}

/// The weight as [KH, KW, filters] in memory where `channels_last`: some kernels for that format
/// read neighbouring filters.
Tensor depthwise_kernel_weight(const char* op, const Tensor& weight, bool channels_last);

/// The forward correlation of a weight gradient's convolution.
DepthwiseParams forward_of(const DepthwiseWeightGradientParams& params);

/// The forward correlation of checked arguments.
DepthwiseParams depthwise_forward_params(const Tensor& input, const Tensor& weight,
                                         IntList output_sizes, const Window2d& window);

/// The number of blocks as gridDim.x takes it.
unsigned grid_size(const char* op, int64_t items, int64_t items_per_block);

void launch_depthwise_correlation(const char* op, const DepthwiseParams& params,
                                  const DepthwiseOperands& operands, Activation activation,
                                  cudaStream_t stream);

/// Results and taps beyond an axis's own that threads of the sliding kernels may compute.
constexpr int64_t kSlidingSlack = 64;

/// Whether the kernels that slide over strips of 64 results take a weight gradient: not dilated,
/// with strips and places within 32 bits.
inline bool slides_over_strips(const DepthwiseWeightGradientParams& params) {
  const int64_t strips = params.h.result_size * divide_up(params.w.result_size, 64);
  return params.h.dilation == 1 && params.w.dilation == 1 && params.batch > 0 &&
         params.batch * strips <= kMaxIndex32 &&
         fits_32bit(forward_of(params), params.batch * params.filters, kSlidingSlack);
}

/// The sliding kernels, for contiguous and for channels_last tensors; false where they have no
/// instance for the shape.
bool launch_depthwise_channels_last_sliding(const char* op, const DepthwiseParams& params,
                                            const DepthwiseOperands& operands,
                                            Activation activation, cudaStream_t stream);
bool launch_depthwise_sliding(const char* op, const DepthwiseParams& params,
                              const DepthwiseOperands& operands, Activation activation,
                              cudaStream_t stream);

/// The kernels for small tensors of either format, and for contiguous ones with dilated 3x3
/// kernels; false where they have no instance for the shape or the sliding kernels are faster.
bool launch_depthwise_small(const char* op, const DepthwiseParams& params,
                            const DepthwiseOperands& operands, Activation activation,
                            cudaStream_t stream);

/// Whether a correlation goes to tensor cores, where it is faster there: fp32 in the default
/// precision alone.
bool is_banded(const DepthwiseParams& params, const DepthwiseOperands& operands);

/// The kernels on tensor cores, for contiguous and for channels_last tensors; false where a
/// correlation does not go there or does not fit.
bool launch_depthwise_banded(const char* op, const DepthwiseParams& params,
                             const DepthwiseOperands& operands, Activation activation,
                             cudaStream_t stream);
bool launch_depthwise_banded_channels_last(const char* op, const DepthwiseParams& params,
                                           const DepthwiseOperands& operands, Activation activation,
                                           cudaStream_t stream);

/// Operands of a correlation of contiguous tensors whose results lie elsewhere: planes of
/// neighbouring images and of neighbouring channels so many elements apart.
struct DepthwiseColumns {
  const void* source;
  const void* weight;
  const void* bias;  // or null
  void* result;
  int64_t image_stride, channel_stride;
};

/// A 3x3 correlation at stride and dilation 1 in 16 bit on tensor cores, with results elsewhere;
/// false where it does not go there or does not fit.
bool launch_depthwise_banded_columns(const char* op, const DepthwiseParams& params,
                                     const DepthwiseColumns& columns, ScalarType dtype,
                                     int multiprocessors, Activation activation,
                                     cudaStream_t stream);

/// The kernel for contiguous tensors and large kernels, or several filters a channel; false for the
/// rest.
bool launch_depthwise_tile(const char* op, const DepthwiseParams& params,
                           const DepthwiseOperands& operands, Activation activation,
                           cudaStream_t stream);

/// Kernels of one row, whose rows are those of a depthwise conv1d: its kernel, for contiguous
/// tensors; false for the rest. It launches on torch's current stream.
bool launch_depthwise_rows(const char* op, const DepthwiseParams& params,
                           const DepthwiseOperands& operands, Activation activation,
                           cudaStream_t stream);

/// The input gradient of a convolution with a stride.
void launch_depthwise_strided_gradient(const char* op, const DepthwiseParams& params,
                                       const DepthwiseOperands& operands, cudaStream_t stream);

/// The same for contiguous tensors at stride 2, by a kernel that has instances for some shapes;
/// false for others.
bool launch_depthwise_phase_gradient(const char* op, const DepthwiseParams& params,
                                     const DepthwiseOperands& operands, cudaStream_t stream);

/// @param params  its shares and tiles are set here
void launch_depthwise_weight_gradient(const char* op, DepthwiseWeightGradientParams params,
                                      const Tensor& grad_z, const Tensor& input,
                                      const Tensor& grad_weight, bool channels_last,
                                      Precision precision, cudaStream_t stream);

/// The same for contiguous tensors, by a kernel that has instances for some shapes; false for
/// others.
bool launch_depthwise_weight_gradient_sliding(const char* op,
                                              const DepthwiseWeightGradientParams& params,
                                              const Tensor& grad_z, const Tensor& input,
                                              const Tensor& grad_weight, cudaStream_t stream);

/// The same for small tensors; false where the other kernels are faster.
bool launch_depthwise_weight_gradient_small(const char* op,
                                            const DepthwiseWeightGradientParams& params,
                                            const Tensor& grad_z, const Tensor& input,
                                            const Tensor& grad_weight, cudaStream_t stream);

/// Whether a weight gradient of contiguous tensors goes to tensor cores, where it is faster there:
/// fp32 in the default precision alone.
bool is_banded_gradient(const DepthwiseWeightGradientParams& params, const Tensor& input,
                        Precision precision);

/// The weight gradient on tensor cores; false where it does not go there or does not fit.
bool launch_depthwise_banded_gradient(const char* op, const DepthwiseWeightGradientParams& params,
                                      const Tensor& grad_z, const Tensor& input,
                                      const Tensor& grad_weight, Precision precision,
                                      cudaStream_t stream);

}  // namespace kernelopt
