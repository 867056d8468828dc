// The end of a tile of conv1d_wgmma_held_kernel: a warp has 16 channels' sums, of which it brings
// eight at a time through a slab of its own, [channel][position], into long runs of rows.
#pragma once

#include "common/activation16.cuh"
#include "conv1d/conv1d_exact.cuh"
#include "conv1d/conv1d_wgmma_held_params.h"
#include "conv1d/conv1d_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// activation(sum + bias)
/// @param bias  halved for GELU
template <typename T, typename ActivationType>
__device__ __forceinline__ float finish_held_sum(float sum, float bias) {
  if constexpr (std::is_same_v<ActivationType, GeluOfSum<T>>) {
    return ActivationType::of_half(fmaf(0.5f, sum, bias));
  } else {
    return activate_sum<T, ActivationType>(sum, bias);
  }
}

/// A warp's part of a tile: rows of 16 channels, kSpread outputs a sum.
/// @tparam Finish  the activation of the sums in a slab, which are finished as they are stored;
/// void where the slab holds outputs
template <typename T, int kSpread, typename Finish = void>
struct HeldTile {
  static constexpr bool kLate = !std::is_void_v<Finish>;
  static constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  static constexpr int kPositions = Conv1dWgmmaHeldTile<T>::kPositions;
  static constexpr int kOutputs = kPositions * kSpread;
  static constexpr int kPitch = Conv1dWgmmaHeldTile<T>::kSlabPitch;
  static constexpr int kRows = Conv1dWgmmaHeldShape::kSlabRows;
  const Conv1dWgmmaHeldParams& p;
  T* output;  // of the first channel's first position
  int first;  // the output position of that
  int rows;   // channels that are some

  /// @param channel  the warp's first, of all groups'
  /// @param rows     channels from it on that its group and block have
  __device__ __forceinline__ HeldTile(const Conv1dWgmmaHeldParams& params,
                                      const Conv1dTileCursor& cursor, int64_t channel, int channels)
      : p(params),
        output(static_cast<T*>(p.problem.output) + cursor.n * p.problem.output_strides.batch +
               channel * p.problem.output_strides.channel + cursor.run * kSpread),
        first(cursor.run * kSpread),
        rows(channels) {}

  __device__ __forceinline__ bool overlaps() const { return 2 * p.warpgroup_step < kPositions; }

  /// @param place  of the row's first output, modulo 2^32
  __device__ __forceinline__ OutputRow row(uint32_t place) const {
    constexpr uint32_t kSector = 32 / kSize;
    // Tiles that overlap store from a sector's start to a sector's start; the first one from its
    // own.
    const int shift = overlaps() ? static_cast<int>((kSector - place % kSector) % kSector) : 0;
    const int before = place % kVector;
    const int end =
        min(shift + 2 * p.warpgroup_step * kSpread, static_cast<int>(p.problem.out_length) - first);
    return {before, before + (first == 0 ? 0 : shift), before + end};
  }

  /// Whether every vector of the rows is stored as a whole or not at all.
  __device__ __forceinline__ bool whole() const {
    const int stop = first + kOutputs;
    const int out_length = static_cast<int>(p.problem.out_length);
    return overlaps() ? first > 0 && stop + 2 * kVector <= out_length
                      : p.aligned_output && stop <= out_length;
  }

  /// A vector of a row's outputs.
  /// @param values  the row's in the slab
  /// @param start   the first of the outputs, see OutputRow
  /// @param odd     spread: the outputs with products are the odd ones
  /// @param filler  spread: the others, of 16 bits two
  /// @param bias    of sums, halved for GELU
  static __device__ __forceinline__ uint4 vector(const T* values, int start, bool odd,
                                                 uint32_t filler, float bias) {
    const auto finish = [bias](uint32_t& word) {
      if constexpr (kLate) {
        word = __float_as_uint(finish_held_sum<T, Finish>(__uint_as_float(word), bias));
      }
    };
    if constexpr (kSpread == 1) {
      uint4 sums = *reinterpret_cast<const uint4*>(values + start);
      finish(sums.x);
      finish(sums.y);
      finish(sums.z);
      finish(sums.w);
      return sums;
    } else {
      uint2 sums = *reinterpret_cast<const uint2*>(values + start / 2);
      finish(sums.x);
      finish(sums.y);
      if constexpr (kSize == 4) {
        return odd ? make_uint4(filler, sums.x, filler, sums.y)
                   : make_uint4(sums.x, filler, sums.y, filler);
      } else {
        const uint32_t even_word = odd ? 0x1054 : 0x5410, odd_word = odd ? 0x3254 : 0x5432;
        return make_uint4(
            __byte_perm(sums.x, filler, even_word), __byte_perm(sums.x, filler, odd_word),
            __byte_perm(sums.y, filler, even_word), __byte_perm(sums.y, filler, odd_word));
      }
    }
  }

  /// Stores a slab's rows.
  /// @param first_row  of the warp's rows
  /// @param fillers    of the warp's rows
  /// @param biases     the same
  __device__ __forceinline__ void store(const T* slab, int first_row, const uint32_t* fillers,
                                        const float* biases) const {
    if (whole()) {
      store_whole(slab, first_row, fillers, biases);
    } else {
      store_part(slab, first_row, fillers, biases);
    }
  }

  /// Computes those of the rows' outputs again that are not finite.
  __device__ __forceinline__ void mend(int n, int group, int channel, const T* biases) const {
    for (int r = 0; r < rows; ++r) {
      T* target = output + r * p.problem.output_strides.channel;
      const OutputRow part = row(place_of(target));
      const float bias = biases == nullptr ? 0.0f : to_accumulate(biases[r]);
      for (int i = part.begin - part.before + static_cast<int>(threadIdx.x % 32);
           i < part.end - part.before; i += 32) {
        if (!isfinite(to_accumulate(target[i]))) {
          const float sum = convolve_exactly<T>(p.problem, n, group, channel + r, first + i);
          target[i] = from_accumulate<T>(apply_activation(p.problem.activation, sum + bias));
        }
      }
    }
  }

 private:
  static constexpr int kPieces = kOutputs / (kVector * 32);  // of a row, a vector a lane

  __device__ __forceinline__ bool odd_products(uint32_t place) const {
    return (place + p.correlation.spread_first) % 2 != 0;
  }

  /// Rows of which every vector is stored as a whole or not at all: from the first sector's start.
  __device__ __forceinline__ void store_whole(const T* slab, int first_row, const uint32_t* fillers,
                                              const float* biases) const {
    // Rows whose vectors are read at once; in a loop where that is long, for the instruction cache.
    constexpr int kBatch = (kLate ? 4 : 8) / kPieces;
    constexpr int kUnroll = kLate ? 1 : kRows / kBatch;
    const int lane_start = threadIdx.x % 32 * kVector;
    const int outputs = 2 * p.warpgroup_step * kSpread;
    const int64_t stride = p.problem.output_strides.channel;
    const uint64_t into_sector = overlaps() ? 31 : 0;
    uint64_t row_end = reinterpret_cast<uint64_t>(output + first_row * stride) + into_sector;
    const unsigned char* values =
        reinterpret_cast<const unsigned char*>(slab + lane_start / kSpread);
#pragma unroll kUnroll
    for (int batch = 0; batch < kRows; batch += kBatch) {
      uint4 vectors[kBatch][kPieces];
      uint64_t targets[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int r = batch + i;
        targets[i] = row_end & ~into_sector;
        const uint32_t begin = static_cast<uint32_t>(row_end) - static_cast<uint32_t>(into_sector);
        const uint32_t before = static_cast<uint32_t>(targets[i]) - (begin & ~15u);
        const T* row = reinterpret_cast<const T*>(values + before / kSpread) + r * kPitch;
        const uint32_t filler = kSpread == 2 ? fillers[first_row + r] : 0;
        const float bias = kLate ? biases[first_row + r] : 0.0f;
#pragma unroll
        for (int piece = 0; piece < kPieces; ++piece) {
          vectors[i][piece] =
              vector(row, piece * 32 * kVector, odd_products(begin / kSize), filler, bias);
        }
        row_end += stride * kSize;
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const bool real = first_row + batch + i < rows;
#pragma unroll
        for (int piece = 0; piece < kPieces; ++piece) {
          const int start = lane_start + piece * 32 * kVector;
          store_past_l1_if(start < outputs && real, reinterpret_cast<T*>(targets[i]) + start,
                           vectors[i][piece]);
        }
      }
    }
  }

  /// Rows at the ends of the output, or that begin anywhere in 16 bytes.
  __device__ __forceinline__ void store_part(const T* slab, int first_row, const uint32_t* fillers,
                                             const float* biases) const {
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int r = 0; r < kRows && first_row + r < rows; ++r) {
      T* target = output + (first_row + r) * p.problem.output_strides.channel;
      const OutputRow part = row(place_of(target));
      const uint32_t filler = kSpread == 2 ? fillers[first_row + r] : 0;
#pragma unroll 1
      for (int start = part.begin / kVector * kVector + lane * kVector; start < part.end;
           start += 32 * kVector) {
        store_elements(target - part.before + start,
                       vector(slab + r * kPitch, start, odd_products(part.before), filler,
                              biases[first_row + r]),
                       part.begin - start, part.end - start);
      }
    }
  }

  /// Elements begin ... end - 1 of a vector.
  static __device__ __forceinline__ void store_elements(T* target, const uint4& outputs, int begin,
                                                        int end) {
    if (begin <= 0 && end >= kVector) {
      store_vector(target, outputs);
      return;
    }
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      if (k >= begin && k < end) {
        target[k] = reinterpret_cast<const T*>(&outputs)[k];
      }
    }
  }
};

/// Writes eight rows of sums into a slab.
/// @param half   of the warp's 16 rows
/// @param place  elements from the slab's row to the thread's row's first sum
template <typename T, SlabLayout kLayout, int kRegisters>
__device__ __forceinline__ void write_held_slab(const float (&sums)[kRegisters], int half,
                                                int place, T* slab) {
  constexpr int kPitch = Conv1dWgmmaHeldTile<T>::kSlabPitch, kBlocks = kRegisters / 4;
  const int lane = threadIdx.x % 32;
  if constexpr (kLayout == SlabLayout::kBlocks) {
    const uint32_t target = shared_address(slab + lane % 8 * kPitch + lane / 8 * 8);
#pragma unroll
    for (int block = 0; block < kBlocks; block += 4) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int sum = (block + i) * 4 + half * 2;
        words[i] = pack_pair<T>(sums[sum], sums[sum + 1]);
      }
      store_blocks(target + block * 16, words);
    }
  } else {
    T* target = slab + lane / 4 * kPitch + place + lane % 4 * 2;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      const float first = sums[block * 4 + half * 2], second = sums[block * 4 + half * 2 + 1];
      if constexpr (sizeof(T) == 4) {
        if constexpr (kLayout == SlabLayout::kPairs) {
          *reinterpret_cast<float2*>(target + block * 8) = make_float2(first, second);
        } else {
          target[block * 8] = first;
          target[block * 8 + 1] = second;
        }
      } else {
        const uint32_t pair = pack_pair<T>(first, second);
        if constexpr (kLayout == SlabLayout::kPairs) {
          *reinterpret_cast<uint32_t*>(target + block * 8) = pair;
        } else {
          const T* values = reinterpret_cast<const T*>(&pair);
          target[block * 8] = values[0];
          target[block * 8 + 1] = values[1];
        }
      }
    }
  }
}

/// Finishes a warp's sums of a tile and stores them.
/// @param biases      of the warp's rows, halved for GELU
/// @param row_biases  of the thread's two rows
/// @param slab        the warp's
/// @tparam kLayout  of all rows of the tensor
template <typename T, typename ActivationType, SlabLayout kLayout, int kSpread, typename Finish,
          int kRegisters>
__device__ __forceinline__ void store_held_sums(const HeldTile<T, kSpread, Finish>& tile,
                                                float (&sums)[kRegisters], const float* biases,
                                                const float (&row_biases)[2],
                                                const uint32_t* fillers, T* slab) {
  const int lane = threadIdx.x % 32;
  const Conv1dWgmmaHeldParams& p = tile.p;
  const int before =
      place_of(tile.output + lane / 4 * p.problem.output_strides.channel) % tile.kVector;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if constexpr (!tile.kLate) {
#pragma unroll
      for (int i = 0; i < kRegisters; i += 4) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& sum = sums[i + half * 2 + j];
          sum = finish_held_sum<T, ActivationType>(sum, row_biases[half]);
        }
      }
    }
    __syncwarp();  // the slab has been read
    write_held_slab<T, kLayout>(sums, half, p.correlation.sum_place(before), slab);
    __syncwarp();
    tile.store(slab, half * tile.kRows, fillers, biases);
  }
}

/// Makes all sums that are not finite NaN, which no activation hides.
/// @return whether there is one in the warp
template <int kRegisters>
__device__ __forceinline__ bool mark_sums(float (&sums)[kRegisters]) {
  float probe = 0;
#pragma unroll
  for (int i = 0; i < kRegisters; i += 2) {
    probe = fmaf(sums[i], sums[i + 1], probe);
  }
  if (!__any_sync(0xffffffff, !all_finite(probe))) {
    return false;
  }
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) {
    sums[i] = fmaf(sums[i], 0.0f, sums[i]);
  }
  return true;
}

#endif

}  // namespace kernelopt
