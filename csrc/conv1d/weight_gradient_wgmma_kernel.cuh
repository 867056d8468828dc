// The weight gradient (weight_gradient_problem.h) on Hopper's tensor cores (wgmma):
//   partial[share, t, r, c] = sum over the share's (n, i) of
//       steady[n, r, i] * shifted[n, c, i * stride - padding + t * dilation]
// A GEMM with M = steady channels, N = shifted channels at each tap, K = positions. A block owns
// 64 or 128 x 64 channels, some taps and one share. A warpgroup loads
// (weight_gradient_wgmma_load.cuh); two multiply kTaps taps each, the left operand in registers,
// the right one in shared memory, where a tap is a shift. fp32: three products of bf16 parts.
#pragma once

#include "conv1d/weight_gradient_wgmma_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// A warp's rows of a steady tile at 16 positions, as registers of wgmma; fp32 in two parts.
template <typename T>
__device__ __forceinline__ void load_steady(uint32_t tile, int row, int k,
                                            uint32_t (&parts)[MmaTraits<T>::kParts][4]) {
  const int lane = threadIdx.x % 32;
  if constexpr (sizeof(T) == 2) {
    load_blocks(parts[0], tile + steady_place<T>(row + lane % 16, k * 32 + lane / 16 * 16));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t place =
          tile + steady_place<T>(row + lane / 4 + i % 2 * 8, k * 64 + i / 2 * 32 + lane % 4 * 8);
      float values[2];
      asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                   : "=f"(values[0]), "=f"(values[1])
                   : "r"(place)
                   : "memory");
      const SplitPair pair = split_bf16_unlimited(values[0], values[1]);
      parts[0][i] = pair.high;
      parts[1][i] = pair.low;
    }
  }
}

/// Adds sums to the share's in device memory, or puts them there.
/// @param row, tap  the warpgroup's first
template <typename T, int kTaps>
__device__ __forceinline__ void store_weight_gradient(const WeightGradientWgmmaParams<T>& p,
                                                      const WeightGradientBlock& block, int row,
                                                      int tap, const float (&sums)[kTaps][32],
                                                      bool add) {
  // Read anew, so that the compiler does not keep addresses in registers meanwhile.
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  const int channels = p.shifted_copy.channels;
  const int64_t next_tap = static_cast<int64_t>(p.groups) * p.steady_copy.channels * channels;
  const bool pairs = channels % 2 == 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + threadIdx.x / 32 % 4 * 16 + lane / 4 + half * 8;
    const int c = block.shifted_first + lane % 4 * 2;
    const int64_t steady = static_cast<int64_t>(block.group) * p.steady_copy.channels + r;
    const int columns = r < p.steady_copy.channels ? channels - c : 0;
    float* target = p.partial + block.share * p.numel + tap * next_tap + steady * channels + c;
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
      if (tap + t < p.kernel_size) {
        float2 before[8] = {};
        if (add) {
#pragma unroll
          for (int eight = 0; eight < 8; ++eight) {
            const float* from = target + eight * 8;
            if (pairs && eight * 8 < columns) {
              before[eight] = *reinterpret_cast<const float2*>(from);
            } else if (eight * 8 < columns) {
              before[eight].x = from[0];
              before[eight].y = eight * 8 + 1 < columns ? from[1] : 0.0f;
            }
          }
        }
#pragma unroll
        for (int eight = 0; eight < 8; ++eight) {
          float* to = target + eight * 8;
          const float first = before[eight].x + sums[t][eight * 4 + half * 2];
          const float second = before[eight].y + sums[t][eight * 4 + half * 2 + 1];
          if (pairs && eight * 8 < columns) {
            *reinterpret_cast<float2*>(to) = make_float2(first, second);
          } else if (eight * 8 < columns) {
            to[0] = first;
            if (eight * 8 + 1 < columns) {
              to[1] = second;
            }
          }
        }
      }
      target += next_tap;
    }
  }
}

#endif

template <typename T, int kTaps, bool kHalf>
__global__ void __launch_bounds__(WeightGradientWgmmaShape::kThreads, 1)
    conv1d_weight_gradient_wgmma_kernel(const __grid_constant__ WeightGradientWgmmaParams<T> p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = WeightGradientWgmmaShape;
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kPositions = Shape::positions(sizeof(T), kHalf);
  constexpr int kSteps = kPositions / 16;

  grid_dependency_launch();
  extern __shared__ __align__(128) unsigned char shared[];
  const int tap_groups = Shape::kWarpgroups / p.row_groups;
  const WeightGradientBlock block(p, shared_address(shared), kTaps * tap_groups);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Shape::kOperands; ++stage) {
      mbarrier_init(block.full + stage * 8, 4);
      mbarrier_init(block.empty + stage * 8, Shape::kWarpgroups * 4);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  const int warpgroup = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (warpgroup == Shape::kWarpgroups) {
    give_registers<Shape::kLoadRegisters>();
    load_weight_gradient<T, kPositions>(p, block);
    return;
  }
  take_registers<Shape::kProductRegisters>();
  const int tile_row = (p.row_groups == 2 ? warpgroup * 64 : 0);
  const int tap = block.tap_first + (p.row_groups == 2 ? 0 : warpgroup * kTaps);
  const int row = tile_row + threadIdx.x / 32 % 4 * 16;
  uint32_t offsets[kTaps];  // of the taps in an operand; those beyond the last are as the first
#pragma unroll
  for (int t = 0; t < kTaps; ++t) {
    const int distance = tap + t < p.kernel_size ? (tap + t - block.tap_first) * p.dilation : 0;
    offsets[t] = operand_unit(p, block.element(p) + distance);
  }
  float sums[kTaps][32];
  uint32_t fragments[2][kParts][4];
  int stage = 0, previous = -1, steady_stage = 0;
  uint32_t parity = 0;
  const auto release = [&] {
    __syncwarp();
    if (threadIdx.x % 32 == 0 && previous >= 0) {
      mbarrier_arrive(block.empty + previous * 8);
    }
  };
  for (int begin = 0; begin < block.steps; begin += p.flush_steps) {
    const int steps = min(block.steps - begin, p.flush_steps);
    for (int step = 0; step < steps; ++step) {
      mbarrier_wait(block.full + stage * 8, parity);
      const uint32_t tile = block.steady + steady_stage * p.steady_bytes;
      const uint64_t operand =
          wgmma_interleaved_descriptor(block.operands + stage * p.operand_bytes, p.operand_units);
      const uint32_t low = p.operand_bytes / 32;  // half of it in units
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        if constexpr (kSteps == 1) {
          wgmma_wait<0>();  // for the same registers
        }
        load_steady<T>(tile, row, k, fragments[k % 2]);
        wgmma_fence();
#pragma unroll
        for (int t = 0; t < kTaps; ++t) {
          const uint64_t right = operand + offsets[t] + k * 16;
          wgmma_m64k16<T, true>(sums[t], fragments[k % 2][0], right, k == 0 ? step : 1);
          if constexpr (kParts == 2) {
            wgmma_m64k16<T, true>(sums[t], fragments[k % 2][1], right, 1);
            wgmma_m64k16<T, true>(sums[t], fragments[k % 2][0], right + low, 1);
          }
        }
        wgmma_commit();
        wgmma_wait<1>();
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          wgmma_hold(fragments[(k + 1) % 2][part]);
        }
        if (k == 0) {
          release();
        }
      }
      previous = stage;
      if (++stage == Shape::kOperands) {
        stage = 0;
        parity ^= 1;
      }
      steady_stage = steady_stage + 1 == Shape::kOperands + p.ahead ? 0 : steady_stage + 1;
    }
    wgmma_wait<0>();
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
      wgmma_hold(sums[t]);
    }
    release();
    previous = -1;
    if (begin == 0) {
      grid_dependency_wait();  // the kernel in front may use the memory of the sums
    }
    store_weight_gradient(p, block, block.steady_first + tile_row, tap, sums, begin > 0);
  }
#endif
}

}  // namespace kernelopt
