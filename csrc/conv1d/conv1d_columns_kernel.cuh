// A transposed convolution of dilation 1 as a product of the input's positions with the weights as
// they lie in memory (conv1d_columns_plan.h), on tensor cores: nothing is packed, and where
// taps are scattered no zeros stand for those that a residue does not have. The product's sums,
// fp32, pass through memory; conv1d_columns_sum_kernel adds the taps of an output and the splits,
// always in the same order, and finishes it.
#pragma once

#include "common/activation16.cuh"
#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_columns_load.cuh"
#include "conv1d/conv1d_exact.cuh"
#include "conv1d/weight_gradient_fragments.cuh"

namespace kernelopt {

template <typename T, typename Tile>
constexpr int kColumnsSharedBytes = 2 * 2 *
                                    (ColumnsOperand<T, Tile::kRows>::kTileElements +
                                     ColumnsOperand<T, Tile::kColumns>::kTileElements);

/// The grid is column tiles * row tiles, groups, splits.
template <typename T, typename Tile>
__global__ void __launch_bounds__(kColumnsThreads, 2)
    conv1d_columns_kernel(const __grid_constant__ Conv1dColumnsParams p) {
#if KERNELOPT_HAS_MMA
  using Input = ColumnsOperand<T, Tile::kRows>;
  using Weight = ColumnsOperand<T, Tile::kColumns>;
  constexpr int kParts = MmaTraits<T>::kParts, kTilesC = 4;
  extern __shared__ __align__(16) uint16_t shared[];  // two stages of input, two of weights
  uint16_t* const input_tiles = shared;
  uint16_t* const weight_tiles = shared + 2 * Input::kTileElements;
  const int tile = static_cast<int>(blockIdx.x);
  const int first_row = tile % p.row_tiles * Tile::kRows;
  const int first_column = tile / p.row_tiles * Tile::kColumns;
  const Conv1dProblem& problem = p.problem;
  const int group = static_cast<int>(blockIdx.y);

  Input input;
  {
    input.vector = Input::kMayVector && p.vector_input;
    const int row = first_row + Input::column(input.vector);
    const int n = row / p.entry_rows, q = row - n * p.entry_rows;
    input.source = static_cast<const T*>(problem.input) + n * problem.input_strides.batch +
                   group * problem.in_channels * problem.input_strides.channel +
                   q * problem.input_strides.length;
    input.channel_stride = problem.input_strides.channel;
    input.tap_stride = -problem.input_strides.length;
    input.first = q;
    input.place_step = -1;
    input.limit = row < p.rows ? static_cast<int>(problem.in_length) : 0;
  }
  Weight weight;
  {
    weight.vector = Weight::kMayVector && p.vector_weight;
    const int column = first_column + Weight::column(weight.vector);
    const int o = column / p.residues, r = column - o * p.residues;
    weight.source = static_cast<const T*>(problem.weight) + group * problem.weight_group_stride() +
                    o * problem.weight_out_stride() + r;
    weight.channel_stride = problem.weight_in_stride();
    weight.tap_stride = p.residues;
    weight.first = r;
    weight.place_step = p.residues;
    weight.limit = column < p.columns ? static_cast<int>(problem.kernel_size) : 0;
  }

  const int first_chunk = static_cast<int>(blockIdx.z) * p.split_chunks;
  const int steps = min(p.split_chunks, p.chunks - first_chunk) * p.taps;
  const int end = static_cast<int>(problem.in_channels);
  int channel = first_chunk * kColumnsChannels, tap = 0;  // of the next step to load
  const auto load = [&] {
    input.load(channel, end, tap);
    weight.load(channel, end, tap);
    if (++tap == p.taps) {
      tap = 0;
      channel += kColumnsChannels;
    }
  };
  const auto store = [&](int stage) {
    input.store(input_tiles + stage * Input::kTileElements);
    weight.store(weight_tiles + stage * Weight::kTileElements);
  };

  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / Tile::kWarpsC * Tile::kTilesR * 16;
  const int warp_column = warp % Tile::kWarpsC * 32;
  // Lanes 0-7 name the channels of an 8 x 8 matrix, 8-15 of the next, ...
  const int matrix = lane / 8;
  const int input_place = (lane % 8 + matrix / 2 * 8) * Input::kPitch + warp_row + matrix % 2 * 8;
  const int weight_place =
      (lane % 8 + matrix % 2 * 8) * Weight::kPitch + warp_column + matrix / 2 * 8;
  const auto matrices = [](const uint16_t* place) {
    return load_matrices<true>(reinterpret_cast<const uint32_t*>(place));
  };
  float sums[Tile::kTilesR][kTilesC][4] = {};
  const auto multiply = [&](int stage) {
    const uint16_t* const rows = input_tiles + stage * Input::kTileElements + input_place;
    const uint16_t* const columns = weight_tiles + stage * Weight::kTileElements + weight_place;
#pragma unroll
    for (int k = 0; k < kColumnsChannels; k += 16) {
      uint4 right[kParts][kTilesC / 2];
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int j = 0; j < kTilesC / 2; ++j) {
          right[part][j] =
              matrices(columns + part * Weight::kPartElements + k * Weight::kPitch + j * 16);
        }
      }
#pragma unroll
      for (int i = 0; i < Tile::kTilesR; ++i) {
        uint4 left[kParts];
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          left[part] = matrices(rows + part * Input::kPartElements + k * Input::kPitch + i * 16);
        }
        const auto product = [&](int left_part, int right_part) {
#pragma unroll
          for (int j = 0; j < kTilesC / 2; ++j) {
            const uint4& b = right[right_part][j];
            mma_m16n8k16<T>(sums[i][2 * j], left[left_part], b.x, b.y);
            mma_m16n8k16<T>(sums[i][2 * j + 1], left[left_part], b.z, b.w);
          }
        };
        if constexpr (kParts == 2) {
          product(1, 0);
          product(0, 1);
        }
        product(0, 0);
      }
    }
  };

  load();
  store(0);
  __syncthreads();
  for (int step = 0; step < steps; ++step) {
    const bool more = step + 1 < steps;
    if (more) {
      load();
    }
    multiply(step % 2);
    if (more) {
      store((step + 1) % 2);
    }
    __syncthreads();
  }

  float* const target = p.sums + blockIdx.z * p.split_sums() + group * (p.rows * int64_t{p.pitch});
#pragma unroll
  for (int i = 0; i < Tile::kTilesR; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + warp_row + i * 16 + half * 8 + lane / 4;
      if (row >= p.rows) {
        continue;
      }
#pragma unroll
      for (int j = 0; j < kTilesC; ++j) {
        const int column = first_column + warp_column + j * 8 + lane % 4 * 2;
        if (column < p.columns) {  // the pitch has room for a pair
          *reinterpret_cast<float2*>(target + row * int64_t{p.pitch} + column) = {
              sums[i][j][half * 2], sums[i][j][half * 2 + 1]};
        }
      }
    }
  }
#endif
}

/// A thread owns an output.
/// @param outputs  of all rows
template <typename T>
__global__ void __launch_bounds__(kColumnsThreads)
    conv1d_columns_sum_kernel(const __grid_constant__ Conv1dColumnsParams p, int splits,
                              uint32_t outputs) {
  const uint32_t index = blockIdx.x * kColumnsThreads + threadIdx.x;
  grid_dependency_wait();
  if (index >= outputs) {
    return;
  }
  const Conv1dProblem& problem = p.problem;
  const uint32_t length = static_cast<uint32_t>(problem.out_length);
  const uint32_t channels = static_cast<uint32_t>(problem.groups * problem.out_channels);
  const uint32_t all_rows = index / length, n = all_rows / channels;
  const int position = static_cast<int>(index - all_rows * length);
  const int channel = static_cast<int>(all_rows - n * channels);
  const int group = channel / static_cast<int>(problem.out_channels);
  const int o = channel - group * static_cast<int>(problem.out_channels);
  const int stride = static_cast<int>(problem.stride);
  const int place = position + static_cast<int>(problem.padding);
  int q = place / stride, residue = place - q * stride;
  const float* from =
      p.sums + (group * int64_t{p.rows} + int64_t{n} * p.entry_rows) * p.pitch + o * p.residues;
  float z = 0;
  for (int u = 0; u < p.sum_taps && residue < p.residues; ++u) {
    if (q >= 0 && q < p.entry_rows) {
      const float* sum = from + q * int64_t{p.pitch} + residue;
#pragma unroll 4
      for (int split = 0; split < splits; ++split) {
        z += sum[split * p.split_sums()];
      }
    }
    --q;
    residue += stride;
  }
  // Inf meets parts of fp32 that are 0, and where taps are gathered the zeros of those that are not
  // there.
  if ((MmaTraits<T>::kParts == 2 || p.residues != problem.kernel_size) && !isfinite(z)) {
    z = convolve_exactly<T>(problem, static_cast<int>(n), group, o, position);
  }
  const T* const biases = static_cast<const T*>(problem.bias);
  z += biases != nullptr ? to_accumulate(biases[channel]) : 0.0f;
  T* const output = static_cast<T*>(problem.output) + n * problem.output_strides.batch +
                    channel * problem.output_strides.channel +
                    position * problem.output_strides.length;
  *output = from_accumulate<T>(apply_activation(problem.activation, z));
}

}  // namespace kernelopt
