#include "conv1d/conv1d_columns_launch.cuh"

namespace kernelopt {

template void launch_conv1d_columns_as<__nv_bfloat16>(const char*, const Conv1dProblem&, bool,
                                                      const Tensor&);

}  // namespace kernelopt
