// The weight gradient (weight_gradient_problem.h) on tensor cores (mma.sync, sm_80 and later):
//   partial[share, r, c, t] = sum over the share's (n, i) of
//       steady[n, r, i] * shifted[n, c, i * stride - padding + t * dilation]
// A GEMM with M = shifted channels at each tap, N = steady channels, K = positions. A block owns a
// tile of both channels, kTaps taps and one share, and walks over kGradientPositions positions at a
// time. Four of its warps fetch rows into registers and pack them into a ring of stages in shared
// memory (fp32 split in two bf16 parts, three products); the others multiply. One window of
// `shifted` serves every tap.
#pragma once

#include "common/arrival_barrier.cuh"
#include "conv1d/weight_gradient_loads.cuh"

namespace kernelopt {

/// Four 8 x 8 matrices of 16-bit elements, one row address a lane.
__device__ __forceinline__ uint4 load_matrices(uint32_t row_address) {
  uint4 m;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(m.x), "=r"(m.y), "=r"(m.z), "=r"(m.w)
               : "r"(row_address)
               : "memory");
  return m;
}

/// Where 16 bytes `chunk` of a steady row lie in its tile, in words: rows of 128 bytes whose chunks
/// are permuted so that neither stores nor ldmatrix meet bank conflicts.
__device__ __forceinline__ int steady_chunk(int row, int chunk) {
  return row * 32 + ((chunk ^ row) & 7) * 4;
}

/// One step of a warp: all taps of its shifted channels for its steady ones.
template <typename T, typename Policy>
struct WeightGradientFragments {
  static constexpr int kParts = MmaTraits<T>::kParts;
  static constexpr int kSlots = Policy::kTaps * Policy::kTilesShifted;
  static constexpr int kSteps = kGradientPositions<T> / 16 / Policy::kWarpsK;  // of 16 positions
  static_assert(Policy::kTilesSteady % 2 == 0, "two tiles an ldmatrix");

  float sums[kSlots][Policy::kTilesSteady][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
#pragma unroll
      for (int tile = 0; tile < Policy::kTilesSteady; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums[slot][tile][i] = 0;
        }
      }
    }
  }

  /// @param steady  the tile's address, moved to the warp's channels
  /// @param window  moved to the lane's channel and word
  __device__ __forceinline__ void multiply(const WeightGradientMmaParams<T>& p, uint32_t steady,
                                           const uint32_t* window, int first_step) {
    const int lane = threadIdx.x % 32;
    // ldmatrix: lanes 0-7 name the rows of channels 0-7 and positions 0-7, 8-15 positions 8-15,
    // 16-31 the same of channels 8-15.
    const int row = lane % 8 + lane / 16 * 8, chunk = lane / 8 % 2;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int k = first_step + step;
      uint4 left[kParts][kSlots];
#pragma unroll
      for (int tap = 0; tap < Policy::kTaps; ++tap) {
#pragma unroll
        for (int tile = 0; tile < Policy::kTilesShifted; ++tile) {
#pragma unroll
          for (int part = 0; part < kParts; ++part) {
            const uint32_t* words =
                window + p.tap_word[tap] + tile * 16 * p.window_pitch + part * p.part_words + k * 8;
            const uint32_t* below = words + 8 * p.window_pitch;
            left[part][tap * Policy::kTilesShifted + tile] =
                make_uint4(words[0], below[0], words[4], below[4]);
          }
        }
      }
#pragma unroll
      for (int pair = 0; pair < Policy::kTilesSteady / 2; ++pair) {
        uint4 right[kParts];
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          right[part] =
              load_matrices(steady + steady_chunk(pair * 16 + row, part * 4 + k * 2 + chunk) * 4);
        }
        // Term by term over all sums: neighbouring products are independent.
        const auto add = [&](int left_part, int right_part) {
#pragma unroll
          for (int slot = 0; slot < kSlots; ++slot) {
            mma_m16n8k16<T>(sums[slot][pair * 2], left[left_part][slot], right[right_part].x,
                            right[right_part].y);
            mma_m16n8k16<T>(sums[slot][pair * 2 + 1], left[left_part][slot], right[right_part].z,
                            right[right_part].w);
          }
        };
        add(0, 0);
        if constexpr (kParts == 2) {
          add(1, 0);
          add(0, 1);
        }
      }
    }
  }
};

template <typename T, typename Policy, typename WindowLoads>
__global__ void __launch_bounds__(Policy::kThreads, 1)
    conv1d_weight_gradient_mma_kernel(const __grid_constant__ WeightGradientMmaParams<T> p) {
#if KERNELOPT_HAS_MMA
  using Fragments = WeightGradientFragments<T, Policy>;
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kSteadyRows = Policy::kBlockSteady / kGradientLoadingWarps;  // a warp loads
  constexpr int kSteadyWords = Policy::kBlockSteady * 32;

  extern __shared__ __align__(128) uint32_t stages[];
  __shared__ ArrivalBarrier full[WeightGradientLimits::kMaxStages];
  __shared__ ArrivalBarrier empty[WeightGradientLimits::kMaxStages];
  const int stage_words = kSteadyWords + Policy::kBlockShifted * p.window_pitch;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.stages; ++stage) {
      full[stage].init(kGradientLoadingWarps);
      empty[stage].init(Policy::kMultiplyingWarps);
    }
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
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
  int stage = 0;
  uint32_t round = 0;  // of the ring
  const auto advance = [&] {
    if (++stage == p.stages) {
      stage = 0;
      ++round;
    }
  };

  if (warp >= Policy::kMultiplyingWarps) {
    const int steady_row = steady_first + loading_warp() * kSteadyRows;
    const int steady_count = p.steady_channels - steady_row;
    const int shifted_count = p.shifted_channels - shifted_first;
    const T* const steady =
        p.steady +
        (static_cast<int64_t>(group) * p.steady_channels + steady_row) * p.steady_channel_stride;
    const T* const shifted =
        p.shifted + (static_cast<int64_t>(group) * p.shifted_channels + shifted_first) *
                        p.shifted_channel_stride;
    int n = static_cast<int>(begin / p.row_steps);
    int row_step = static_cast<int>(begin % p.row_steps);
    RowLoads<T, kSteadyRows> steady_loads;
    WindowLoads window_loads(p);
    const auto fetch_steady = [&] {
      const int i = row_step * kGradientPositions<T>;
      steady_loads.fetch(steady + n * p.steady_batch_stride + i, p.steady_channel_stride,
                         steady_count, i, p.steady_length, p.steady_leads);
    };
    const auto fetch_window = [&](int part) {
      const int i = row_step * kGradientPositions<T>;
      window_loads.fetch(p, shifted + n * p.shifted_batch_stride, shifted_count,
                         i * p.stride + tap_first * p.dilation - p.padding, part);
    };
    fetch_steady();
    fetch_window(0);
    for (int step = 0; step < steps; ++step) {
      uint32_t* const tile = stages + stage * stage_words;
      if (round > 0) {
        empty[stage].wait((round - 1) & 1);
      }
      const auto put = [&](int row, int word, const SplitPair& pair) {
        const int r = loading_warp() * kSteadyRows + row;
        tile[steady_chunk(r, word / 4) + word % 4] = pair.high;
        if constexpr (kParts == 2) {
          tile[steady_chunk(r, word / 4 + 4) + word % 4] = pair.low;
        }
      };
      steady_loads.store(p.steady_channel_stride, steady_count, p.steady_leads, put);
#pragma unroll 1
      for (int part = 0; part + 1 < WindowLoads::kParts; ++part) {
        window_loads.store(p, tile + kSteadyWords, shifted_count, part);
        fetch_window(part + 1);
      }
      if (++row_step == p.row_steps) {
        row_step = 0;
        ++n;
      }
      const bool more = step + 1 < steps;
      if (more) {
        fetch_steady();
      }
      window_loads.store(p, tile + kSteadyWords, shifted_count, WindowLoads::kParts - 1);
      full[stage].arrive_warp();
      if (more) {
        fetch_window(0);
      }
      advance();
    }
    return;
  }

  const int warp_shifted = warp % Policy::kWarpsShifted;
  const int warp_steady = warp / Policy::kWarpsShifted % Policy::kWarpsSteady;
  const int warp_k = warp / (Policy::kWarpsShifted * Policy::kWarpsSteady);
  const int steady_offset = warp_steady * Policy::kTilesSteady * 8 * 32;
  const int window_offset =
      kSteadyWords + (warp_shifted * Policy::kTilesShifted * 16 + lane / 4) * p.window_pitch +
      lane % 4;
  float* const result = p.partial + (share * Policy::kWarpsK + warp_k) * p.numel;
  Fragments fragments;
  fragments.clear();
  int until_flush = p.flush_steps;
  bool flushed = false;
  for (int step = 0; step < steps; ++step) {
    full[stage].wait(round & 1);
    const uint32_t* tile = stages + stage * stage_words;
    fragments.multiply(p, shared_address(tile + steady_offset), tile + window_offset,
                       warp_k * Fragments::kSteps);
    empty[stage].arrive_warp();
    advance();
    if (--until_flush > 0 && step + 1 < steps) {
      continue;
    }
    until_flush = p.flush_steps;
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
          if (c < p.shifted_channels && r < p.steady_channels && t < p.kernel_size) {
            const int64_t row = static_cast<int64_t>(group) * p.steady_channels + r;
            float& sum = result[(row * p.shifted_channels + c) * p.kernel_size + t];
            const float value = fragments.sums[tap * Policy::kTilesShifted + tile][i / 4][i % 4];
            sum = flushed ? sum + value : value;
          }
        }
      }
    }
    fragments.clear();
    flushed = true;
  }
#endif
}

}  // namespace kernelopt
