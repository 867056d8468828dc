// The weight gradient (weight_gradient_problem.h) on tensor cores (mma.sync, sm_80 and later):
//   partial[share, r, c, t] = sum over the share's (n, i) of
//       steady[n, r, i] * shifted[n, c, i * stride - padding + t * dilation]
// A GEMM with M = shifted channels at each tap, N = steady channels, K = positions. A block owns a
// tile of both channels, kTaps taps and one share, and walks over kGradientPositions positions at a
// time; both operands arrive in shared memory as they are, some steps ahead, and one window of
// `shifted` serves every tap.
#pragma once

#include "common/grid_dependency.cuh"
#include "conv1d/weight_gradient_copy.cuh"
#include "conv1d/weight_gradient_fragments.cuh"

namespace kernelopt {

template <typename T, typename Policy, GradientLayout kLayout>
__global__ void __launch_bounds__(Policy::kThreads, 1)
    conv1d_weight_gradient_mma_kernel(const __grid_constant__ WeightGradientMmaParams<T> p) {
#if KERNELOPT_HAS_MMA
  using Fragments = WeightGradientFragments<T, Policy, kLayout>;
  using SteadyTile = ChannelTile<T, Policy::kBlockSteady>;
  using ShiftedTile = ChannelTile<T, Policy::kBlockShifted>;
  constexpr bool kChannels = kLayout == GradientLayout::kChannels;
  constexpr int kSteadyWords = kChannels ? SteadyTile::kWords : Policy::kBlockSteady * 32;

  grid_dependency_launch();
  extern __shared__ __align__(128) uint32_t stages[];
  const int stage_words = kSteadyWords + p.shifted_words;

  uint32_t block = blockIdx.x;
  const int steady_first = static_cast<int>(block % p.steady_tiles) * Policy::kBlockSteady;
  block /= p.steady_tiles;
  const int shifted_first = static_cast<int>(block % p.shifted_tiles) * Policy::kBlockShifted;
  block /= p.shifted_tiles;
  const int tap_first = static_cast<int>(block % p.tap_chunks) * Policy::kTaps;
  block /= p.tap_chunks;
  const int group = static_cast<int>(block % p.groups);
  const int64_t share = block / p.groups;
  const int64_t begin = share * p.steps_per_share;
  const int steps =
      static_cast<int>(begin + p.steps_per_share < p.steps ? p.steps_per_share : p.steps - begin);

  const int steady_count = min(p.steady_copy.channels - steady_first, Policy::kBlockSteady);
  const int shifted_count = min(p.shifted_copy.channels - shifted_first, Policy::kBlockShifted);
  const T* const steady =
      p.steady + (static_cast<int64_t>(group) * p.steady_copy.channels + steady_first) *
                     p.steady_copy.channel_stride;
  const T* const shifted =
      p.shifted + (static_cast<int64_t>(group) * p.shifted_copy.channels + shifted_first) *
                      p.shifted_copy.channel_stride;
  // The window of a step begins at a whole piece.
  const int piece = (p.shifted_copy.wide ? 16 : 4) / static_cast<int>(sizeof(T));
  const int window_shift = tap_first * p.dilation - p.padding;
  const int element = window_shift & (piece - 1);

  // The step to copy next.
  int n = static_cast<int>(begin / p.row_steps);
  int row_step = static_cast<int>(begin % p.row_steps);
  int copied = 0;
  const auto copy_step = [&](int stage) {
    if (copied < steps) {
      uint32_t* const tile = stages + stage * stage_words;
      uint32_t* const window = tile + kSteadyWords;
      const T* const steady_entry = steady + n * p.steady_copy.batch_stride;
      const T* const shifted_entry = shifted + n * p.shifted_copy.batch_stride;
      const int steady_piece = p.steady_copy.wide ? 4 : 1,
                shifted_piece = p.shifted_copy.wide ? 4 : 1;
      const int i = row_step * kGradientPositions<T>;
      if constexpr (kChannels) {
        copy_positions<T, Policy::kThreads>(
            p.steady_copy, steady_entry, steady_count, i, 1, [&](int row, int index) {
              return shared_address(tile + SteadyTile::word(row, index * steady_piece));
            });
        copy_positions<T, Policy::kThreads>(
            p.shifted_copy, shifted_entry, shifted_count, i * p.stride + window_shift, p.stride,
            [&](int row, int index) {
              return shared_address(window + ShiftedTile::word(row, index * shifted_piece));
            });
      } else {
        copy_steady<T, Policy::kThreads>(
            p.steady_copy, steady_entry, steady_count, i, [&](int row, int index) {
              return shared_address(tile + steady_word(row, index * steady_piece));
            });
        copy_rows<T, Policy::kThreads>(
            p.shifted_copy, threadIdx.x, shifted_entry, shifted_count,
            i * p.stride + window_shift - element, [&](int row, int index) {
              return shared_address(window + row * p.window_pitch + index * shifted_piece);
            });
      }
      ++copied;
      if (++row_step == p.row_steps) {
        row_step = 0;
        ++n;
      }
    }
    copy_async_commit();
  };

  const int warp = threadIdx.x / 32;
  const int warp_shifted = warp % Policy::kWarpsShifted;
  const int warp_steady = warp / Policy::kWarpsShifted % Policy::kWarpsSteady;
  const int warp_k = warp / (Policy::kWarpsShifted * Policy::kWarpsSteady);
  float* const result = p.partial + (share * Policy::kWarpsK + warp_k) * p.numel;
  Fragments fragments;
  fragments.clear();
  int until_flush = p.flush_steps;
  bool flushed = false;

  for (int stage = 0; stage < p.stages - 1; ++stage) {
    copy_step(stage);
  }
  int stage = 0, copy_stage = p.stages - 1;
  for (int step = 0; step < steps; ++step) {
    if (p.stages == 4) {
      copy_async_wait<2>();
    } else if (p.stages == 3) {
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    __syncthreads();  // the step is here, and no warp reads the last one any more
    copy_step(copy_stage);
    const uint32_t* tile = stages + stage * stage_words;
    fragments.multiply(p, tile, tile + kSteadyWords, element,
                       warp_steady * Policy::kTilesSteady * 8,
                       warp_shifted * Policy::kTilesShifted * 16, warp_k * Fragments::kSteps);
    stage = stage + 1 == p.stages ? 0 : stage + 1;
    copy_stage = copy_stage + 1 == p.stages ? 0 : copy_stage + 1;
    if (--until_flush > 0 && step + 1 < steps) {
      continue;
    }
    until_flush = p.flush_steps;
    if (!flushed) {
      grid_dependency_wait();  // the kernel in front may use the memory of the sums
    }
    // Read anew, so that the compiler does not keep all addresses below in registers meanwhile.
    int flush_lane;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(flush_lane));
#pragma unroll
    for (int tap = 0; tap < Policy::kTaps; ++tap) {
#pragma unroll
      for (int tile = 0; tile < Policy::kTilesShifted; ++tile) {
#pragma unroll
        for (int i = 0; i < Policy::kTilesSteady * 4; ++i) {
          const int c = shifted_first + (warp_shifted * Policy::kTilesShifted + tile) * 16 +
                        flush_lane / 4 + i / 2 % 2 * 8;
          const int r = steady_first + (warp_steady * Policy::kTilesSteady + i / 4) * 8 +
                        flush_lane % 4 * 2 + i % 2;
          const int t = tap_first + tap;
          if (c < p.shifted_copy.channels && r < p.steady_copy.channels && t < p.kernel_size) {
            const int64_t row = static_cast<int64_t>(group) * p.steady_copy.channels + r;
            float& sum = result[(row * p.shifted_copy.channels + c) * p.kernel_size + t];
            const float value = fragments.sums[tap * Policy::kTilesShifted + tile][i / 4][i % 4];
            sum = flushed ? sum + value : value;
          }
        }
      }
    }
    fragments.clear();
    flushed = true;
  }
  copy_async_wait<0>();
#endif
}

}  // namespace kernelopt
