// A transposed convolution of dilation 1 to few channels of a group:
//   output[n, o, q * stride + r - padding] = activation(bias[o] + sum over c and t of
//       weight[c, o, t * stride + r] * input[n, c, q - t])
// A thread owns position q and kPhases phases r of one channel, so that an input it loads serves
// all of them. A block owns neighbouring positions; the taps of its phases are in shared memory, in
// the order of the steps (c, t). Positions outside the input and taps beyond the kernel take no
// part in a sum. Positions fit 32 bits.
#pragma once

#include "common/cuda.cuh"
#include "conv1d/conv1d_policy.h"

namespace kernelopt {

/// The grid is (rows * groups_of_phases + group) * tiles + tile.
struct Conv1dPhasesGrid {
  uint32_t phase_groups;
  uint32_t tiles;
  int taps;  // of the phase with the most
};

template <typename T, int kPhases>
__global__ void __launch_bounds__(Conv1dPhasesPolicy::kThreads)
    conv1d_phases_kernel(const __grid_constant__ Conv1dProblem problem,
                         const __grid_constant__ Conv1dPhasesGrid grid) {
  constexpr int kLoads = Conv1dPhasesPolicy::kLoads;
  extern __shared__ __align__(16) float taps[];  // [steps][kPhases]
  uint32_t block = blockIdx.x;
  const int tile = static_cast<int>(block % grid.tiles);
  block /= grid.tiles;
  const int first_phase = static_cast<int>(block % grid.phase_groups) * kPhases;
  const int64_t row = block / grid.phase_groups;
  const int channels = static_cast<int>(problem.groups * problem.out_channels);
  const int64_t n = row / channels;
  const int channel = static_cast<int>(row - n * channels);
  const int group = channel / static_cast<int>(problem.out_channels);
  const int in_channels = static_cast<int>(problem.in_channels);
  const int stride = static_cast<int>(problem.stride);
  const int kernel_size = static_cast<int>(problem.kernel_size);
  const int steps = in_channels * grid.taps;

  const T* const weight =
      static_cast<const T*>(problem.weight) + group * problem.weight_group_stride() +
      (channel - group * static_cast<int>(problem.out_channels)) * problem.weight_out_stride();
  for (int i = threadIdx.x; i < steps * kPhases; i += blockDim.x) {
    const int step = i / kPhases, c = step / grid.taps;
    const int tap = (step - c * grid.taps) * stride + first_phase + i % kPhases;
    taps[i] = tap < kernel_size ? to_accumulate(weight[c * problem.weight_in_stride() + tap]) : 0;
  }
  __syncthreads();

  // In-bounds positions: [0, length), of taps t = 0 ... of this thread q, q - 1, ...
  const int q = tile * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  const int length = static_cast<int>(problem.in_length);
  const Strides1d strides = problem.input_strides;
  const T* const input = static_cast<const T*>(problem.input) + n * strides.batch +
                         group * problem.in_channels * strides.channel;
  // Phases that have the last tap.
  const int last_phases = kernel_size - first_phase - (grid.taps - 1) * stride;
  float sums[kPhases] = {};
  const auto accumulate = [&](auto interior) {
    int t = 0;
    const T* from = input + int64_t{q} * strides.length;
    for (int step = 0; step < steps; step += kLoads) {
      float values[kLoads];
      bool inside[kLoads];
      int tap[kLoads];
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        inside[u] = step + u < steps && (interior || (q - t >= 0 && q - t < length));
        values[u] = inside[u] ? to_accumulate(*from) : 0.0f;
        tap[u] = t;
        ++t;
        from -= strides.length;
        if (t == grid.taps) {
          t = 0;
          from += strides.channel + grid.taps * strides.length;
        }
      }
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        if (inside[u]) {
          const bool all = tap[u] + 1 < grid.taps || last_phases >= kPhases;
          const float* const weights = taps + (step + u) * kPhases;
#pragma unroll
          for (int p = 0; p < kPhases; ++p) {
            if (all || p < last_phases) {
              sums[p] += weights[p] * values[u];
            }
          }
        }
      }
    }
  };
  if (__syncthreads_and(q - (grid.taps - 1) >= 0 && q < length)) {
    accumulate(std::true_type{});
  } else {
    accumulate(std::false_type{});
  }

  const float shift =
      problem.bias == nullptr ? 0.0f : to_accumulate(static_cast<const T*>(problem.bias)[channel]);
  T* const output = static_cast<T*>(problem.output) + n * problem.output_strides.batch +
                    channel * problem.output_strides.channel;
  const int64_t first = int64_t{q} * stride + first_phase - problem.padding;
#pragma unroll
  for (int p = 0; p < kPhases; ++p) {
    if (first_phase + p < stride && first + p >= 0 && first + p < problem.out_length) {
      output[(first + p) * problem.output_strides.length] =
          from_accumulate<T>(apply_activation(problem.activation, sums[p] + shift));
    }
  }
}

}  // namespace kernelopt
