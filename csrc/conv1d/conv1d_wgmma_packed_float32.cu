#include "conv1d/conv1d_wgmma_packed_launch.cuh"

namespace kernelopt {

template bool launch_conv1d_wgmma_packed_as<float>(const char*, Conv1dWgmmaPackedPlan,
                                                   const Tensor&);

}  // namespace kernelopt
