// A warp's part of the tensor-core weight gradient: fragments out of the tiles in shared memory,
// for fp32 split in bf16 high and low parts, and their products. Includes no torch header.
#pragma once

#include "common/matrix_load.cuh"
#include "common/mma.cuh"
#include "conv1d/weight_gradient_mma_params.h"

namespace kernelopt {

/// Four 8 x 8 matrices of 16-bit elements, one row address a lane, or transposed, one column.
template <bool kTransposed>
__device__ __forceinline__ uint4 load_matrices(const uint32_t* address) {
  uint32_t m[4];
  if constexpr (kTransposed) {
    load_transposed(m, shared_address(address));
  } else {
    load_blocks(m, shared_address(address));
  }
  return make_uint4(m[0], m[1], m[2], m[3]);
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

  /// Where a lane reads one tap of a window: out of its channel's row and the one 8 channels on.
  struct WindowTap {
    const uint32_t* upper;
    const uint32_t* lower;
    uint32_t selector;  // 16-bit at unit stride: of a pair's elements out of two words
    bool odd;           // the pair begins inside a word
  };

  /// @param row      the lane's channel
  /// @param element  that the tap meets at the step's first position
  static __device__ __forceinline__ WindowTap window_tap(const WeightGradientMmaParams<T>& p,
                                                         const uint32_t* row, int element) {
    const int q = threadIdx.x % 4;
    WindowTap tap;
    if constexpr (kParts == 1) {
      element += 2 * q * (kUnitStride ? 1 : p.stride);
      tap.odd = (element & 1) != 0;
      tap.selector = tap.odd ? 0x5432 : 0x3210;
      tap.upper = row + (element >> 1);
    } else {
      tap.odd = false;
      tap.selector = 0;
      tap.upper = row + element + q * (kUnitStride ? 1 : p.stride);
    }
    tap.lower = tap.upper + 8 * p.window_pitch;
    return tap;
  }

  /// A pair of 16-bit elements, `offset` elements from the tap's first; even at unit stride.
  static __device__ __forceinline__ uint32_t window_pair(const WindowTap& tap, const uint32_t* row,
                                                         int offset, int stride) {
    if constexpr (kUnitStride) {
      const uint32_t next = tap.odd ? row[offset / 2 + 1] : 0;
      return __byte_perm(row[offset / 2], next, tap.selector);
    } else {
      const uint16_t* elements = reinterpret_cast<const uint16_t*>(row) + (tap.odd ? 1 : 0);
      return __byte_perm(elements[offset], elements[offset + stride], 0x5410);
    }
  }

  /// The left fragment, 16 shifted channels at the positions from 16 * k on.
  static __device__ __forceinline__ void load_left(const WeightGradientMmaParams<T>& p,
                                                   const WindowTap& tap, int k,
                                                   uint4 (&left)[kParts]) {
    const int stride = kUnitStride ? 1 : p.stride, first = k * 16 * stride;
    if constexpr (kParts == 1) {
      const int second = first + 8 * stride;
      left[0] = make_uint4(
          window_pair(tap, tap.upper, first, stride), window_pair(tap, tap.lower, first, stride),
          window_pair(tap, tap.upper, second, stride), window_pair(tap, tap.lower, second, stride));
    } else {
      const auto pair = [&](const uint32_t* row, int offset) {
        return split_bf16_unlimited(__uint_as_float(row[first + offset * stride]),
                                    __uint_as_float(row[first + (offset + 4) * stride]));
      };
      const SplitPair a = pair(tap.upper, 0), b = pair(tap.lower, 0);
      const SplitPair c = pair(tap.upper, 8), d = pair(tap.lower, 8);
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
      pairs[i] = split_bf16_unlimited(__uint_as_float(element(channel + i / 2 * 8, position)),
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
        return split_bf16_unlimited(__uint_as_float(element[0]),
                                    __uint_as_float(element[4 * Tile::kPitch]));
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
    WindowTap taps[kSlots];
    if constexpr (kLayout != GradientLayout::kChannels) {
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        // Taps beyond the last are computed like the first and not stored.
        const int tap = slot / Policy::kTilesShifted, tile = slot % Policy::kTilesShifted;
        const int channel = shifted_channel + tile * 16 + threadIdx.x % 32 / 4;
        taps[slot] = window_tap(p, window + channel * p.window_pitch,
                                element + (tap < p.kernel_size ? tap * p.dilation : 0));
      }
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int k = first_k + step;
      uint4 left[kSlots][kParts];
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        if constexpr (kLayout == GradientLayout::kChannels) {
          static_assert(Policy::kTaps == 1 || kLayout != GradientLayout::kChannels, "one tap");
          load_left_channels(window, shifted_channel + slot * 16, k, left[slot]);
        } else {
          load_left(p, taps[slot], k, left[slot]);
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
