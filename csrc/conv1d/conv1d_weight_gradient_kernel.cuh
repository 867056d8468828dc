// The weight gradient (weight_gradient_problem.h): for every group a GEMM [steady channel, (n, i)]
// x [(n, i), (shifted channel, tap)]. The reduction over (n, i) is cut in shares; every share
// writes its sums to partial[share], which a second stage adds in order: no atomics, the same bits
// every time. A block of the GEMM kernel owns tile_m x tile_n gradient elements of one share, a
// thread 4 x 4. A block of the direct kernel, for groups too small to fill a tile, owns kDirectTaps
// taps of one channel pair and share, its threads one product in kDirectThreads each. GEMM:
// positions within 32 bits. Direct: every argument; Index holds positions.
#pragma once

#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_policy.h"
#include "conv1d/gemm_tile.cuh"
#include "conv1d/reduction_cursor.cuh"
#include "conv1d/weight_gradient_problem.h"

#include <type_traits>

namespace kernelopt {

/// The grid is row_tiles * column_tiles * groups * shares, in this order from the fastest. Rows are
/// steady channels; columns are (shifted channel, tap), for the direct kernel tiles of taps.
struct WeightGradientGrid {
  uint32_t row_tiles;
  uint32_t column_tiles;
  uint32_t groups;
  int64_t steps_per_share;
};

template <typename T>
__global__ void __launch_bounds__(Conv1dWeightGradientPolicy::Tile::kThreads)
    conv1d_weight_gradient_gemm_kernel(
        const __grid_constant__ Conv1dWeightGradientProblem problem,
        const __grid_constant__ WeightGradientGrid grid,
        AccumulateType<T>* __restrict__ partial) {  // [shares, numel]
  using A = AccumulateType<T>;
  using Tile = Conv1dWeightGradientPolicy::Tile;
  using Stage = GemmStage<A, Tile>;
  using Lanes = LoadLanes<Tile::kTileM, Tile>;
  static_assert(Tile::kTileM == Tile::kTileN && Lanes::kAllLanes, "one set of lanes for both");
  __shared__ Stage stages[2];

  uint32_t block = blockIdx.x;
  const int64_t first_row = int64_t{block % grid.row_tiles} * Tile::kTileM;
  block /= grid.row_tiles;
  const int64_t first_column = int64_t{block % grid.column_tiles} * Tile::kTileN;
  block /= grid.column_tiles;
  const int64_t group = block % grid.groups;
  const int64_t share = block / grid.groups;
  const int64_t begin = share * grid.steps_per_share;
  const int64_t end = begin + grid.steps_per_share < problem.steps() ? begin + grid.steps_per_share
                                                                     : problem.steps();
  const int kernel_size = static_cast<int>(problem.kernel_size);
  const int columns = static_cast<int>(problem.shifted_channels) * kernel_size;

  const Lanes lanes;
  const int64_t row_stride = problem.steady_strides.channel;
  const T* const steady = static_cast<const T*>(problem.steady) +
                          (group * problem.steady_channels + first_row + lanes.row) * row_stride;
  const int64_t rows_left = problem.steady_channels - first_row - lanes.row;
  const int steady_length = static_cast<int>(problem.steady_length);
  ReductionCursor<int> steady_cursor(begin + lanes.step, Tile::kTileK, steady_length,
                                     problem.steady_strides.batch, problem.steady_strides.length);

  const T* const shifted = static_cast<const T*>(problem.shifted) +
                           group * problem.shifted_channels * problem.shifted_strides.channel;
  const int shifted_length = static_cast<int>(problem.shifted_length);
  const int stride = static_cast<int>(problem.stride);
  ReductionCursor<int> shifted_cursor(begin + lanes.step, Tile::kTileK, steady_length,
                                      problem.shifted_strides.batch,
                                      problem.stride * problem.shifted_strides.length);
  int column_shifts[Lanes::kItems];
  int64_t column_offsets[Lanes::kItems];
#pragma unroll
  for (int i = 0; i < Lanes::kItems; ++i) {
    const int column = static_cast<int>(first_column) + lanes.row + i * Lanes::kRowStep;
    const int channel = column / kernel_size;
    const int64_t shift = (column - channel * kernel_size) * problem.dilation - problem.padding;
    // A column beyond the last never finds its position inside.
    column_shifts[i] = column < columns ? static_cast<int>(shift) : shifted_length;
    column_offsets[i] =
        channel * problem.shifted_strides.channel + shift * problem.shifted_strides.length;
  }

  T next_steady[Lanes::kItems];
  T next_shifted[Lanes::kItems];
  int64_t step = begin + lanes.step;
  const auto load = [&] {
    const bool inside = step < end;
    const int position = shifted_cursor.low * stride;
#pragma unroll
    for (int i = 0; i < Lanes::kItems; ++i) {
      const int row = i * Lanes::kRowStep;
      next_steady[i] = inside && row < rows_left ? steady[steady_cursor.offset + row * row_stride]
                                                 : from_accumulate<T>(A(0));
      const unsigned shifted_position = static_cast<unsigned>(position + column_shifts[i]);
      next_shifted[i] = inside && shifted_position < static_cast<unsigned>(shifted_length)
                            ? shifted[shifted_cursor.offset + column_offsets[i]]
                            : from_accumulate<T>(A(0));
    }
    steady_cursor.advance();
    shifted_cursor.advance();
    step += Tile::kTileK;
  };
  const auto store = [&](Stage& stage) {
#pragma unroll
    for (int i = 0; i < Lanes::kItems; ++i) {
      const int row = lanes.row + i * Lanes::kRowStep;
      stage.left[lanes.step][row] = to_accumulate(next_steady[i]);
      stage.right[lanes.step][row] = to_accumulate(next_shifted[i]);
    }
  };

  GemmAccumulators<A, Tile> accumulators;
  const int64_t tiles = (end - begin + Tile::kTileK - 1) / Tile::kTileK;
  load();
  store(stages[0]);
  __syncthreads();
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const bool more = tile + 1 < tiles;
    if (more) {
      load();
    }
    accumulators.multiply(stages[tile % 2]);
    if (more) {
      store(stages[(tile + 1) % 2]);
    }
    __syncthreads();
  }

  grid_dependency_wait();  // the kernel in front may use the memory of the sums
  A* const result = partial + share * problem.numel() +
                    group * problem.steady_channels * columns;  // [steady channel, column]
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t row = first_row + accumulators.row + i;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t column = first_column + accumulators.column + j;
      if (row < problem.steady_channels && column < columns) {
        result[row * columns + column] = accumulators.values[i][j];
      }
    }
  }
}

template <typename T, typename Index>
__global__ void __launch_bounds__(Conv1dWeightGradientPolicy::kDirectThreads)
    conv1d_weight_gradient_direct_kernel(
        const __grid_constant__ Conv1dWeightGradientProblem problem,
        const __grid_constant__ WeightGradientGrid grid,
        AccumulateType<T>* __restrict__ partial) {  // [shares, numel]
  using A = AccumulateType<T>;
  using Unsigned = std::make_unsigned_t<Index>;
  constexpr int kThreads = Conv1dWeightGradientPolicy::kDirectThreads;
  constexpr int kTaps = Conv1dWeightGradientPolicy::kDirectTaps;
  constexpr int kWarps = kThreads / 32;
  __shared__ A warp_sums[kWarps][kTaps];

  uint32_t block = blockIdx.x;
  const int64_t row = block % grid.row_tiles;
  block /= grid.row_tiles;
  const int64_t tap_tiles = (problem.kernel_size + kTaps - 1) / kTaps;
  const int64_t column = block % grid.column_tiles;
  block /= grid.column_tiles;
  const int64_t group = block % grid.groups;
  const int64_t share = block / grid.groups;
  const int64_t channel = column / tap_tiles;
  const int64_t first_tap = (column - channel * tap_tiles) * kTaps;
  const int64_t begin = share * grid.steps_per_share + threadIdx.x;
  const int64_t share_end = (share + 1) * grid.steps_per_share;
  const int64_t end = share_end < problem.steps() ? share_end : problem.steps();

  const T* const steady = static_cast<const T*>(problem.steady) +
                          (group * problem.steady_channels + row) * problem.steady_strides.channel;
  const int64_t length_stride = problem.shifted_strides.length;
  const int64_t first_shift = first_tap * problem.dilation - problem.padding;
  const T* const shifted =
      static_cast<const T*>(problem.shifted) +
      (group * problem.shifted_channels + channel) * problem.shifted_strides.channel;
  const Index steady_length = static_cast<Index>(problem.steady_length);
  const Unsigned shifted_length = static_cast<Unsigned>(problem.shifted_length);
  ReductionCursor<Index> cursor(begin, kThreads, steady_length, problem.steady_strides.batch,
                                problem.steady_strides.length);
  A sums[kTaps] = {};
  for (int64_t step = begin; step < end; step += kThreads) {
    const A value = to_accumulate(steady[cursor.offset]);
    const T* const entry = shifted + cursor.high * problem.shifted_strides.batch;
    Index position =
        cursor.low * static_cast<Index>(problem.stride) + static_cast<Index>(first_shift);
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      if (first_tap + tap < problem.kernel_size &&
          static_cast<Unsigned>(position) < shifted_length) {
        sums[tap] += value * to_accumulate(entry[position * length_stride]);
      }
      position += static_cast<Index>(problem.dilation);
    }
    cursor.advance();
  }

#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      sums[tap] += __shfl_down_sync(0xffffffffu, sums[tap], lanes);
    }
    if (threadIdx.x % 32 == 0) {
      warp_sums[threadIdx.x / 32][tap] = sums[tap];
    }
  }
  __syncthreads();
  grid_dependency_wait();  // the kernel in front may use the memory of the sums
  const int tap = threadIdx.x;
  if (tap < kTaps && first_tap + tap < problem.kernel_size) {
    A sum = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      sum += warp_sums[warp][tap];
    }
    const int64_t pair =
        (group * problem.steady_channels + row) * problem.shifted_channels + channel;
    partial[share * problem.numel() + pair * problem.kernel_size + first_tap + tap] = sum;
  }
}

}  // namespace kernelopt
