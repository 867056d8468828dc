#include "depthwise/depthwise_small_launch.cuh"

namespace kernelopt {

bool launch_depthwise_small(const char* op, const DepthwiseParams& params,
                            const DepthwiseOperands& operands, Activation activation,
                            cudaStream_t stream) {
  const bool served =
      params.filters == 1 && fits_32bit(params, operands.result.numel(), kSlidingSlack);
  if (!served) {
    return false;
  }
  return dispatch_up_to_32bit(operands.source.scalar_type(), [&](auto tag) {
    return launch_depthwise_small_as<typename decltype(tag)::type>(op, params, operands, activation,
                                                                   stream);
  });
}

}  // namespace kernelopt
