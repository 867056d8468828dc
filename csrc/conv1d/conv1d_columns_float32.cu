#include "conv1d/conv1d_columns_launch.cuh"

namespace kernelopt {

template void launch_conv1d_columns_as<float>(const char*, const Conv1dProblem&, bool,
                                              const Tensor&);

}  // namespace kernelopt
