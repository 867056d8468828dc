#include "depthwise/depthwise_small_launch.cuh"

namespace kernelopt {

template bool launch_depthwise_small_as<__half>(const char*, const DepthwiseParams&,
                                                const DepthwiseOperands&, Activation, cudaStream_t);

}  // namespace kernelopt
