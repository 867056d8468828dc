#include "common/dtype.cuh"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_strided_gradient_kernel.cuh"

#include <numeric>

namespace kernelopt {
namespace {

TapStep tap_step(const DepthwiseAxis& axis) {
  const int64_t divisor = std::gcd(axis.stride, axis.dilation);
  return {axis.stride / divisor, axis.dilation / divisor};
}

template <typename T, typename Index>
void launch(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
            int64_t items, int vec, cudaStream_t stream) {
  constexpr int kThreads = DepthwisePolicy::kThreads;
  constexpr int kVec = kVecBytes / sizeof(T);
  const auto kernel = !operands.channels_last
                          ? depthwise_strided_gradient_kernel<T, false, 1, Index>
                      : vec == kVec ? depthwise_strided_gradient_kernel<T, true, kVec, Index>
                                    : depthwise_strided_gradient_kernel<T, true, 1, Index>;
  kernel<<<grid_size(op, items, kThreads), kThreads, 0, stream>>>(
      params, const_data<T>(operands.source), const_data<T>(operands.weight),
      mutable_data<T>(operands.result), tap_step(params.h), tap_step(params.w),
      static_cast<Index>(items));
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace

void launch_depthwise_strided_gradient(const char* op, const DepthwiseParams& params,
                                       const DepthwiseOperands& given, cudaStream_t stream) {
  if (launch_depthwise_phase_gradient(op, params, given, stream)) {
    return;
  }
  const Tensor filter = depthwise_kernel_weight(op, given.weight, given.channels_last);
  const DepthwiseOperands operands{given.source, filter, given.bias, given.result,
                                   given.channels_last};
  dispatch_floating_cuda(op, operands.source.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int vec = operands.channels_last ? channel_vector_size<T>(params, operands) : 1;
    const int64_t items = operands.result.numel() / vec;
    if (fits_32bit(params, items, 1)) {
      launch<T, int32_t>(op, params, operands, items, vec, stream);
    } else {
      launch<T, int64_t>(op, params, operands, items, vec, stream);
    }
  });
}

}  // namespace kernelopt
