// The end of a tile of conv1d_wgmma_packed_kernel: its sums through shared memory to the outputs,
// as the joined kernel stores them, but several channels at once, so that no read waits for a
// store, and the sums of splits. In the joined kernel that takes registers: transposed 1x64x21888
// -> 32, k4 s2 in float32 took 0.019 ms instead of 0.015.
#pragma once

#include "conv1d/conv1d_exact.cuh"
#include "conv1d/conv1d_wgmma_packed_params.h"
#include "conv1d/conv1d_wgmma_slab.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Stores a tile's sums, kElements outputs at once where they are all inside an entry.
/// @param sums  [channel][p.sums_lead + run * residues + residue]
/// @tparam ActivationType  void: the sums of a split, as they are
/// @tparam kAtOnce         channels whose sums are read before the first is stored
template <typename T, typename ActivationType, int kElements, int kAtOnce>
__device__ __forceinline__ void store_packed_tile(const Conv1dWgmmaPackedParams& p, float* sums,
                                                  const float* biases, int channels, int group,
                                                  int block_channel) {
  using Shape = Conv1dWgmmaJoinedShape;
  constexpr bool kSplit = std::is_void_v<ActivationType>;
  using Output = std::conditional_t<kSplit, float, T>;
  const int span = Shape::kRuns * p.correlation.residues;
  const int entry_span = p.entry_runs * p.correlation.residues;
  const int vectors = (span + p.sums_lead + kElements - 1) / kElements;
  const int length = static_cast<int>(p.problem.out_length);
  const int batch = static_cast<int>(p.problem.batch);
  const int tile_first = static_cast<int>(blockIdx.x) * span;
  const int64_t channel_stride = kSplit ? p.split_pitch : p.problem.output_strides.channel;
  const int64_t batch_stride = kSplit ? p.problem.groups * p.problem.out_channels * channel_stride
                                      : p.problem.output_strides.batch;
  Output* first_channel =
      (kSplit ? reinterpret_cast<Output*>(p.split_sums) + blockIdx.z * batch * batch_stride
              : static_cast<Output*>(p.problem.output)) +
      (static_cast<int64_t>(group) * p.problem.out_channels + block_channel) * channel_stride;
  // Threads that a row has no vector for take other channels.
  const int sharers = max(1, Shape::kThreads / vectors);
  const int share = static_cast<int>(threadIdx.x) / vectors;
  if (share >= sharers) {
    return;
  }
  for (int v = static_cast<int>(threadIdx.x) - share * vectors; v < vectors; v += Shape::kThreads) {
    const int first = v * kElements - p.sums_lead;  // of the tile's outputs
    int n[kElements], position[kElements];
    bool inside[kElements], whole = true;
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      const int output = tile_first + max(first + i, 0);
      n[i] = output / entry_span;
      position[i] = output - n[i] * entry_span;
      inside[i] = first + i >= 0 && first + i < span && position[i] >= p.run_shift &&
                  position[i] < length && n[i] < batch;
      whole = whole && inside[i] && n[i] == n[0];
    }
    for (int channel = share; channel < channels; channel += kAtOnce * sharers) {
      Vec<float, kElements>* row =
          reinterpret_cast<Vec<float, kElements>*>(sums + channel * p.sums_pitch + v * kElements);
      const int row_step = sharers * p.sums_pitch / kElements;
      const int rows = min(kAtOnce, (channels - channel + sharers - 1) / sharers);
      Vec<float, kElements> values[kAtOnce];
      float probe = 0;  // NaN where one of the sums is not finite
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) {
        values[c] = row[c < rows ? c * row_step : 0];
#pragma unroll
        for (int i = 0; i < kElements; ++i) {
          probe = fmaf(values[c].values[i], 0.0f, probe);
        }
      }
      if (!kSplit && probe != 0) {
#pragma unroll 1
        for (int c = 0; c < rows; ++c) {
#pragma unroll
          for (int i = 0; i < kElements; ++i) {
            float& sum = row[c * row_step].values[i];
            if (inside[i] && !isfinite(sum)) {
              sum = convolve_exactly<T>(p.problem, n[i], group,
                                        block_channel + channel + c * sharers, position[i]);
            }
          }
        }
#pragma unroll
        for (int c = 0; c < kAtOnce; ++c) {
          values[c] = row[c < rows ? c * row_step : 0];
        }
      }
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) {
        if (c >= rows) {
          break;
        }
        Output* output = first_channel + (channel + c * sharers) * channel_stride;
        Vec<Output, kElements> outputs;
#pragma unroll
        for (int i = 0; i < kElements; ++i) {
          if constexpr (kSplit) {
            outputs.values[i] = values[c].values[i];
          } else {
            outputs.values[i] = from_accumulate<T>(activate_sum<T, ActivationType>(
                values[c].values[i], biases[channel + c * sharers]));
          }
        }
        if (whole) {
          *reinterpret_cast<Vec<Output, kElements>*>(output + n[0] * batch_stride + position[0]) =
              outputs;
          continue;
        }
#pragma unroll
        for (int i = 0; i < kElements; ++i) {
          if (inside[i]) {
            output[n[i] * batch_stride + position[i]] = outputs.values[i];
          }
        }
      }
    }
  }
}

/// Passes a tile's sums through shared memory, over what the products have read, and stores them.
/// All Shape::kThreads threads that multiply, of which each has two rows of the accumulators.
/// @param row  the first of them, of the tile
template <typename T, int kSlots>
__device__ __forceinline__ void finish_packed_tile(const Conv1dWgmmaPackedParams& p,
                                                   const float (&accumulators)[kSlots / 2], int row,
                                                   int group, int block_channel, float* sums,
                                                   const float* biases) {
  using Shape = Conv1dWgmmaJoinedShape;
  constexpr int kPasses = kSlots / Conv1dWgmmaShape::kPassColumns;
  const int residues = p.correlation.residues, quad = threadIdx.x % 4;
  named_barrier(1, Shape::kThreads);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int column = i / 2 * 8 + quad * 2 + i % 2, channel = column / residues;
    if (channel < p.pass_channels) {
      float* value = sums + channel * p.sums_pitch + p.sums_lead + row * residues + column -
                     channel * residues;
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        value[0] = accumulators[(pass * 2 + i / 2) * 4 + i % 2];
        value[8 * residues] = accumulators[(pass * 2 + i / 2) * 4 + 2 + i % 2];
        value += p.pass_channels * p.sums_pitch;
      }
    }
  }
  named_barrier(1, Shape::kThreads);
  const int channels =
      min(kPasses * p.pass_channels, static_cast<int>(p.problem.out_channels) - block_channel);
  if (p.split_sums != nullptr) {
    store_packed_tile<T, void, Shape::kStoreElements, 4>(p, sums, biases, channels, group,
                                                         block_channel);
    return;
  }
  with_activation(p.problem.activation, [&](auto kind) {
    using ActivationType = ActivationOfSum<T, decltype(kind)>;
    if (p.store_elements == 1) {
      store_packed_tile<T, ActivationType, 1, 8>(p, sums, biases, channels, group, block_channel);
    } else {
      store_packed_tile<T, ActivationType, Shape::kStoreElements, 4>(p, sums, biases, channels,
                                                                     group, block_channel);
    }
  });
}

#endif

}  // namespace kernelopt
