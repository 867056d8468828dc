#include "separable/separable_wgmma.h"

#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_launch.h"
#include "separable/separable_bands.h"
#include "separable/separable_columns.h"
#include "separable/separable_wgmma_launch.cuh"
#include "separable/separable_wgmma_rows.h"

namespace kernelopt {
namespace {

SeparableAxis separable_axis(const DepthwiseAxis& axis) {
  return {static_cast<int>(axis.source_size), static_cast<int>(axis.result_size),
          static_cast<int>(axis.kernel_size), static_cast<int>(axis.stride),
          static_cast<int>(axis.padding),     static_cast<int>(axis.dilation)};
}

template <typename T>
bool launch_as(const char* op, const SeparableWgmmaProblem& problem, const Tensor& input,
               cudaStream_t stream) {
  if constexpr (sizeof(T) == 2) {
    if (launch_separable_bands_as<T>(op, problem, input.get_device_index(), stream)) {
      return true;
    }
  }
  return launch_separable_columns_as<T>(op, problem, input, stream) ||
         launch_separable_wgmma_as<T>(op, problem, input.get_device_index(), stream);
}

}  // namespace

bool separable_wgmma_cuda(const char* op, const SeparableArguments& arguments,
                          const Tensor& output) {
  const Tensor& input = arguments.input;
  const int device = input.get_device_index();
  const std::vector<int64_t> hidden_sizes{output.size(0), arguments.depthwise_weight.size(0),
                                          output.size(2), output.size(3)};
  const DepthwiseParams depthwise =
      depthwise_forward_params(input, arguments.depthwise_weight, hidden_sizes, arguments.window);
  if (!has_wgmma(device) || depthwise.multiplier != 1 ||
      !fits_32bit(depthwise, depthwise.h.result_size * depthwise.w.result_size, kSlidingSlack) ||
      std::max({depthwise.batch, output.size(1)}) > kMaxIndex32) {
    return false;
  }
  const torch::stable::accelerator::DeviceGuard guard(device);
  const Tensor source = in_format(op, input, false);
  const Tensor depthwise_weight = contiguous_cuda(op, arguments.depthwise_weight);
  const Tensor pointwise_weight = contiguous_cuda(op, arguments.pointwise_weight);
  const std::optional<Tensor> depthwise_bias = contiguous_bias(op, arguments.depthwise_bias);
  const std::optional<Tensor> pointwise_bias = contiguous_bias(op, arguments.pointwise_bias);
  SeparableWgmmaProblem problem{};
  problem.input = source.const_data_ptr();
  problem.depthwise_weight = depthwise_weight.const_data_ptr();
  problem.depthwise_bias = data_or_null<void>(depthwise_bias);
  problem.pointwise_weight = pointwise_weight.const_data_ptr();
  problem.pointwise_bias = data_or_null<void>(pointwise_bias);
  problem.output = output.mutable_data_ptr();
  problem.batch = static_cast<int>(depthwise.batch);
  problem.channels = static_cast<int>(depthwise.source_channels);
  problem.out_channels = static_cast<int>(output.size(1));
  problem.h = separable_axis(depthwise.h);
  problem.w = separable_axis(depthwise.w);
  problem.depthwise_activation = arguments.depthwise_activation;
  problem.activation = arguments.activation;
  const cudaStream_t stream = current_stream(input);
  switch (input.scalar_type()) {
    case ScalarType::Half: return launch_as<__half>(op, problem, input, stream);
    case ScalarType::BFloat16: return launch_as<__nv_bfloat16>(op, problem, input, stream);
    case ScalarType::Float:
      return launch_separable_rows(op, problem, device, stream) ||
             launch_as<float>(op, problem, input, stream);
    default: return false;
  }
}

}  // namespace kernelopt
