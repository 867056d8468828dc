#include "separable/channel_gemm_wgmma_launch.cuh"

namespace kernelopt {

template bool launch_channel_gemm_wgmma_as<__nv_bfloat16>(const char*,
                                                          const ChannelGemmWgmmaParams&,
                                                          const Tensor&);

}  // namespace kernelopt
