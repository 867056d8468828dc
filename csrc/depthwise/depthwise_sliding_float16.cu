#include "depthwise/depthwise_sliding_launch.cuh"

namespace kernelopt {

template bool launch_depthwise_sliding_as<__half>(const char*, const DepthwiseParams&,
                                                  const DepthwiseOperands&, Activation,
                                                  cudaStream_t);

}  // namespace kernelopt
