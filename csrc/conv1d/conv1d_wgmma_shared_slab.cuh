// Slabs of conv1d_wgmma_shared_kernel: results on their way from the multiplying warps to the
// storing ones, a pass of 16 channels at a time, [channel][position]. The multiplying warps add the
// bias, apply the activation and round; a row begins at the output's own place in 16 bytes, so that
// vectors of the slab are vectors of the output. Two residues are written as one word, so at the
// next even place; of a spread output the slab has the sums alone.
#pragma once

#include "common/activation16.cuh"
#include "conv1d/conv1d_wgmma_shared_load.cuh"
#include "conv1d/conv1d_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The accumulators as the slabs take them, pass by pass. A thread has sums of four channels of a
/// pass, of each all residues.
template <int kSlots, int kResidues>
struct ResultColumns {
  static constexpr int kTilesM = warpgroup_tiles_m(kSlots);
  static constexpr int kPasses = kSlots / (Conv1dWgmmaSharedShape::kPassChannels * kResidues);
  static constexpr int kPositions = kTilesM * 64;
  static constexpr int kProducts = warpgroup_products(kSlots);
  static constexpr int kRegisters = kSlots * kTilesM / (kProducts * 2);
  using Accumulators = float[kProducts][kRegisters];

  /// The thread's channel i of a pass.
  static __device__ __forceinline__ int channel(int i) {
    const int quad = threadIdx.x % 4;
    return kResidues == 2 ? i * 4 + quad : i / 2 * 8 + quad * 2 + i % 2;
  }
  /// The sum of channel i in 64-row tile m, in the thread's row (half 0) or the eighth after it.
  static __device__ __forceinline__ float& value(Accumulators& accumulators, int pass, int i,
                                                 int residue, int m, int half) {
    const int column = kResidues == 2 ? pass * 32 + i * 8 + residue
                                      : pass * 16 + i / 2 * 8 + i % 2;  // of the thread's first
    const int index = column / 8 * 4 + half * 2 + column % 2;
    return accumulators[m + index / kRegisters][index % kRegisters];
  }
};

/// Calls function(sum) for a thread's sums of its channel i in a pass.
template <int kSlots, int kResidues, typename Function>
__device__ __forceinline__ void for_each_sum(
    typename ResultColumns<kSlots, kResidues>::Accumulators& accumulators, int pass, int i,
    Function&& function) {
  using Columns = ResultColumns<kSlots, kResidues>;
#pragma unroll
  for (int j = 0; j < kResidues * Columns::kTilesM * 2; ++j) {
    function(Columns::value(accumulators, pass, i, j / 2 % kResidues, j / 2 / kResidues, j % 2));
  }
}

/// Makes all sums that are not finite NaN where there is one.
/// @return bit `pass` is set where a sum of the pass is not finite
template <int kSlots, int kResidues>
__device__ __forceinline__ uint32_t
flag_sums(typename ResultColumns<kSlots, kResidues>::Accumulators& accumulators) {
  using Columns = ResultColumns<kSlots, kResidues>;
  uint32_t flags = 0;
#pragma unroll
  for (int pass = 0; pass < Columns::kPasses; ++pass) {
    float probe = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      for_each_sum<kSlots, kResidues>(accumulators, pass, i,
                                      [&](float& sum) { probe = fmaf(sum, 0.0f, probe); });
    }
    flags |= probe == 0.0f ? 0 : 1 << pass;
  }
  if (flags != 0) {
#pragma unroll
    for (int i = 0; i < Columns::kPasses * 4; ++i) {
      for_each_sum<kSlots, kResidues>(accumulators, i / 4, i % 4,
                                      [](float& sum) { sum = fmaf(sum, 0.0f, sum); });
    }
  }
  return flags;
}

/// Bias and activation of a pass, in place.
template <typename T, typename ActivationType, int kSlots, int kResidues>
__device__ __forceinline__ void finish_pass(
    typename ResultColumns<kSlots, kResidues>::Accumulators& accumulators, int pass,
    const float* biases) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float bias = biases[pass * Conv1dWgmmaSharedShape::kPassChannels +
                              ResultColumns<kSlots, kResidues>::channel(i)];
    for_each_sum<kSlots, kResidues>(accumulators, pass, i, [&](float& sum) {
      sum = activate_sum<T, ActivationType>(sum, bias);
    });
  }
}

/// Finishes a tile's sums and hands them over, pass by pass, so that those who store begin with the
/// first. One piece of code for each activation: the instructions of all do not fit their cache and
/// are fetched in the order they run. With more residues than one a sum may not be finite only
/// because of the zero weights where a residue has no such tap: then it is NaN in the slab, the
/// slab's flag holds the number of the last pass with such sums, and those who store compute them
/// again.
/// @param output  the address of the warpgroup's first output in the block's first channel
template <typename T, typename ActivationType, int kSlots, int kResidues>
__device__ __forceinline__ void write_slabs(
    const Conv1dWgmmaSharedParams& p,
    typename ResultColumns<kSlots, kResidues>::Accumulators& accumulators, const float* biases,
    int passes, const T* output, SlabRing<T>& slabs) {
  using Columns = ResultColumns<kSlots, kResidues>;
  const uint32_t flags = kResidues > 1 ? flag_sums<kSlots, kResidues>(accumulators) : 0;
  constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  constexpr int kPitch = shared_slab_pitch(Columns::kPositions, kResidues);
  constexpr int kPassChannels = Conv1dWgmmaSharedShape::kPassChannels;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const uint32_t channel_stride = static_cast<uint32_t>(p.problem.output_strides.channel);
  const int row = warp * 16 + lane / 4;
  const bool in_blocks = kResidues == 1 && p.aligned_output;
  uint32_t place = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(output) / kSize);
#pragma unroll
  for (int pass = 0; pass < Columns::kPasses; ++pass) {
    if (pass >= passes) {
      break;
    }
    finish_pass<T, ActivationType, kSlots, kResidues>(accumulators, pass, biases);
    slabs.wait_empty();
    T* values = slabs.values(p);
    if (in_blocks) {
      const int column = lane / 16 * 8 + lane % 8;
      const uint32_t target =
          shared_address(values + column * kPitch + warp * 16 + lane / 8 % 2 * 8);
#pragma unroll
      for (int m = 0; m < Columns::kTilesM; ++m) {
        uint32_t words[4];
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          words[block] =
              pack_pair<T>(Columns::value(accumulators, pass, block / 2 * 2, 0, m, block % 2),
                           Columns::value(accumulators, pass, block / 2 * 2 + 1, 0, m, block % 2));
        }
        store_transposed(target + m * 64 * kSize, words);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int channel = Columns::channel(i);
        T* line = values + channel * kPitch;
        const uint32_t before = (place + channel * channel_stride) % kVector;
        if constexpr (kResidues == 2) {
          uint32_t* pairs = reinterpret_cast<uint32_t*>(line) + (before + 1) / 2 + row;
#pragma unroll
          for (int m = 0; m < Columns::kTilesM; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              pairs[m * 64 + half * 8] =
                  pack_pair<T>(Columns::value(accumulators, pass, i, 0, m, half),
                               Columns::value(accumulators, pass, i, 1, m, half));
            }
          }
        } else {
          T* value = line + p.correlation.sum_place(before) + row;
#pragma unroll
          for (int m = 0; m < Columns::kTilesM; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              value[m * 64 + half * 8] =
                  from_accumulate<T>(Columns::value(accumulators, pass, i, 0, m, half));
            }
          }
        }
      }
    }
    if (kResidues > 1 && (flags >> pass & 1) != 0) {
      slabs.flag() = slabs.pass;
    }
    slabs.hand_over(p);
    place += kPassChannels * channel_stride;
  }
}

#endif

}  // namespace kernelopt
