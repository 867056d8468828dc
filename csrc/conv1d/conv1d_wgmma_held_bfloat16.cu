#include "conv1d/conv1d_wgmma_held_launch.cuh"

namespace kernelopt {

template void launch_conv1d_wgmma_held_as<__nv_bfloat16>(const char*, Conv1dWgmmaHeldPlan,
                                                         const Tensor&);

}  // namespace kernelopt
