#include "separable/channel_gemm_wgmma_launch.cuh"

namespace kernelopt {

template bool launch_channel_gemm_wgmma_as<__half>(const char*, const ChannelGemmWgmmaParams&,
                                                   const Tensor&);

}  // namespace kernelopt
