// A warp's part of the tensor-core weight gradient: fragments out of the tiles in shared memory,
// for fp32 split in bf16 high and low parts, and their products. Includes no torch header.
#pragma once

#include "common/mma.cuh"
#include "conv1d/weight_gradient_mma_params.h"

namespace kernelopt {

/// Four 8 x 8 matrices of 16-bit elements, one row address a lane, or transposed, one column.
template <bool kTransposed>
__device__ __forceinline__ uint4 load_matrices(const uint32_t* address) {
  uint4 m;
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(m.x), "=r"(m.y), "=r"(m.z), "=r"(m.w)
                 : "r"(shared_address(address))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(m.x), "=r"(m.y), "=r"(m.z), "=r"(m.w)
                 : "r"(shared_address(address))
                 : "memory");
  }
  return m;
}

/// Where 4-byte word `word` of a steady row lies in its tile: rows of 128 bytes whose 16-byte
/// chunks are permuted, so that fragments are read without bank conflicts.
__device__ __forceinline__ int steady_word(int row, int word) {
  return row * 32 + (((word / 4) ^ row) & 7) * 4 + word % 4;
}

/// A tile of kChannels side by side, a run of words a position. 16-bit: 16-byte chunks permuted;
/// fp32: runs 8 words apart modulo the banks.
template <typename T, int kChannels>
struct ChannelTile {
  static constexpr int kPitch =
      sizeof(T) == 4 ? kChannels + 8 : kChannels * static_cast<int>(sizeof(T)) / 4;
  static constexpr int kWords = kGradientPositions<T> * kPitch;

  static __device__ __forceinline__ int word(int position, int word) {
    if constexpr (sizeof(T) == 4) {
      return position * kPitch + word;
    } else {
      return position * kPitch + ((word / 4) ^ (position & 7)) * 4 + word % 4;
    }
  }
};

/// Products of 16 positions. 16-bit: lane q of four has positions 2q, 2q + 1, 2q + 8, 2q + 9, as
/// m16n8k16 numbers them. fp32: q, q + 4, q + 8, q + 12 in their place, for both operands.
template <typename T, typename Policy, GradientLayout kLayout>
struct WeightGradientFragments {
  static constexpr bool kUnitStride = kLayout == GradientLayout::kRows;
  static constexpr int kParts = MmaTraits<T>::kParts;
  static constexpr int kSlots = Policy::kTaps * Policy::kTilesShifted;
  static constexpr int kSteps = kGradientPositions<T> / 16 / Policy::kWarpsK;  // of 16 positions
  static_assert(Policy::kTilesSteady % 2 == 0, "two tiles an ldmatrix");

  float sums[kSlots][Policy::kTilesSteady][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
#pragma unroll
      for (int tile = 0; tile < Policy::kTilesSteady; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums[slot][tile][i] = 0;
        }
      }
    }
  }

  /// Pairs of 16-bit elements of a window's row, `element` the lane's first.
  static __device__ __forceinline__ uint32_t window_pair(const uint32_t* row, int element,
                                                         int stride) {
    if constexpr (kUnitStride) {
      // An odd element: its word's second half and the next word's first.
      const bool odd = element % 2 != 0;
      const uint32_t* word = row + element / 2;
      const uint32_t next = odd ? word[1] : 0;
      return __byte_perm(word[0], next, odd ? 0x5432 : 0x3210);
    } else {
      const uint16_t* elements = reinterpret_cast<const uint16_t*>(row);
      return __byte_perm(elements[element], elements[element + stride], 0x5410);
    }
  }

  /// The left fragment, 16 shifted channels at 16 positions.
  /// @param row      the lane's channel
  /// @param element  of the first of the 16 positions
  static __device__ __forceinline__ void load_left(const WeightGradientMmaParams<T>& p,
                                                   const uint32_t* row, int element,
                                                   uint4 (&left)[kParts]) {
    const int q = threadIdx.x % 4;
    const uint32_t* below = row + 8 * p.window_pitch;
    if constexpr (kParts == 1) {
      const int first = element + 2 * q * (kUnitStride ? 1 : p.stride);
      const int second = first + 8 * (kUnitStride ? 1 : p.stride);
      left[0] =
          make_uint4(window_pair(row, first, p.stride), window_pair(below, first, p.stride),
                     window_pair(row, second, p.stride), window_pair(below, second, p.stride));
    } else {
      const int step = 4 * (kUnitStride ? 1 : p.stride);
      const float* upper = reinterpret_cast<const float*>(row) + element + step / 4 * q;
      const float* lower = upper + 8 * p.window_pitch;
      const SplitPair a = split_bf16(upper[0], upper[step]);
      const SplitPair b = split_bf16(lower[0], lower[step]);
      const SplitPair c = split_bf16(upper[2 * step], upper[3 * step]);
      const SplitPair d = split_bf16(lower[2 * step], lower[3 * step]);
      left[0] = make_uint4(a.high, b.high, c.high, d.high);
      left[1] = make_uint4(a.low, b.low, c.low, d.low);
    }
  }

  /// The right fragments of 16 steady channels.
  /// @param tile  the first channel's row
  static __device__ __forceinline__ void load_right(const uint32_t* tile, int k,
                                                    uint4 (&right)[kParts]) {
    const int lane = threadIdx.x % 32;
    if constexpr (kParts == 1) {
      // ldmatrix: lanes 0-7 name the rows of channels 0-7 and positions 0-7, 8-15 positions 8-15,
      // 16-31 the same of channels 8-15.
      right[0] = load_matrices<false>(
          tile + steady_word(lane % 8 + lane / 16 * 8, (k * 2 + lane / 8 % 2) * 4));
    } else {
      split_right(
          [&](int channel, int position) { return tile[steady_word(channel, k * 16 + position)]; },
          right);
    }
  }

  /// fp32: channels lane / 4 and 8 on, of each the lane's four positions.
  template <typename Element>
  static __device__ __forceinline__ void split_right(Element&& element, uint4 (&right)[kParts]) {
    const int channel = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
    SplitPair pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int position = i % 2 * 8 + q;
      pairs[i] = split_bf16(__uint_as_float(element(channel + i / 2 * 8, position)),
                            __uint_as_float(element(channel + i / 2 * 8, position + 4)));
    }
    right[0] = make_uint4(pairs[0].high, pairs[1].high, pairs[2].high, pairs[3].high);
    right[1] = make_uint4(pairs[0].low, pairs[1].low, pairs[2].low, pairs[3].low);
  }

  /// Both fragments out of tiles with channels side by side.
  static __device__ __forceinline__ void load_left_channels(const uint32_t* tile, int channel,
                                                            int k, uint4 (&left)[kParts]) {
    using Tile = ChannelTile<T, Policy::kBlockShifted>;
    const int lane = threadIdx.x % 32;
    if constexpr (kParts == 1) {
      left[0] = load_matrices<true>(
          tile + Tile::word(k * 16 + lane % 8 + lane / 16 * 8, channel / 2 + lane / 8 % 2 * 4));
    } else {
      const uint32_t* first = tile + Tile::word(k * 16 + lane % 4, channel + lane / 4);
      const auto pair = [&](int below, int position) {
        const uint32_t* element = first + position * Tile::kPitch + below;
        return split_bf16(__uint_as_float(element[0]), __uint_as_float(element[4 * Tile::kPitch]));
      };
      const SplitPair a = pair(0, 0), b = pair(8, 0), c = pair(0, 8), d = pair(8, 8);
      left[0] = make_uint4(a.high, b.high, c.high, d.high);
      left[1] = make_uint4(a.low, b.low, c.low, d.low);
    }
  }
  static __device__ __forceinline__ void load_right_channels(const uint32_t* tile, int channel,
                                                             int k, uint4 (&right)[kParts]) {
    using Tile = ChannelTile<T, Policy::kBlockSteady>;
    const int lane = threadIdx.x % 32;
    if constexpr (kParts == 1) {
      right[0] = load_matrices<true>(
          tile + Tile::word(k * 16 + lane % 8 + lane / 8 % 2 * 8, channel / 2 + lane / 16 * 4));
    } else {
      split_right(
          [&](int c, int position) { return tile[Tile::word(k * 16 + position, channel + c)]; },
          right);
    }
  }

  /// @param steady, window  tiles in shared memory
  /// @param element         of the window, that the first tap meets at the step's first position
  /// @param steady_channel, shifted_channel  the warp's first
  __device__ __forceinline__ void multiply(const WeightGradientMmaParams<T>& p,
                                           const uint32_t* steady, const uint32_t* window,
                                           int element, int steady_channel, int shifted_channel,
                                           int first_k) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int k = first_k + step;
      uint4 left[kSlots][kParts];
#pragma unroll
      for (int tap = 0; tap < Policy::kTaps; ++tap) {
#pragma unroll
        for (int tile = 0; tile < Policy::kTilesShifted; ++tile) {
          const int channel = shifted_channel + tile * 16;
          uint4(&fragment)[kParts] = left[tap * Policy::kTilesShifted + tile];
          if constexpr (kLayout == GradientLayout::kChannels) {
            static_assert(Policy::kTaps == 1 || kLayout != GradientLayout::kChannels, "one tap");
            load_left_channels(window, channel, k, fragment);
          } else {
            // Taps beyond the last are computed like the first and not stored.
            load_left(p, window + (channel + threadIdx.x % 32 / 4) * p.window_pitch,
                      element + (tap < p.kernel_size ? tap * p.dilation : 0) +
                          k * 16 * (kUnitStride ? 1 : p.stride),
                      fragment);
          }
        }
      }
#pragma unroll
      for (int pair = 0; pair < Policy::kTilesSteady / 2; ++pair) {
        uint4 right[kParts];
        if constexpr (kLayout == GradientLayout::kChannels) {
          load_right_channels(steady, steady_channel + pair * 16, k, right);
        } else {
          load_right(steady + (steady_channel + pair * 16) * 32, k, right);
        }
        // Term by term over all sums: neighbouring products are independent.
        const auto add = [&](int left_part, int right_part) {
#pragma unroll
          for (int slot = 0; slot < kSlots; ++slot) {
            mma_m16n8k16<T>(sums[slot][pair * 2], left[slot][left_part], right[right_part].x,
                            right[right_part].y);
            mma_m16n8k16<T>(sums[slot][pair * 2 + 1], left[slot][left_part], right[right_part].z,
                            right[right_part].w);
          }
        };
        add(0, 0);
        if constexpr (kParts == 2) {
          add(1, 0);
          add(0, 1);
        }
      }
    }
  }
};

}  // namespace kernelopt
