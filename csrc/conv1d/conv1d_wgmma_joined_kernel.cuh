// Transposed 1-D convolution on Hopper's tensor cores for few or short rows: the correlation of
// conv1d_wgmma_kernel, with the runs of all batch entries as one row (conv1d_wgmma_joined_params.h)
// that blocks take in tiles of 128. A block owns up to 128 slots of a group and one tile. All
// threads copy windows of the input, a few stages ahead, by pieces small enough to begin at any
// entry; the packed weights come by bulk copies. Two warpgroups multiply 64 runs each, and leave
// their sums in shared memory, from where all threads store them.
#pragma once

#include "conv1d/conv1d_wgmma_joined_params.h"
#include "conv1d/conv1d_wgmma_kernel.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Copies a stage's window: `channels` rows of all copies, zeros for channels that are none.
/// @param sources  of a row's copies, elements from `input`, negative where there is no input
/// @param kBytes   of a copy
template <typename T, int kBytes>
__device__ __forceinline__ void copy_joined_window(const Conv1dWgmmaJoinedParams& p, const T* input,
                                                   const int64_t* sources, int channels,
                                                   int real_channels, unsigned char* window) {
  constexpr int kThreads = Conv1dWgmmaJoinedShape::kThreads;
  const int row_step = kThreads / p.window_copies;
  const int copy_step = kThreads - row_step * p.window_copies;
  int row = static_cast<int>(threadIdx.x) / p.window_copies;
  int copy = static_cast<int>(threadIdx.x) - row * p.window_copies;
  const int64_t stride = p.problem.input_strides.channel;
#pragma unroll 4
  while (row < channels) {
    const int64_t source = sources[copy];
    const bool real = source >= 0 && row < real_channels;
    const T* from = input + (real ? source + row * stride : 0);
    unsigned char* to = window + row * p.window_pitch + copy * kBytes;
    copy_async<kBytes>(shared_address(to), from, real);
    row += row_step;
    copy += copy_step;
    if (copy >= p.window_copies) {
      copy -= p.window_copies;
      ++row;
    }
  }
}

/// Stores a tile's sums, kElements outputs at once where they are all inside an entry.
/// @param sums  [channel][p.sums_lead + run * residues + residue]
template <typename T, typename ActivationType, int kElements>
__device__ __forceinline__ void store_joined_tile(const Conv1dWgmmaJoinedParams& p,
                                                  const float* sums, const float* biases,
                                                  int channels, int group, int block_channel) {
  using Shape = Conv1dWgmmaJoinedShape;
  const int span = Shape::kRuns * p.correlation.residues;
  const int entry_span = p.entry_runs * p.correlation.residues;
  const int vectors = (span + p.sums_lead + kElements - 1) / kElements;
  const int length = static_cast<int>(p.problem.out_length);
  const int batch = static_cast<int>(p.problem.batch);
  const int tile_first = static_cast<int>(blockIdx.x) * span;
  const int64_t first_channel =
      static_cast<int64_t>(group) * p.problem.out_channels + block_channel;
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
    for (int channel = share; channel < channels; channel += sharers) {
      const float* row = sums + channel * p.sums_pitch + v * kElements;
      const float bias = biases[channel];
      T* output = static_cast<T*>(p.problem.output) +
                  (first_channel + channel) * p.problem.output_strides.channel;
      Vec<float, kElements> values = *reinterpret_cast<const Vec<float, kElements>*>(row);
      Vec<T, kElements> outputs;
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        if (inside[i] && !isfinite(values.values[i])) {
          values.values[i] =
              convolve_exactly<T>(p.problem, n[i], group, block_channel + channel, position[i]);
        }
        outputs.values[i] =
            from_accumulate<T>(activate_sum<T, ActivationType>(values.values[i], bias));
      }
      if (whole) {
        *reinterpret_cast<Vec<T, kElements>*>(output + n[0] * p.problem.output_strides.batch +
                                              position[0]) = outputs;
        continue;
      }
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        if (inside[i]) {
          output[n[i] * p.problem.output_strides.batch + position[i]] = outputs.values[i];
        }
      }
    }
  }
}

#endif

template <typename T, int kSlots>
__global__ void __launch_bounds__(Conv1dWgmmaJoinedShape::kThreads, 2)
    conv1d_wgmma_joined_kernel(const __grid_constant__ Conv1dWgmmaJoinedParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = Conv1dWgmmaJoinedShape;
  constexpr int kTapBytes = kSlots * 32 * MmaTraits<T>::kParts;
  constexpr int kSize = static_cast<int>(sizeof(T)), kChunk = Conv1dWgmmaShape::kChunkChannels;
  constexpr int kPasses = kSlots / Conv1dWgmmaShape::kPassColumns;
  const int residues = p.correlation.residues, taps = p.correlation.taps;
  const int group = blockIdx.y / p.n_blocks;
  const int block_channel = blockIdx.y % p.n_blocks * kPasses * p.pass_channels;
  const int in_channels = static_cast<int>(p.problem.in_channels);

  grid_dependency_launch();
  // Stages, later the sums; sources of a window's copies; barriers.
  extern __shared__ __align__(128) unsigned char shared[];
  const int stage_bytes = p.window_bytes + p.step_weight_bytes;
  float* biases = reinterpret_cast<float*>(shared + p.biases_offset);
  int64_t* sources = reinterpret_cast<int64_t*>(biases + kSlots);
  const uint32_t full = shared_address(sources + p.window_copies);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      mbarrier_init(full + stage * 8, 1);
    }
    mbarrier_fence_init();
  }
  load_conv1d_biases<T, kSlots>(p, group, block_channel, kPasses * p.pass_channels, biases,
                                nullptr);
  for (int copy = thread; copy < p.window_copies; copy += Shape::kThreads) {
    const int run = static_cast<int>(blockIdx.x) * Shape::kRuns + copy * p.copy_elements;
    const int n = run / p.entry_runs;
    const int position = run - n * p.entry_runs + p.correlation.input_first - p.window_lead;
    const bool real =
        n < p.problem.batch && position >= 0 && position < static_cast<int>(p.problem.in_length);
    sources[copy] = real ? n * p.problem.input_strides.batch + position : -1;
  }
  __syncthreads();

  const T* input = static_cast<const T*>(p.problem.input) +
                   static_cast<int64_t>(group) * in_channels * p.problem.input_strides.channel;
  const unsigned char* weights =
      reinterpret_cast<const unsigned char*>(p.packed_weight) +
      static_cast<int64_t>(blockIdx.y) * p.channel_chunks * taps * kTapBytes;
  const int steps = (in_channels + p.stage_channels - 1) / p.stage_channels;
  const auto step_chunks = [&](int step) {
    return (min(p.stage_channels, in_channels - step * p.stage_channels) + kChunk - 1) / kChunk;
  };
  const auto load_window = [&](int step, int stage) {
    if (step < steps) {
      const int channel = step * p.stage_channels;
      const T* from = input + channel * p.problem.input_strides.channel;
      const auto copy = [&](auto bytes) {
        copy_joined_window<T, decltype(bytes)::value>(p, from, sources, step_chunks(step) * kChunk,
                                                      in_channels - channel,
                                                      shared + stage * stage_bytes);
      };
      switch (p.copy_elements * kSize) {
        case 16: copy(std::integral_constant<int, 16>{}); break;
        case 8: copy(std::integral_constant<int, 8>{}); break;
        default: copy(std::integral_constant<int, 4>{}); break;
      }
    }
    copy_async_commit();
  };
  const auto load_weights = [&](int step, int stage) {
    if (thread == 0 && step < steps) {
      const int bytes = step_chunks(step) * taps * kTapBytes;
      mbarrier_arrive_expect(full + stage * 8, bytes);
      bulk_load(
          shared_address(shared + stage * stage_bytes + p.window_bytes),
          weights + static_cast<int64_t>(step) * (p.stage_channels / kChunk) * taps * kTapBytes,
          bytes, full + stage * 8);
    }
  };
  for (int stage = 0; stage < Shape::kStages - 1; ++stage) {
    load_window(stage, stage);
  }
  if (thread == 0) {
    grid_dependency_wait();  // for the packed weights
  }
  for (int stage = 0; stage < Shape::kStages - 1; ++stage) {
    load_weights(stage, stage);
  }

  const int warp = __shfl_sync(0xffffffff, thread / 32, 0);
  const int lane = thread % 32, quad = lane % 4;
  const int row = warp * 16 + lane / 4;  // of the tile
  float accumulators[kSlots / 2];
  WindowFragment<T> fragments[2];
  int accumulate = 0, stage = 0;
  uint32_t parity = 0;
  for (int step = 0; step < steps; ++step) {
    copy_async_wait<Shape::kStages - 2>();
    mbarrier_wait(full + stage * 8, parity);
    __syncthreads();  // the window has come, and the stage before has been read
    const int next = stage == 0 ? Shape::kStages - 1 : stage - 1;
    load_window(step + Shape::kStages - 1, next);
    load_weights(step + Shape::kStages - 1, next);

    const int window = stage * stage_bytes;
    int rows[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int k = i / 2 * 8 + quad * 2 + i % 2;
      rows[i] = window + k * p.window_pitch + (p.window_lead + row) * kSize;
    }
    uint64_t descriptor =
        wgmma_descriptor(shared_address(shared) + window + p.window_bytes, kSlots);
    int offset = 0, tap = 0;
    const auto multiply = [&](WindowFragment<T>& fragment, WindowFragment<T>& other) {
      fragment.load(shared, rows, offset, 8 * kSize);
      fragment.multiply(accumulators, descriptor, accumulate);
      wgmma_wait<1>();
      other.hold();
      accumulate = 1;
      descriptor += kTapBytes / 16;
      offset += p.correlation.tap_step * kSize;
      if (++tap == taps) {
        tap = 0;
        offset += kChunk * p.window_pitch - taps * p.correlation.tap_step * kSize;
      }
    };
    const int products = step_chunks(step) * taps;
    for (int product = 1; product < products; product += 2) {
      multiply(fragments[0], fragments[1]);
      multiply(fragments[1], fragments[0]);
    }
    if (products % 2 != 0) {
      multiply(fragments[0], fragments[1]);
    }
    wgmma_wait<0>();
    fragments[0].hold();
    fragments[1].hold();
    wgmma_hold(accumulators);
    if (++stage == Shape::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }

  __syncthreads();
  float* sums = reinterpret_cast<float*>(shared);
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
  __syncthreads();
  const int channels =
      min(kPasses * p.pass_channels, static_cast<int>(p.problem.out_channels) - block_channel);
  with_activation(p.problem.activation, [&](auto kind) {
    using ActivationType = ActivationOfSum<T, decltype(kind)>;
    if (p.store_elements == 1) {
      store_joined_tile<T, ActivationType, 1>(p, sums, biases, channels, group, block_channel);
    } else {
      store_joined_tile<T, ActivationType, Shape::kStoreElements>(p, sums, biases, channels, group,
                                                                  block_channel);
    }
  });
#endif
}

}  // namespace kernelopt
