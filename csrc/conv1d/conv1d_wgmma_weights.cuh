// Packing of a warpgroup kernel's weights, eight channels of a slot at a time, fp32 in a high and a
// low bf16 part: [tap][part][k / 8][slot][k % 8] of a chunk, zeros where a slot, a channel or a tap
// is none.
#pragma once

#include "common/cuda.cuh"
#include "conv1d/conv1d_wgmma_load.cuh"

namespace kernelopt {

/// The weight's tap that tap j of the correlation is for a residue, or -1.
__device__ __forceinline__ int weight_tap(const Conv1dWgmmaParams& p, int residue, int j) {
  if (!p.problem.transposed) {
    return j;
  }
  const int dilation = static_cast<int>(p.problem.dilation);
  const int offset = p.correlation.input_first + j * p.correlation.tap_step;
  const int place = residue * p.correlation.spread + p.correlation.spread_first;
  const int reach = place + static_cast<int>(p.problem.padding) +
                    (p.skews[residue] - offset) * static_cast<int>(p.problem.stride);
  const int tap = reach / dilation;
  const bool found = reach >= 0 && tap * dilation == reach && tap < p.problem.kernel_size;
  return found ? tap : -1;
}

/// Where a slot's weights of eight channels are.
template <typename T>
struct SlotWeights {
  const T* first;  // tap 0 of the first channel
  int64_t stride;  // from a channel to the next
  int channels;    // that are some, 0 or less where the slot is none
  int residue;

  __device__ __forceinline__ SlotWeights(const Conv1dWgmmaParams& p, int group, int block,
                                         int block_slots, int slot, int channel)
      : stride(p.problem.weight_in_stride()) {
    constexpr int kPassColumns = Conv1dWgmmaShape::kPassColumns;
    const int column = slot % kPassColumns;
    const int passes = p.block_passes > 0 ? p.block_passes : block_slots / kPassColumns;
    const int pass = block * passes + slot / kPassColumns;
    const int pass_channel = column / p.correlation.residues;
    residue = column - pass_channel * p.correlation.residues;
    const int64_t o = static_cast<int64_t>(pass) * p.pass_channels + pass_channel;
    const bool real = slot / kPassColumns < passes && pass_channel < p.pass_channels &&
                      o < p.problem.out_channels;
    channels = real ? static_cast<int>(p.problem.in_channels) - channel : 0;
    first = static_cast<const T*>(p.problem.weight) + group * p.problem.weight_group_stride() +
            o * p.problem.weight_out_stride() + channel * stride;
  }
};

/// Packs the taps from `first_tap` to before `last_tap`.
/// @param place  of the slot's high parts of tap 0
/// @tparam kAtOnce    taps of which the weights are read at once
/// @tparam kTogether  chunks that lie side by side for each tap and part
template <typename T, int kAtOnce, int kTogether = 1>
__device__ __forceinline__ void pack_taps(const Conv1dWgmmaParams& p, const SlotWeights<T>& weights,
                                          int first_tap, int last_tap, int block_slots,
                                          uint4* place) {
#pragma unroll kAtOnce
  for (int j = first_tap; j < last_tap; ++j) {
    const int tap = weight_tap(p, weights.residue, j);
    T values[8];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      values[c] = tap >= 0 && c < weights.channels ? weights.first[c * weights.stride + tap]
                                                   : from_accumulate<T>(0.0f);
    }
    uint4* tap_place =
        place + static_cast<int64_t>(j) * MmaTraits<T>::kParts * 2 * kTogether * block_slots;
    store_operands(values, tap_place, tap_place + 2 * kTogether * block_slots);
  }
}

#if KERNELOPT_HAS_WGMMA

/// Packs what a block reads, its split's channels, into its shared memory.
/// @param thread  of `threads` that share the work
template <typename T, int kSlots>
__device__ __forceinline__ void pack_block_weights(const Conv1dWgmmaParams& p, int thread,
                                                   int threads, uint4* packed) {
  const Conv1dChannelRange channels(p);
  const int units = (channels.end - channels.begin + 15) / 16 * 2 * kSlots;
  const int taps = p.correlation.taps;
  const int shares = (taps + kPackedAtOnce - 1) / kPackedAtOnce;
  const int group = blockIdx.y / p.n_blocks, block = blockIdx.y % p.n_blocks;
  for (int i = thread; i < units * shares; i += threads) {
    const int share = i / units, unit = i - share * units;
    const int slot = unit % kSlots, half = unit / kSlots % 2, chunk = unit / (2 * kSlots);
    const SlotWeights<T> weights(p, group, block, kSlots, slot,
                                 channels.begin + chunk * 16 + half * 8);
    const int first = share * kPackedAtOnce;
    pack_taps<T, kPackedAtOnce>(
        p, weights, first, min(first + kPackedAtOnce, taps), kSlots,
        packed + (chunk * taps * MmaTraits<T>::kParts * 2 + half) * kSlots + slot);
  }
}

#endif

}  // namespace kernelopt
