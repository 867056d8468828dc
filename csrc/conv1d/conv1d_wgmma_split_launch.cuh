// The launch of the kernel that adds the splits' sums of a warpgroup kernel.
#pragma once

#include "common/device.h"
#include "conv1d/conv1d_wgmma_split_kernel.cuh"

namespace kernelopt {

template <typename T, typename Plan>
void sum_conv1d_splits(const char* op, const Plan& plan, cudaStream_t stream) {
  constexpr int kThreads = 128;
  const int64_t vectors = plan.sums_bytes / (16 * plan.splits);
  const unsigned blocks = static_cast<unsigned>(divide_up(vectors, kThreads));
  const Conv1dWgmmaParams& params = plan.params;
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(sum_conv1d_splits_kernel<T>, dim3(blocks), kThreads, 0, stream, params,
                           static_cast<int>(plan.splits), vectors));
}

}  // namespace kernelopt
