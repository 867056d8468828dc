// The loading warpgroup of the weight gradient on Hopper: brings rows of both operands to shared
// memory and makes of every window what the tensor cores read, once for all taps: [channel / 8]
// [position modulo the stride][position][channel % 8], 16-bit elements, for fp32 high parts and low
// parts. A tap is then a shift by its positions times 16 bytes. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/grid_dependency.cuh"
#include "common/matrix_load.cuh"
#include "common/wgmma.cuh"
#include "conv1d/weight_gradient_copy.cuh"
#include "conv1d/weight_gradient_fragments.cuh"
#include "conv1d/weight_gradient_wgmma_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where byte `byte` of a steady row lies in its tile: rows of 128 bytes whose units of 16 are
/// permuted, so that fragments are read without bank conflicts: a unit of eight rows at a time in
/// 16 bit, two units of four rows in fp32.
template <typename T>
__device__ __forceinline__ uint32_t steady_place(int row, int byte) {
  const int unit = sizeof(T) == 4 ? (row & 3) * 2 : row & 7;
  return row * WeightGradientWgmmaShape::kRowBytes + (byte ^ unit * 16);
}

/// What a block computes, and its barriers and rings in shared memory. A ring of raw windows has
/// p.ahead places, of operands kOperands, of steady tiles both together.
struct WeightGradientBlock {
  int steady_first, shifted_first;  // channels of the group
  int tap_first, group;
  int64_t share, begin;
  int steps;
  uint32_t steady, windows, operands, full, empty;

  template <typename T>
  __device__ __forceinline__ WeightGradientBlock(const WeightGradientWgmmaParams<T>& p,
                                                 uint32_t shared, int taps) {
    using Shape = WeightGradientWgmmaShape;
    uint32_t block = blockIdx.x;
    steady_first = static_cast<int>(block % p.steady_tiles) * p.row_groups * 64;
    block /= p.steady_tiles;
    shifted_first = static_cast<int>(block % p.shifted_tiles) * Shape::kColumns;
    block /= p.shifted_tiles;
    tap_first = static_cast<int>(block % p.tap_chunks) * taps;
    block /= p.tap_chunks;
    group = static_cast<int>(block % p.groups);
    share = block / p.groups;
    begin = share * p.steps_per_share;
    steps = static_cast<int>(min(p.steps_per_share, p.steps - begin));
    operands = shared;
    steady = operands + Shape::kOperands * p.operand_bytes;
    windows = steady + (Shape::kOperands + p.ahead) * p.steady_bytes;
    full = windows + p.ahead * p.window_bytes;
    empty = full + Shape::kOperands * 8;
  }

  /// Of the window's first piece and the first tap: its first position at the row's begin.
  template <typename T>
  __device__ __forceinline__ int shift(const WeightGradientWgmmaParams<T>& p) const {
    return tap_first * p.dilation - p.padding;
  }
  /// Of the window, that the first tap meets at the step's first position: windows begin at a whole
  /// piece.
  template <typename T>
  __device__ __forceinline__ int element(const WeightGradientWgmmaParams<T>& p) const {
    const int piece = (p.shifted_copy.wide ? 16 : 4) / static_cast<int>(sizeof(T));
    return shift(p) & (piece - 1);
  }
};

/// The unit of a window's position in an operand.
template <typename T>
__device__ __forceinline__ int operand_unit(const WeightGradientWgmmaParams<T>& p, int position) {
  if (p.divide_by_stride == 0) {
    return position;
  }
  const int row = static_cast<int>(__umulhi(position, p.divide_by_stride));
  return (position - row * p.stride) * p.residue_units + row;
}

/// Makes a warp's 16 channels of an operand out of its rows of the window.
/// @param rows     the shared address of the first one
/// @param operand  the place of its first 8 channels
template <typename T>
__device__ __forceinline__ void make_operand(const WeightGradientWgmmaParams<T>& p, uint32_t rows,
                                             uint32_t operand) {
  const int lane = threadIdx.x % 32;
  const int eight_bytes = p.operand_units * 16;
  if constexpr (sizeof(T) == 2) {
    // Matrices: the first 8 channels, the last 8, both of the next eight positions.
    const uint32_t from = rows + (lane % 16) * p.window_pitch + lane / 16 * 16;
    const uint32_t to = operand + lane / 8 % 2 * eight_bytes;
    const int position = lane / 16 * 8 + lane % 8;
#pragma unroll 2
    for (int eight = 0; eight < p.eights; eight += 2) {
      uint32_t words[4];
      load_blocks(words, from + eight * 16);
      store_transposed(to + operand_unit(p, position + eight * 8) * 16, words);
    }
  } else {
    // A lane has four channels at one position of sixteen, and four more, 8 channels on.
    const int four = lane % 2, position = lane / 2;
    const uint32_t from = rows + four * 4 * p.window_pitch + position * 4;
    const uint32_t to = operand + four * 8;
    const uint32_t low = p.operand_bytes / 2;
    constexpr int kBatch = 2;  // that hide the latency of shared memory
    for (int first = 0; first < p.eights; first += 2 * kBatch) {
      float values[kBatch][8];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const uint32_t source = from + min(first + 2 * i, p.eights - 2) * 32;
#pragma unroll
        for (int channel = 0; channel < 8; ++channel) {
          asm volatile("ld.shared.f32 %0, [%1];"
                       : "=f"(values[i][channel])
                       : "r"(source + (channel / 4 * 8 + channel % 4) * p.window_pitch)
                       : "memory");
        }
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int eight = first + 2 * i;
        if (eight < p.eights) {
          const uint32_t target = to + operand_unit(p, position + eight * 8) * 16;
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const float* const four_values = values[i] + half * 4;
            const SplitPair one = split_bf16_unlimited(four_values[0], four_values[1]);
            const SplitPair two = split_bf16_unlimited(four_values[2], four_values[3]);
            const uint32_t place = target + half * eight_bytes;
            asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(place), "r"(one.high),
                         "r"(two.high)
                         : "memory");
            asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(place + low), "r"(one.low),
                         "r"(two.low)
                         : "memory");
          }
        }
      }
    }
  }
}

/// Starts copying a steady tile, by a warpgroup.
template <typename T, int kBytes, int kPositions>
__device__ __forceinline__ void copy_steady_tile(const GradientCopy& copy, const T* first, int rows,
                                                 int position, uint32_t tile) {
  constexpr int kElements = kBytes / static_cast<int>(sizeof(T));
  constexpr int kPieces = kPositions / kElements, kRowStep = 128 / kPieces;
  const int piece = threadIdx.x % kPieces;
  int row = threadIdx.x % 128 / kPieces;
  const int start = position + piece * kElements;
  const int left = copy.length - start;
  const T* source = first + row * copy.channel_stride + (left > 0 ? start : 0);
#pragma unroll 4
  for (; row < rows; row += kRowStep) {
    copy_part<T, kBytes>(tile + steady_place<T>(row, piece * kBytes), source, left);
    source += kRowStep * copy.channel_stride;
  }
}

/// Loads all steps of a block. A warp makes operands of the rows that it has copied itself.
template <typename T, int kPositions>
__device__ __forceinline__ void load_weight_gradient(const WeightGradientWgmmaParams<T>& p,
                                                     const WeightGradientBlock& block) {
  using Shape = WeightGradientWgmmaShape;
  constexpr int kRows = Shape::kColumns / 4;  // of a window, a warp's
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const int steady_rows = min(p.steady_copy.channels - block.steady_first, p.row_groups * 64);
  const int first_row = block.shifted_first + warp * kRows;
  const int window_rows = min(p.shifted_copy.channels - first_row, kRows);
  const T* const steady =
      p.steady + (static_cast<int64_t>(block.group) * p.steady_copy.channels + block.steady_first) *
                     p.steady_copy.channel_stride;
  const T* const shifted =
      p.shifted + (static_cast<int64_t>(block.group) * p.shifted_copy.channels + first_row) *
                      p.shifted_copy.channel_stride;
  const int window_shift = block.shift(p) - block.element(p);
  // Whether all steady rows begin on 8 bytes.
  const bool on_eights = reinterpret_cast<uintptr_t>(p.steady) % 8 == 0 &&
                         (p.steady_copy.batch_stride | p.steady_copy.channel_stride) % 2 == 0;
  const uint32_t rows = block.windows + warp * kRows * p.window_pitch;

  int n = static_cast<int>(block.begin / p.row_steps);
  int row_step = static_cast<int>(block.begin % p.row_steps);
  int copied = 0, steady_stage = 0;
  const auto copy_step = [&](int window_stage) {
    if (copied < block.steps) {
      const int i = row_step * kPositions;
      const T* const steady_entry = steady + n * p.steady_copy.batch_stride;
      const uint32_t tile = block.steady + steady_stage * p.steady_bytes;
      if (p.steady_copy.wide) {
        copy_steady_tile<T, 16, kPositions>(p.steady_copy, steady_entry, steady_rows, i, tile);
      } else if (sizeof(T) == 4 && on_eights) {
        copy_steady_tile<T, 8, kPositions>(p.steady_copy, steady_entry, steady_rows, i, tile);
      } else {
        copy_steady_tile<T, 4, kPositions>(p.steady_copy, steady_entry, steady_rows, i, tile);
      }
      const uint32_t window = rows + window_stage * p.window_bytes;
      const int piece_bytes = p.shifted_copy.wide ? 16 : 4;
      copy_rows<T, 32>(p.shifted_copy, lane, shifted + n * p.shifted_copy.batch_stride, window_rows,
                       i * p.stride + window_shift, [&](int row, int piece) {
                         return window + row * p.window_pitch + piece * piece_bytes;
                       });
      ++copied;
      steady_stage = steady_stage + 1 == Shape::kOperands + p.ahead ? 0 : steady_stage + 1;
      if (++row_step == p.row_steps) {
        row_step = 0;
        ++n;
      }
    }
    copy_async_commit();
  };
  for (int stage = 0; stage < p.ahead; ++stage) {
    copy_step(stage);
  }
  int window_stage = 0;
  for (int step = 0; step < block.steps; ++step) {
    const int stage = step % Shape::kOperands;
    // The step that used this operand has been multiplied, and with it a steady tile is free.
    mbarrier_wait(block.empty + stage * 8, (step / Shape::kOperands & 1) ^ 1);
    if (p.ahead == 3) {
      copy_async_wait<2>();
    } else if (p.ahead == 2) {
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    __syncwarp();
    make_operand(p, rows + window_stage * p.window_bytes,
                 block.operands + stage * p.operand_bytes + warp * 2 * p.operand_units * 16);
    fence_async_proxy();
    __syncwarp();
    if (lane == 0) {
      mbarrier_arrive(block.full + stage * 8);
    }
    copy_step(window_stage);
    window_stage = window_stage + 1 == p.ahead ? 0 : window_stage + 1;
  }
}

#endif

}  // namespace kernelopt
