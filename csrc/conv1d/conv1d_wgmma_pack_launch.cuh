// Launches of the kernel that packs weights for the warpgroup kernels.
#pragma once

#include "common/device.h"
#include "conv1d/conv1d_wgmma_pack_many_kernel.cuh"

namespace kernelopt {

/// How the weights of a plan are packed.
struct WeightPacking {
  static constexpr int kThreads = PackMany::kThreads, kMany = -1;
  // Taps up to which few weights beside the input go through shared memory: 64x32x1001 -> 32, k39
  // took 0.059 ms in float32, read one by one 0.052; 1x96x3988 -> 192, k8 s4 0.0137 and 0.0161.
  static constexpr int kMaxFewTaps = 16;
  int units, thread_taps, blocks_x, blocks_y;
  int kernel_taps;       // of pack_weight_units(); kMany: by pack_many_weights()
  int64_t shared_bytes;  // of a block

  /// @param beside_input  by the kernel that packs the input as well, where what a thread of
  ///                      pack_weight_units() holds would leave room for few blocks
  template <typename T, typename Plan>
  static WeightPacking of(const Plan& plan, bool beside_input = false) {
    const Conv1dWgmmaParams& params = plan.params;
    const int taps = params.correlation.taps;
    WeightPacking packing{};
    packing.units = static_cast<int>(plan.packed_bytes / (16 * MmaTraits<T>::kParts * taps));
    packing.thread_taps = taps;
    packing.blocks_x = static_cast<int>(divide_up(packing.units, kThreads));
    packing.blocks_y = 1;
    const bool vectors = has_vector_weights<T>(params.problem);
    const int64_t many_bytes = PackMany::shared_bytes<T>(params);
    if (!beside_input && vectors && (taps == 1 || taps == 3 || taps == 5 || taps == 7)) {
      packing.kernel_taps = taps;
    } else if (vectors && many_bytes <= PackMany::kMaxBytes &&
               ((beside_input && taps <= kMaxFewTaps) ||
                plan.packed_bytes >= PackMany::kMinPackedBytes)) {
      packing.kernel_taps = kMany;
      packing.blocks_x = packing.units / PackMany::kSlots;
      packing.shared_bytes = many_bytes;
    } else {
      packing.thread_taps = pack_thread_taps(packing.units, taps);
      packing.blocks_y = static_cast<int>(divide_up(taps, packing.thread_taps));
    }
    return packing;
  }
};

/// Calls `function` with a packing's kernel_taps as a constant.
template <typename Function>
void with_kernel_taps(const WeightPacking& packing, Function&& function) {
  switch (packing.kernel_taps) {
    case WeightPacking::kMany: function(std::integral_constant<int, WeightPacking::kMany>()); break;
    case 1: function(std::integral_constant<int, 1>()); break;
    case 3: function(std::integral_constant<int, 3>()); break;
    case 5: function(std::integral_constant<int, 5>()); break;
    case 7: function(std::integral_constant<int, 7>()); break;
    default: function(std::integral_constant<int, 0>()); break;
  }
}

/// Packs the weights as a plan's kernel reads them.
/// @tparam kTogether  chunks that lie together
template <typename T, int kTogether, typename Plan>
void pack_conv1d_wgmma_weight(const char* op, const Plan& plan, uint4* packed_weight,
                              cudaStream_t stream) {
  const WeightPacking packing = WeightPacking::of<T>(plan);
  const dim3 grid(static_cast<unsigned>(packing.blocks_x), static_cast<unsigned>(packing.blocks_y));
  with_kernel_taps(packing, [&](auto taps) {
    constexpr int kTaps = decltype(taps)::value;
    if constexpr (kTaps == WeightPacking::kMany) {
      pack_many_conv1d_wgmma_weights_kernel<T, kTogether>
          <<<grid, WeightPacking::kThreads, static_cast<size_t>(packing.shared_bytes), stream>>>(
              plan.params, packed_weight, plan.block_slots);
    } else {
      pack_conv1d_wgmma_weight_kernel<T, kTaps, kTogether>
          <<<grid, WeightPacking::kThreads, 0, stream>>>(
              plan.params, packed_weight, plan.block_slots, packing.units, packing.thread_taps);
    }
  });
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace kernelopt
