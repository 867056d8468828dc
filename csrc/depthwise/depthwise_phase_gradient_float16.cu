#include "depthwise/depthwise_phase_gradient_launch.cuh"

namespace kernelopt {

template bool launch_depthwise_phase_gradient_as<__half>(const char*, const DepthwiseParams&,
                                                         const DepthwiseOperands&, cudaStream_t);

}  // namespace kernelopt
