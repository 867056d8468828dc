// The same output as conv1d_implicit_gemm_kernel, for groups too small to fill a GEMM tile: a
// thread owns kItems outputs of one channel, `lanes` apart, so that neighbours in a warp read and
// write neighbours in memory, and every weight serves kItems products; what two outputs share of
// the input comes from the L1 cache. A block owns kThreads / lanes channels of the flattened
// (batch, channel) range. conv1d_fill_kernel writes activation(bias) where no tap reaches.
// Every argument is served; Index (int32_t or int64_t) holds positions and the channel range.
#pragma once

#include "common/cuda.cuh"
#include "conv1d/conv1d_policy.h"

#include <type_traits>

namespace kernelopt {

/// The grid is phases * position_tiles * row blocks, in this order from the fastest. A block has
/// 2^lanes_log2 lanes along the length.
struct Conv1dDirectGrid {
  uint32_t phases;
  uint32_t position_tiles;
  int lanes_log2;
};

template <typename T, typename Index>
__global__ void __launch_bounds__(Conv1dDirectPolicy::kThreads)
    conv1d_direct_kernel(const __grid_constant__ Conv1dProblem problem,
                         const __grid_constant__ Conv1dPhases phases,
                         const __grid_constant__ Conv1dDirectGrid grid) {
  using A = AccumulateType<T>;
  using Unsigned = std::make_unsigned_t<Index>;
  constexpr int kItems = Conv1dDirectPolicy::kItems;

  uint32_t block = blockIdx.x;
  const Conv1dPhase phase = phases.phase(problem, block % grid.phases);
  block /= grid.phases;
  const int lanes = 1 << grid.lanes_log2;
  const int64_t first_q =
      (int64_t{block % grid.position_tiles} * kItems << grid.lanes_log2) + threadIdx.x % lanes;
  block /= grid.position_tiles;
  const int64_t row =
      (int64_t{block} * Conv1dDirectPolicy::kThreads + threadIdx.x) >> grid.lanes_log2;
  const int64_t channels = problem.groups * problem.out_channels;
  if (row >= problem.batch * channels || first_q >= phase.count) {
    return;
  }
  const Index n = static_cast<Index>(row) / static_cast<Index>(channels);
  const Index channel = static_cast<Index>(row) - n * static_cast<Index>(channels);
  const Index group = channel / static_cast<Index>(problem.out_channels);
  const int64_t channel_in_group = channel - group * problem.out_channels;

  const Strides1d strides = problem.input_strides;
  const T* input = static_cast<const T*>(problem.input) + n * strides.batch +
                   group * problem.in_channels * strides.channel;
  const T* weight = static_cast<const T*>(problem.weight) + group * problem.weight_group_stride() +
                    channel_in_group * problem.weight_out_stride() + phase.first_tap;
  Index positions[kItems];
  int64_t offsets[kItems];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int64_t q = first_q + (int64_t{i} << grid.lanes_log2);
    const int64_t last = phase.count - 1;  // outputs beyond are computed as the last, not stored
    const int64_t position = phase.in_start + (q < last ? q : last) * phase.in_step;
    positions[i] = static_cast<Index>(position);
    offsets[i] = position * strides.length;
  }
  const Index length = static_cast<Index>(problem.in_length);
  const Index taps = static_cast<Index>(phase.taps);
  const Index tap_step = static_cast<Index>(phase.in_tap_step);
  const int64_t tap_offset = phase.in_tap_step * strides.length;

  A sums[kItems] = {};
  const auto accumulate = [&](auto interior) {
    for (int64_t c = 0; c < problem.in_channels; ++c) {
      Index shift = 0;
      int64_t offset = 0;
#pragma unroll 4
      for (Index j = 0; j < taps; ++j) {
        const A w = to_accumulate(weight[j * phase.tap_step]);
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
          if (interior ||
              static_cast<Unsigned>(positions[i] + shift) < static_cast<Unsigned>(length)) {
            sums[i] += w * to_accumulate(input[offsets[i] + offset]);
          }
        }
        shift += tap_step;
        offset += tap_offset;
      }
      weight += problem.weight_in_stride();
      input += strides.channel;
    }
  };
  // Positions grow with i: the first and the last bound them all.
  const Index reach = (taps - 1) * tap_step;
  const Index lowest = positions[0] + (reach < 0 ? reach : 0);
  const Index highest = positions[kItems - 1] + (reach > 0 ? reach : 0);
  if (lowest >= 0 && highest < length) {
    accumulate(std::true_type{});
  } else {
    accumulate(std::false_type{});
  }

  const A shift =
      problem.bias == nullptr ? A(0) : to_accumulate(static_cast<const T*>(problem.bias)[channel]);
  T* const output = static_cast<T*>(problem.output) + n * problem.output_strides.batch +
                    channel * problem.output_strides.channel +
                    phase.out_start * problem.output_strides.length;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int64_t q = first_q + (int64_t{i} << grid.lanes_log2);
    if (q < phase.count) {
      output[q * phase.out_step * problem.output_strides.length] =
          from_accumulate<T>(apply_activation(problem.activation, sums[i] + shift));
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(Conv1dDirectPolicy::kThreads)
    conv1d_fill_kernel(const __grid_constant__ Conv1dProblem problem) {
  using A = AccumulateType<T>;
  const int64_t channels = problem.groups * problem.out_channels;
  const int64_t linear =
      static_cast<int64_t>(blockIdx.x) * Conv1dDirectPolicy::kThreads + threadIdx.x;
  if (linear >= problem.batch * channels * problem.out_length) {
    return;
  }
  const int64_t row = linear / problem.out_length;
  const int64_t n = row / channels;
  const int64_t channel = row - n * channels;
  const A z =
      problem.bias == nullptr ? A(0) : to_accumulate(static_cast<const T*>(problem.bias)[channel]);
  const Strides1d strides = problem.output_strides;
  static_cast<T*>(problem.output)[n * strides.batch + channel * strides.channel +
                                  (linear - row * problem.out_length) * strides.length] =
      from_accumulate<T>(apply_activation(problem.activation, z));
}

}  // namespace kernelopt
