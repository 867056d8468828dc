// Slabs of conv1d_wgmma_shared_kernel: results on their way from the multiplying warps to the
// storing ones, a pass of 16 columns at a time, [channel][position]. The multiplying warps add the
// bias, apply the activation and round; a row begins at the output's own place in 16 bytes, so that
// vectors of the slab are vectors of the output.
#pragma once

#include "conv1d/conv1d_wgmma_shared_load.cuh"
#include "conv1d/conv1d_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// A warpgroup's slabs and their barriers. With more residues than one a sum may not be finite only
/// because of the zero weights where a residue has no such tap: then it is NaN in the slab, the
/// slab's flag holds the number of the last pass with such sums, and those who store compute them
/// again.
template <typename T>
struct SlabRing {
  unsigned char* slabs;
  uint32_t* flags;
  uint32_t full, empty;
  RingCursor ring;
  uint32_t pass = 1;  // counted from 1 over all tiles

  __device__ __forceinline__ T* values(const Conv1dWgmmaSharedParams& p) const {
    return reinterpret_cast<T*>(slabs + ring.index * p.slab_bytes);
  }
  __device__ __forceinline__ uint32_t& flag() const { return flags[ring.index]; }
  __device__ __forceinline__ void advance(const Conv1dWgmmaSharedParams& p) {
    ring.advance(p.slabs);
    ++pass;
  }
};

/// Two values rounded to 16 bits, the first one low.
template <typename T>
__device__ __forceinline__ uint32_t pack_pair(float first, float second) {
  uint32_t word;
  if constexpr (std::is_same_v<T, __half>) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  }
  return word;
}

/// Four 8 x 8 blocks of 16-bit elements out of fragments, transposed; a lane gives the address of a
/// row of a block, a column of the fragment's.
__device__ __forceinline__ void store_transposed(uint32_t target, const uint32_t (&words)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(target),
      "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
      : "memory");
}

/// The accumulators as the slabs take them: pass by pass 16 columns, of which a thread has four, 0,
/// 1, 8 and 9 from twice its number in a group of four on.
template <int kSlots, bool kUnit>
struct ResultColumns {
  static constexpr int kTilesM = warpgroup_tiles_m(kSlots);
  static constexpr int kPasses = kSlots / Conv1dWgmmaSharedShape::kPassColumns;
  static constexpr int kPositions = kTilesM * 64;
  static constexpr int kRegisters = (kSlots > 128 ? 128 : kSlots) / 2;
  using Accumulators = float[2][kRegisters];
  int residues, pass_channels;
  int channels[4];  // of the thread's columns in a pass
  int offsets[4];   // residues of the same

  __device__ __forceinline__ explicit ResultColumns(const Conv1dWgmmaSharedParams& p)
      : residues(kUnit ? 1 : p.correlation.residues),
        pass_channels(kUnit ? Conv1dWgmmaSharedShape::kPassColumns : p.pass_channels) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
      channels[i] = kUnit ? column : column / residues;
      offsets[i] = column - channels[i] * residues;
    }
  }
  /// Value i of a pass in 64-row tile m: column i / 4 * 2 + i % 2 of the thread's, in its row or
  /// the eighth after it.
  static __device__ __forceinline__ float& value(Accumulators& accumulators, int pass, int m,
                                                 int i) {
    return accumulators[m + pass * 8 / kRegisters][pass * 8 % kRegisters + i];
  }
};

/// Sums of passes in which one is not finite: they become NaN.
/// @return bit `pass` is set for those
template <int kSlots, bool kUnit>
__device__ __forceinline__ uint32_t
flag_sums(typename ResultColumns<kSlots, kUnit>::Accumulators& accumulators) {
  using Columns = ResultColumns<kSlots, kUnit>;
  uint32_t flags = 0;
#pragma unroll
  for (int pass = 0; pass < Columns::kPasses; ++pass) {
    float probe = 0;
#pragma unroll
    for (int i = 0; i < Columns::kTilesM * 8; ++i) {
      probe = fmaf(Columns::value(accumulators, pass, i / 8, i % 8), 0.0f, probe);
    }
    flags |= probe == 0.0f ? 0 : 1 << pass;
  }
  if (flags != 0) {
#pragma unroll
    for (int pass = 0; pass < Columns::kPasses; ++pass) {
#pragma unroll
      for (int i = 0; i < Columns::kTilesM * 8; ++i) {
        float& sum = Columns::value(accumulators, pass, i / 8, i % 8);
        sum = fmaf(sum, 0.0f, sum);
      }
    }
  }
  return flags;
}

/// Bias and activation of a pass, in place.
template <typename ActivationType, int kSlots, bool kUnit>
__device__ __forceinline__ void finish_pass(
    const ResultColumns<kSlots, kUnit>& columns,
    typename ResultColumns<kSlots, kUnit>::Accumulators& accumulators, int pass,
    const float* biases) {
  using Columns = ResultColumns<kSlots, kUnit>;
  float pass_biases[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pass_biases[i] = biases[min(pass * columns.pass_channels + columns.channels[i], kSlots - 1)];
  }
#pragma unroll
  for (int i = 0; i < Columns::kTilesM * 8; ++i) {
    float& sum = Columns::value(accumulators, pass, i / 8, i % 8);
    sum = ActivationType::forward(sum + pass_biases[i % 8 / 4 * 2 + i % 2]);
  }
}

/// Finishes a tile's sums and hands them over, a pass after the other, so that those who store
/// begin with the first.
/// @param output  the address of the warpgroup's first output in the block's first channel
template <typename T, typename ActivationType, int kSlots, bool kUnit>
__device__ __forceinline__ void write_slabs(
    const Conv1dWgmmaSharedParams& p, const ResultColumns<kSlots, kUnit>& columns,
    typename ResultColumns<kSlots, kUnit>::Accumulators& accumulators, const float* biases,
    int passes, const T* output, SlabRing<T>& slabs) {
  using Columns = ResultColumns<kSlots, kUnit>;
  const uint32_t flags = kUnit ? 0 : flag_sums<kSlots, kUnit>(accumulators);
  constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const uint32_t channel_stride = static_cast<uint32_t>(p.problem.output_strides.channel);
  const int row = (warp * 16 + lane / 4) * columns.residues;
  const int pitch = kUnit ? shared_slab_pitch(Columns::kPositions, 1) : p.slab_pitch;
  uint32_t place = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(output) / kSize);
#pragma unroll
  for (int pass = 0; pass < Columns::kPasses; ++pass) {
    if (pass >= passes) {
      break;
    }
    finish_pass<ActivationType>(columns, accumulators, pass, biases);
    mbarrier_wait(slabs.empty + slabs.ring.index * 8, slabs.ring.parity ^ 1);
    T* values = slabs.values(p);
    const bool in_blocks = kUnit && p.aligned_output;
    if constexpr (kUnit) {
      if (in_blocks) {
        const int column = lane / 16 * 8 + lane % 8;
        const uint32_t target =
            shared_address(values + column * pitch + warp * 16 + lane / 8 % 2 * 8);
#pragma unroll
        for (int m = 0; m < Columns::kTilesM; ++m) {
          uint32_t words[4];
#pragma unroll
          for (int block = 0; block < 4; ++block) {
            words[block] = pack_pair<T>(Columns::value(accumulators, pass, m, block * 2),
                                        Columns::value(accumulators, pass, m, block * 2 + 1));
          }
          store_transposed(target + m * 64 * kSize, words);
        }
      }
    }
    if (!in_blocks) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (kUnit || columns.channels[i] < columns.pass_channels) {
          T* value = values + columns.channels[i] * pitch +
                     (place + columns.channels[i] * channel_stride) % kVector + row +
                     columns.offsets[i];
#pragma unroll
          for (int m = 0; m < Columns::kTilesM; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              value[(m * 64 + half * 8) * columns.residues] = from_accumulate<T>(
                  Columns::value(accumulators, pass, m, i / 2 * 4 + half * 2 + i % 2));
            }
          }
        }
      }
    }
    if (!kUnit && (flags >> pass & 1) != 0) {
      slabs.flag() = slabs.pass;
    }
    __syncwarp();
    if (lane == 0) {
      mbarrier_arrive(slabs.full + slabs.ring.index * 8);
    }
    slabs.advance(p);
    place += columns.pass_channels * channel_stride;
  }
}

#endif

}  // namespace kernelopt
