#include "separable/channel_gemm.h"

#include "depthwise/conv2d_cuda.h"
#include "separable/channel_gemm_launch.cuh"

namespace kernelopt {
namespace {

/// Calls `function(left, right)` with the operands as the kernel takes them.
template <typename T, typename Function>
void dispatch_operands(const ChannelGemmParams& params, const ChannelGemmOperands& operands,
                       Function&& function) {
  const T* left = const_data<T>(operands.left);
  const T* right = const_data<T>(operands.right);
  if (operands.left_along_k && operands.right_along_k) {
    function(MatrixOperand<T, true>{left, params.left},
             MatrixOperand<T, true>{right, params.right});
  } else if (operands.left_along_k) {
    function(MatrixOperand<T, true>{left, params.left},
             MatrixOperand<T, false>{right, params.right});
  } else {
    function(MatrixOperand<T, false>{left, params.left},
             MatrixOperand<T, false>{right, params.right});
  }
}

}  // namespace

void channel_gemm(const char* op, const ChannelGemmParams& params,
                  const ChannelGemmOperands& operands, const std::optional<Tensor>& bias,
                  const Tensor& result, cudaStream_t stream) {
  const int multiprocessors = multiprocessor_count(result.get_device_index());
  dispatch_floating_cuda(op, result.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    dispatch_channel_tile<T>(params.m, params.n, multiprocessors, [&](auto tile) {
      dispatch_operands<T>(params, operands, [&](const auto& left, const auto& right) {
        launch_channel_gemm<decltype(tile)>(op, params, left, right, data_or_null<T>(bias),
                                            mutable_data<T>(result), stream);
      });
    });
  });
}

}  // namespace kernelopt
