#include "depthwise/depthwise_sliding_launch.cuh"

namespace kernelopt {

bool launch_depthwise_sliding(const char* op, const DepthwiseParams& params,
                              const DepthwiseOperands& operands, Activation activation,
                              cudaStream_t stream) {
  const bool served = params.filters == 1 && params.h.dilation == 1 && params.w.dilation == 1 &&
                      fits_32bit(params, params.batch * params.result_channels, kSlidingSlack);
  if (!served) {
    return false;
  }
  switch (operands.source.scalar_type()) {
    case ScalarType::Float:
      return launch_depthwise_sliding_as<float>(op, params, operands, activation, stream);
    case ScalarType::Half:
      return launch_depthwise_sliding_as<__half>(op, params, operands, activation, stream);
    case ScalarType::BFloat16:
      return launch_depthwise_sliding_as<__nv_bfloat16>(op, params, operands, activation, stream);
    default: return false;  // fp64: its speed is no concern
  }
}

}  // namespace kernelopt
