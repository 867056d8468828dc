// The pointwise product of contiguous images in wide tiles, on the host side.
#pragma once

#include "common/tensor.h"
#include "separable/channel_gemm_wgmma_params.h"

namespace kernelopt {

/// Computes a product whose `left` are contiguous images, as `result` is; false where the kernel
/// does not fit it.
/// @param problem  not yet planned
/// @param like     the images
bool multiply_wide_planes(const char* op, const ChannelGemmWgmmaParams& problem, int64_t batch,
                          const Tensor& like);

}  // namespace kernelopt
