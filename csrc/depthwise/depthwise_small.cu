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
  switch (operands.source.scalar_type()) {
    case ScalarType::Float:
      return launch_depthwise_small_as<float>(op, params, operands, activation, stream);
    case ScalarType::Half:
      return launch_depthwise_small_as<__half>(op, params, operands, activation, stream);
    case ScalarType::BFloat16:
      return launch_depthwise_small_as<__nv_bfloat16>(op, params, operands, activation, stream);
    default: return false;
  }
}

}  // namespace kernelopt
