#include "depthwise/depthwise_phase_gradient_launch.cuh"

namespace kernelopt {

bool launch_depthwise_phase_gradient(const char* op, const DepthwiseParams& params,
                                     const DepthwiseOperands& operands, cudaStream_t stream) {
  const bool served = !operands.channels_last && params.h.dilation == 1 && params.w.dilation == 1 &&
                      fits_32bit(params, operands.result.numel(), kSlidingSlack);
  if (!served) {
    return false;
  }
  return dispatch_up_to_32bit(operands.source.scalar_type(), [&](auto tag) {
    return launch_depthwise_phase_gradient_as<typename decltype(tag)::type>(op, params, operands,
                                                                            stream);
  });
}

}  // namespace kernelopt
