#include "separable/separable_wgmma_launch.cuh"

namespace kernelopt {

template bool launch_separable_wgmma_as<float>(const char*, const SeparableWgmmaProblem&, int,
                                               cudaStream_t);

}  // namespace kernelopt
