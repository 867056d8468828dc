#include "depthwise/depthwise_banded_launch.cuh"

namespace kernelopt {

template bool launch_depthwise_banded_as<__half>(const char*, const DepthwiseParams&,
                                                 const DepthwiseOperands&, Activation,
                                                 cudaStream_t);

template bool launch_depthwise_banded_columns_as<__half>(const char*, const DepthwiseParams&,
                                                         const DepthwiseColumns&, int, Activation,
                                                         cudaStream_t);

}  // namespace kernelopt
