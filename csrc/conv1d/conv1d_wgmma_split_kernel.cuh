// The end of a convolution whose channels were split among blocks of the warpgroup kernel: adds the
// splits' sums, always in the same order, and finishes the outputs. A thread owns four positions.
#pragma once

#include "common/activation16.cuh"
#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_exact.cuh"
#include "conv1d/conv1d_wgmma_params.h"

namespace kernelopt {

template <typename T>
__global__ void sum_conv1d_splits_kernel(const __grid_constant__ Conv1dWgmmaParams p, int splits,
                                         int64_t vectors) {
  constexpr int kVector = 4;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  grid_dependency_launch();
  grid_dependency_wait();
  if (index >= vectors) {
    return;
  }
  const float4* sums = reinterpret_cast<const float4*>(p.split_sums) + index;
  float z[kVector] = {};
#pragma unroll 8
  for (int split = 0; split < splits; ++split) {
    const float4 sum = sums[split * vectors];
    z[0] += sum.x;
    z[1] += sum.y;
    z[2] += sum.z;
    z[3] += sum.w;
  }

  const int row_vectors = p.split_pitch / kVector;
  const int64_t row = index / row_vectors;
  const int position = static_cast<int>(index - row * row_vectors) * kVector;
  const int channels = static_cast<int>(p.problem.groups * p.problem.out_channels);
  const int n = static_cast<int>(row / channels);
  const int channel = static_cast<int>(row - static_cast<int64_t>(n) * channels);
  const int begin = max(p.run_shift - position, 0);  // of the vector's outputs
  const int end = min(kVector, static_cast<int>(p.problem.out_length) - position);
  const int out_channels = static_cast<int>(p.problem.out_channels);
  const int group = channel / out_channels;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (i >= begin && i < end && !isfinite(z[i])) {
      z[i] = convolve_exactly<T>(p.problem, n, group, channel - group * out_channels, position + i);
    }
  }
  const T* biases = static_cast<const T*>(p.problem.bias);
  const float bias = biases != nullptr ? to_accumulate(biases[channel]) : 0.0f;
  Vec<T, kVector> outputs;
  with_activation(p.problem.activation, [&](auto kind) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      outputs.values[i] =
          from_accumulate<T>(ActivationOfSum<T, decltype(kind)>::forward(z[i] + bias));
    }
  });
  T* output = static_cast<T*>(p.problem.output) + n * p.problem.output_strides.batch +
              channel * p.problem.output_strides.channel + position;
  if (end - begin == kVector && reinterpret_cast<uintptr_t>(output) % sizeof(outputs) == 0) {
    *reinterpret_cast<Vec<T, kVector>*>(output) = outputs;
    return;
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (i >= begin && i < end) {
      output[i] = outputs.values[i];
    }
  }
}

}  // namespace kernelopt
