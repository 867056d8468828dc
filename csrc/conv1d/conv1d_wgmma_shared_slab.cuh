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

/// The slabs of a warpgroup as the kernel's instances have them.
template <typename T, int kSlots, int kResidues>
using ResultRing =
    SlabRing<T, fixed_slabs(kSlots, kResidues),
             Conv1dWgmmaSharedShape::kPassChannels *
                 shared_slab_pitch(warpgroup_tiles_m(kSlots) * 64, kResidues) * sizeof(T)>;

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

/// An 8 x 8 block of 16-bit elements out of a fragment's registers, transposed: a thread has two
/// successive rows of a column.
__device__ __forceinline__ uint32_t transpose_block(uint32_t word) {
  uint32_t transposed;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(word));
  return transposed;
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
  using Columns = ResultColumns<kSlots, kResidues>;
  const float* first = biases + pass * Conv1dWgmmaSharedShape::kPassChannels;
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
    float two[2];
    if constexpr (kResidues == 1) {  // neighbours, read at once
      const float2 both = *reinterpret_cast<const float2*>(first + Columns::channel(pair * 2));
      two[0] = both.x;
      two[1] = both.y;
    } else {
      two[0] = first[Columns::channel(pair * 2)];
      two[1] = first[Columns::channel(pair * 2 + 1)];
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      for_each_sum<kSlots, kResidues>(accumulators, pass, pair * 2 + i, [&](float& sum) {
        if constexpr (kResidues == 1 && std::is_same_v<ActivationType, GeluOfSum<T>>) {
          sum = ActivationType::of_half(fmaf(0.5f, sum, two[i]));  // the bias is halved already
        } else {
          sum = activate_sum<T, ActivationType>(sum, two[i]);
        }
      });
    }
  }
}

/// Where a thread's results of a pass go, in a slab that begins at 0. It is the same for all passes
/// of a tile: 16 rows of the output, whatever their stride, are whole sectors.
template <typename T, int kSlots, int kResidues, SlabLayout kLayout>
struct SlabPlaces {
  using Columns = ResultColumns<kSlots, kResidues>;
  static constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  static constexpr int kPitch = shared_slab_pitch(Columns::kPositions, kResidues);
  // The second eight of a warp's rows in the last 64-row tile.
  static constexpr int kLastRow = (Columns::kTilesM - 1) * 64 + 8;
  static constexpr int kRows = kLayout == SlabLayout::kBlocks  ? 1
                               : kLayout == SlabLayout::kPairs ? 2
                                                               : 4;
  int places[kRows];  // elements; of two residues pairs
  // Of the last eight rows: where tiles adjoin, the vector that the first warpgroup's shares with
  // the second's is in the second one's slab.
  int last_places[kRows];

  /// @param output  the address of the warpgroup's first output in the block's first channel
  __device__ __forceinline__ SlabPlaces(const Conv1dWgmmaSharedParams& p, const T* output) {
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    if constexpr (kLayout == SlabLayout::kBlocks) {
      places[0] = (lane / 16 * 8 + lane % 8) * kPitch + warp * 16 + lane / 8 % 2 * 8;
      last_places[0] = places[0];
    } else {
      const bool leads = p.adjoins && threadIdx.x < 128;
      const int to_second = p.slabs * p.slab_bytes / kSize - Columns::kPositions;
      const uint32_t first = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(output) / kSize);
      const uint32_t stride = static_cast<uint32_t>(p.problem.output_strides.channel);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const bool pairs = kLayout == SlabLayout::kPairs;
        const int channel = pairs ? i * 8 + lane / 4 : Columns::channel(i);
        const uint32_t before = (first + channel * stride) % kVector;
        const int row = warp * 16 + (pairs ? lane % 4 * 2 : lane / 4);
        places[i] = kResidues == 2 ? channel * (kPitch / 2) + (before + 1) / 2 + row
                                   : channel * kPitch + p.correlation.sum_place(before) + row;
        const bool shared =
            leads && static_cast<int>(before) + row + kLastRow >= Columns::kPositions;
        last_places[i] = places[i] + (shared ? to_second : 0);
      }
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      asm volatile("" : "+r"(places[i]), "+r"(last_places[i]));  // once, not for every pass
    }
  }
  __device__ __forceinline__ void write(typename Columns::Accumulators& accumulators, int pass,
                                        T* values) const {
    const auto pair = [&](int i, int m, int half) {
      return pack_pair<T>(Columns::value(accumulators, pass, i, 0, m, half),
                          Columns::value(accumulators, pass, i + 1, 0, m, half));
    };
#pragma unroll
    for (int m = 0; m < Columns::kTilesM; ++m) {
      if constexpr (kLayout == SlabLayout::kBlocks) {
        uint32_t words[4];
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          words[block] = pair(block / 2 * 2, m, block % 2);
        }
        store_transposed(shared_address(values + places[0]) + m * 64 * kSize, words);
      } else {
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int row = m * 64 + half * 8;
            const int place = (row == kLastRow ? last_places : places)[i] + row;
            if constexpr (kLayout == SlabLayout::kPairs) {
              *reinterpret_cast<uint32_t*>(values + place) = transpose_block(pair(i * 2, m, half));
            } else if constexpr (kResidues == 2) {
              reinterpret_cast<uint32_t*>(values)[place] =
                  pack_pair<T>(Columns::value(accumulators, pass, i, 0, m, half),
                               Columns::value(accumulators, pass, i, 1, m, half));
            } else {
              values[place] = from_accumulate<T>(Columns::value(accumulators, pass, i, 0, m, half));
            }
          }
        }
      }
    }
  }
};

/// Finishes a tile's sums and hands them over, pass by pass, so that those who store begin with the
/// first. One piece of code for each activation and layout: the instructions of all do not fit
/// their cache and are fetched in the order they run. With more residues than one a sum may not be
/// finite only because of the zero weights where a residue has no such tap: then it is NaN in the
/// slab, the slab's flag holds the number of the last pass with such sums, and those who store
/// compute them again.
/// @param output  the address of the warpgroup's first output in the block's first channel
/// @tparam kLayout  how the slabs are written
template <typename T, typename ActivationType, int kSlots, int kResidues, SlabLayout kLayout>
__device__ __forceinline__ void write_slabs(
    const Conv1dWgmmaSharedParams& p,
    typename ResultColumns<kSlots, kResidues>::Accumulators& accumulators, const float* biases,
    int passes, const T* output, ResultRing<T, kSlots, kResidues>& slabs) {
  using Columns = ResultColumns<kSlots, kResidues>;
  constexpr bool kFixed = fixed_slabs(kSlots, kResidues) > 0;
  const uint32_t flags = kResidues > 1 ? flag_sums<kSlots, kResidues>(accumulators) : 0;
  const SlabPlaces<T, kSlots, kResidues, kLayout> places(p, output);
  if constexpr (kFixed) {
    slabs.ring = {};
  }
#pragma unroll
  for (int pass = 0; pass < Columns::kPasses; ++pass) {
    if (pass >= passes) {
      break;
    }
    finish_pass<T, ActivationType, kSlots, kResidues>(accumulators, pass, biases);
    slabs.wait_empty();
    places.write(accumulators, pass, slabs.values(p));
    if (kResidues > 1 && (flags >> pass & 1) != 0) {
      slabs.flag() = slabs.pass;
    }
    slabs.hand_over(p);
  }
  if constexpr (kFixed) {
    // All slabs take part, those without channels too.
    constexpr int kSlabs = fixed_slabs(kSlots, kResidues);
#pragma unroll 1
    for (int pass = passes; pass < Columns::kPasses; ++pass) {
      slabs.ring = {pass % kSlabs, static_cast<uint32_t>(pass / kSlabs % 2)};
      slabs.wait_empty();
      slabs.hand_over(p);
    }
  }
}

#endif

}  // namespace kernelopt
