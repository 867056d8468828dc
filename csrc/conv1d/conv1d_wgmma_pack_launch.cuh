// Launches of the kernel that packs weights for the warpgroup kernels.
#pragma once

#include "common/device.h"
#include "conv1d/conv1d_wgmma_pack_many_kernel.cuh"

namespace kernelopt {

/// Packs the weights as a plan's kernel reads them.
/// @tparam kTogether  chunks that lie together
template <typename T, int kTogether, typename Plan>
void pack_conv1d_wgmma_weight(const char* op, const Plan& plan, uint4* packed_weight,
                              cudaStream_t stream) {
  const Conv1dProblem& problem = plan.params.problem;
  constexpr int kPackThreads = 128;
  const int units = static_cast<int>(plan.packed_bytes /
                                     (16 * MmaTraits<T>::kParts * plan.params.correlation.taps));
  const int taps = plan.params.correlation.taps;
  const bool vectors = has_vector_weights<T>(problem);
  const bool has_kernel = vectors && (taps == 1 || taps == 3 || taps == 5 || taps == 7);
  const Conv1dWgmmaParams& params = plan.params;
  const int64_t shared_bytes = PackMany::shared_bytes<T>(params);
  if (vectors && !has_kernel && shared_bytes <= PackMany::kMaxBytes &&
      plan.packed_bytes >= PackMany::kMinPackedBytes) {
    pack_many_conv1d_wgmma_weights_kernel<T, kTogether>
        <<<static_cast<unsigned>(units / PackMany::kSlots), PackMany::kThreads,
           static_cast<size_t>(shared_bytes), stream>>>(params, packed_weight, plan.block_slots);
    KERNELOPT_CHECK_LAUNCH(op);
    return;
  }
  int thread_taps = taps;
  auto pack = pack_conv1d_wgmma_weight_kernel<T, 0, kTogether>;
  switch (vectors ? taps : 0) {
    case 1: pack = pack_conv1d_wgmma_weight_kernel<T, 1, kTogether>; break;
    case 3: pack = pack_conv1d_wgmma_weight_kernel<T, 3, kTogether>; break;
    case 5: pack = pack_conv1d_wgmma_weight_kernel<T, 5, kTogether>; break;
    case 7: pack = pack_conv1d_wgmma_weight_kernel<T, 7, kTogether>; break;
    default: thread_taps = pack_thread_taps(units, taps); break;
  }
  const dim3 grid(static_cast<unsigned>(divide_up(units, kPackThreads)),
                  static_cast<unsigned>(divide_up(taps, thread_taps)));
  pack<<<grid, kPackThreads, 0, stream>>>(plan.params, packed_weight, plan.block_slots, units,
                                          thread_taps);
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace kernelopt
