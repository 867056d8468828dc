#include "conv1d/conv1d_toeplitz_launch.cuh"

namespace kernelopt {

template bool launch_conv1d_toeplitz_as<__half>(const char*, const Conv1dProblem&, const Tensor&);

}  // namespace kernelopt
