#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_sliding_plan.h"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_launch.h"

namespace kernelopt {

bool launch_depthwise_rows(const char* op, const DepthwiseParams& params,
                           const DepthwiseOperands& operands, Activation activation,
                           cudaStream_t /*stream*/) {
  const DepthwiseAxis& h = params.h;
  const DepthwiseAxis& w = params.w;
  const int64_t rows = params.batch * params.result_channels * h.result_size;
  // A dilated kernel's windows are one tap wide: slower than the direct kernel.
  const bool whole = w.dilation == 1 && h.kernel_size == 1 && h.stride == 1 && h.padding == 0 &&
                     h.result_size == h.source_size && (w.stride == 1 || w.stride == 2);
  if (operands.channels_last || !whole || params.filters > 1 ||
      (params.multiplier > 1 && h.result_size > 1) || !fits_32bit(params, rows, kSlidingSlack)) {
    return false;
  }
  Conv1dSliding row{};
  row.rows = static_cast<int>(rows);
  row.channels = static_cast<int>(params.result_channels);
  row.multiplier = static_cast<int>(params.multiplier);
  row.in_channels = static_cast<int>(params.source_channels);
  row.in_extent = operands.source.numel();
  row.in_length = static_cast<int>(w.source_size);
  row.out_length = static_cast<int>(w.result_size);
  row.kernel_size = static_cast<int>(w.kernel_size);
  row.stride = static_cast<int>(w.stride);
  row.padding = static_cast<int>(w.padding);
  row.dilation = static_cast<int>(w.dilation);
  row.flipped = params.flipped;
  row.lines = static_cast<int>(h.result_size);

  Conv1dProblem problem{};
  problem.input = operands.source.const_data_ptr();
  problem.weight = operands.weight.const_data_ptr();
  problem.bias = operands.bias.has_value() ? operands.bias->const_data_ptr() : nullptr;
  problem.output = operands.result.mutable_data_ptr();
  problem.input_strides = {row.in_channels * w.source_size, w.source_size, 1};
  problem.output_strides = {row.channels * w.result_size, w.result_size, 1};
  problem.activation = activation;
  return launch_conv1d_rows(op, problem, row, operands.source);
}

}  // namespace kernelopt
