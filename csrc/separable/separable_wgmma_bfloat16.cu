#include "separable/separable_wgmma_launch.cuh"

namespace kernelopt {

template bool launch_separable_wgmma_as<__nv_bfloat16>(const char*, const SeparableWgmmaProblem&,
                                                       int, cudaStream_t);

}  // namespace kernelopt
