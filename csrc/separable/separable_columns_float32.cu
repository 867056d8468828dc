#include "separable/separable_columns_launch.cuh"

namespace kernelopt {

template bool launch_separable_columns_as<float>(const char*, const SeparableWgmmaProblem&,
                                                 const Tensor&, cudaStream_t);
template bool launch_image_columns_as<float>(const char*, const SeparableWgmmaProblem&,
                                             const Tensor&, cudaStream_t);

}  // namespace kernelopt
