// output[o, (n, q)] = activation(sum over (c, j) of weight[o, (c, j)] * input[n, c, position(q, j)]
// + bias[o]), for one group and one phase (conv1d_problem.h) a block: a GEMM whose right operand is
// gathered from the input as it is loaded. A block owns tile_m output channels and tile_n of the
// batch's flattened positions, a thread 4 x 4 of them; tiles are double-buffered in shared memory,
// the next one travelling through registers. Any strides, any phase; positions and the reduction
// within 32 bits. Float32 products are fused multiply-adds: IEEE precision.
#pragma once

#include "conv1d/conv1d_policy.h"
#include "conv1d/gemm_tile.cuh"
#include "conv1d/reduction_cursor.cuh"

namespace kernelopt {

/// Tiles of a launch: the grid is channel_tiles * phases * position_tiles * groups, in this order
/// from the fastest, so that blocks that share inputs, and those that fill the gaps between each
/// other's outputs, run together.
struct Conv1dGrid {
  uint32_t channel_tiles;
  uint32_t phases;
  uint32_t position_tiles;
};

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    conv1d_implicit_gemm_kernel(const __grid_constant__ Conv1dProblem problem,
                                const __grid_constant__ Conv1dPhases phases,
                                const __grid_constant__ Conv1dGrid grid) {
  using A = AccumulateType<T>;
  using Stage = GemmStage<A, Tile>;
  using WeightLanes = LoadLanes<Tile::kTileM, Tile>;
  constexpr int kTileM = Tile::kTileM, kTileN = Tile::kTileN, kTileK = Tile::kTileK;
  constexpr int kInputStep = Tile::kThreads / kTileN;  // a thread loads one column's every ...
  constexpr int kInputItems = kTileK / kInputStep;     // ... kInputStep-th step
  // The output tile takes the place of the operands once they are used up.
  union Storage {
    Stage stages[2];
    alignas(4 * sizeof(A)) A output[kTileM][kTileN];
  };
  alignas(Storage) __shared__ unsigned char memory[sizeof(Storage)];
  Storage& storage = *reinterpret_cast<Storage*>(memory);

  uint32_t block = blockIdx.x;
  const int64_t first_channel = int64_t{block % grid.channel_tiles} * kTileM;
  block /= grid.channel_tiles;
  const Conv1dPhase phase = phases.phase(problem, block % grid.phases);
  block /= grid.phases;
  const int64_t first_position = int64_t{block % grid.position_tiles} * kTileN;
  const int64_t group = block / grid.position_tiles;
  const int64_t positions = problem.batch * phase.count;
  if (first_position >= positions) {
    return;
  }

  // The thread's column, to load from and to store to: the q-th position of batch entry n.
  const int column = threadIdx.x % kTileN;
  const int first_row = threadIdx.x / kTileN;
  const bool column_inside = first_position + column < positions;
  const int64_t linear = column_inside ? first_position + column : 0;
  const int64_t n = linear / phase.count;
  const int64_t q = linear - n * phase.count;
  const int in_position = static_cast<int>(phase.in_start + q * phase.in_step);
  const int in_length = static_cast<int>(problem.in_length);
  const int in_tap_step = static_cast<int>(phase.in_tap_step);
  const int64_t in_offset = n * problem.input_strides.batch +
                            group * problem.in_channels * problem.input_strides.channel +
                            in_position * problem.input_strides.length;
  const T* const input = static_cast<const T*>(problem.input) + in_offset;
  const int taps = static_cast<int>(phase.taps);
  ReductionCursor<int> in_cursor(first_row, kInputStep, taps, problem.input_strides.channel,
                                 phase.in_tap_step * problem.input_strides.length);

  const WeightLanes lanes;
  const int64_t weight_out_stride = problem.weight_out_stride();
  const T* const weight = static_cast<const T*>(problem.weight) +
                          group * problem.weight_group_stride() + phase.first_tap +
                          (first_channel + lanes.row) * weight_out_stride;
  const int64_t channels_left = problem.out_channels - first_channel - lanes.row;
  ReductionCursor<int> weight_cursor(lanes.step, kTileK, taps, problem.weight_in_stride(),
                                     phase.tap_step);

  T next_weights[WeightLanes::kItems];
  T next_inputs[kInputItems];
  const auto load = [&] {
    const bool weight_inside = weight_cursor.high < problem.in_channels;
#pragma unroll
    for (int i = 0; i < WeightLanes::kItems; ++i) {
      const int row = i * WeightLanes::kRowStep;
      next_weights[i] = weight_inside && lanes.owns(i) && row < channels_left
                            ? weight[weight_cursor.offset + row * weight_out_stride]
                            : from_accumulate<T>(A(0));
    }
    weight_cursor.advance();
#pragma unroll
    for (int i = 0; i < kInputItems; ++i) {
      const int position = in_position + in_cursor.low * in_tap_step;
      const bool inside = column_inside && in_cursor.high < problem.in_channels &&
                          static_cast<unsigned>(position) < static_cast<unsigned>(in_length);
      next_inputs[i] = inside ? input[in_cursor.offset] : from_accumulate<T>(A(0));
      in_cursor.advance();
    }
  };
  const auto store = [&](Stage& stage) {
#pragma unroll
    for (int i = 0; i < WeightLanes::kItems; ++i) {
      if (lanes.owns(i)) {
        stage.left[lanes.step][lanes.row + i * WeightLanes::kRowStep] =
            to_accumulate(next_weights[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kInputItems; ++i) {
      stage.right[first_row + i * kInputStep][column] = to_accumulate(next_inputs[i]);
    }
  };

  GemmAccumulators<A, Tile> accumulators;
  const int tiles = static_cast<int>((problem.in_channels * taps + kTileK - 1) / kTileK);
  load();
  store(storage.stages[0]);
  __syncthreads();
  for (int tile = 0; tile < tiles; ++tile) {
    const bool more = tile + 1 < tiles;
    if (more) {
      load();
    }
    accumulators.multiply(storage.stages[tile % 2]);
    if (more) {
      store(storage.stages[(tile + 1) % 2]);
    }
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
    Vec<A, 4> row;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      row.values[j] = accumulators.values[i][j];
    }
    *reinterpret_cast<Vec<A, 4>*>(&storage.output[accumulators.row + i][accumulators.column]) = row;
  }
  __syncthreads();
  if (!column_inside) {
    return;
  }
  const int64_t out_channel = group * problem.out_channels + first_channel;
  const T* const bias = static_cast<const T*>(problem.bias);
  T* const output = static_cast<T*>(problem.output) + n * problem.output_strides.batch +
                    out_channel * problem.output_strides.channel +
                    (phase.out_start + q * phase.out_step) * problem.output_strides.length;
#pragma unroll 1
  for (int row = first_row; row < kTileM && first_channel + row < problem.out_channels;
       row += kInputStep) {
    const A shift = bias == nullptr ? A(0) : to_accumulate(bias[out_channel + row]);
    const A z = storage.output[row][column] + shift;
    output[row * problem.output_strides.channel] =
        from_accumulate<T>(apply_activation(problem.activation, z));
  }
}

}  // namespace kernelopt
