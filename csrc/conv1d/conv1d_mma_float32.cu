#include "conv1d/conv1d_mma_launch.cuh"

namespace kernelopt {

template bool launch_conv1d_mma_as<float>(const char*, const Conv1dProblem&, const Conv1dPhases&,
                                          const Tensor&);

}  // namespace kernelopt
