// The pointwise product in channels_last on Hopper's tensor cores (wgmma):
//   result[m, n] = act(bias[n] + sum over k of left[m, k] * right[n, k])
// A block owns kN columns and walks over tiles of kTilesM * 64 rows. Four warps load
// (channel_gemm_wgmma_load.cuh); two warpgroups take tiles in turn, so that one multiplies while
// the other one stores (channel_gemm_wgmma_store.cuh). In 16 bit both operands come from shared
// memory; fp32 is split in two bf16 parts in registers, three products. Rows are contiguous, of any
// length.
#pragma once

#include "separable/channel_gemm_wgmma_load.cuh"
#include "separable/channel_gemm_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// 64 x 16 of the left operand, split. Thread q of four holds channels 4 q to 4 q + 3, one read of
/// shared memory, where the tensor cores expect 2 q, 2 q + 1, 2 q + 8 and 2 q + 9: the packed
/// weights are in the same order.
struct SplitFragment {
  uint32_t high[4], low[4];

  __device__ __forceinline__ void load(uint32_t address) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float4 v;
      asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                   : "r"(address + half * 8 * ChannelGemmWgmmaShape::kChunkBytes));
      const SplitPair first = split_bf16_unlimited(v.x, v.y);
      const SplitPair second = split_bf16_unlimited(v.z, v.w);
      high[half] = first.high;
      low[half] = first.low;
      high[half + 2] = second.high;
      low[half + 2] = second.low;
    }
  }
  __device__ __forceinline__ void hold() {
    wgmma_hold(high);
    wgmma_hold(low);
  }
};

/// accumulators (+)= one stage, fp32. A fragment is made while the products of the other one run.
/// Returns with one group of products under way; calls `before_release` when those of earlier
/// stages are done.
template <int kTilesM, int kRegisters, typename Release>
__device__ __forceinline__ void multiply_split_stage(float (&accumulators)[kTilesM][kRegisters],
                                                     SplitFragment (&fragments)[2], uint32_t left,
                                                     uint64_t right, int steps, int accumulate,
                                                     Release&& release) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int row = warp * 16 + lane / 4;
  const uint32_t address = left + row * ChannelGemmWgmmaShape::kChunkBytes;
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    if (step < steps) {
      const uint32_t place = address + swizzled_unit<float>(step * 4 + lane % 4, row) * 16;
#pragma unroll
      for (int m = 0; m < kTilesM; ++m) {
        constexpr int kTileBytes = 64 * ChannelGemmWgmmaShape::kChunkBytes;
        SplitFragment& fragment = fragments[kTilesM == 1 ? step : m];
        fragment.load(place + m * kTileBytes);
        wgmma_fence();
        wgmma_m64k16<float>(accumulators[m], fragment.high, right + step * 2, accumulate);
        wgmma_m64k16<float>(accumulators[m], fragment.low, right + step * 2, 1);
        wgmma_m64k16<float>(accumulators[m], fragment.high, right + 4 + step * 2, 1);
        wgmma_commit();
        wgmma_wait<1>();
        fragments[kTilesM == 1 ? 1 - step : 1 - m].hold();
        if (step == 0 && m == 0) {
          release();
        }
      }
      accumulate = 1;
    }
  }
}

/// The same in 16 bit. Always whole chunks: with a run-time number of steps the compiler serializes
/// the products.
template <typename T, int kTilesM, int kRegisters, typename Release>
__device__ __forceinline__ void multiply_stage(float (&accumulators)[kTilesM][kRegisters],
                                               uint64_t left, uint64_t right, int accumulate,
                                               Release&& release) {
  constexpr int kTileUnits = 64 * ChannelGemmWgmmaShape::kChunkBytes / 16;
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
#pragma unroll
    for (int m = 0; m < kTilesM; ++m) {
      wgmma_m64k16<T>(accumulators[m], left + m * kTileUnits + step * 2, right + step * 2,
                      step == 0 ? accumulate : 1);
    }
  }
  wgmma_commit();
  wgmma_wait<1>();
  release();
}

#endif

template <typename T, int kTilesM, int kN>
__global__ void __launch_bounds__(ChannelGemmWgmmaShape::kThreads, 1)
    channel_gemm_wgmma_kernel(const __grid_constant__ ChannelGemmWgmmaParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = ChannelGemmWgmmaShape;
  constexpr int kRows = kTilesM * 64;
  constexpr int kLeftBytes = kRows * Shape::kChunkBytes, kRightBytes = kN * Shape::kChunkBytes;
  [[maybe_unused]] constexpr int kChunkK = Shape::kChunkBytes / static_cast<int>(sizeof(T));

  // Resident weights, stages, biases, barriers.
  extern __shared__ __align__(1024) unsigned char shared[];
  const int resident_bytes = p.resident ? p.chunks * kRightBytes : 0;
  const int left_bytes = (p.together ? Shape::kWarpgroups : 1) * kLeftBytes;
  const int stage_bytes = left_bytes + (p.resident ? 0 : kRightBytes);
  float* biases = reinterpret_cast<float*>(shared + resident_bytes + p.stages * stage_bytes);
  const uint32_t resident = shared_address(shared), stages = resident + resident_bytes;
  const uint32_t full = shared_address(biases + kN), empty = full + p.stages * 8;
  const uint32_t turn = empty + p.stages * 8, ready = turn + Shape::kWarpgroups * 8;
  const int first_column = blockIdx.y * kN;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(full + stage * 8, p.packed != nullptr && !p.resident ? 5 : 4);
      mbarrier_init(empty + stage * 8, p.together ? Shape::kWarpgroups * 4 : 4);
    }
    for (int i = 0; i < Shape::kWarpgroups; ++i) {
      mbarrier_init(turn + i * 8, 4);
    }
    for (int chunk = 0; p.resident && chunk < p.chunks; ++chunk) {
      mbarrier_init(ready + chunk * 8, 1);
    }
    mbarrier_fence_init();
  }
  if (threadIdx.x < kN) {
    const int column = first_column + static_cast<int>(threadIdx.x);
    const T* bias = static_cast<const T*>(p.bias);
    biases[threadIdx.x] = bias != nullptr && column < p.n ? to_accumulate(bias[column]) : 0.0f;
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpgroup = warp / 4;
  if (warpgroup == Shape::kWarpgroups) {
    give_registers<Shape::kLoadRegisters>();
    load_channel_stages<T, kTilesM, kN>(p, resident, stages, full, empty, ready);
    return;
  }

  take_registers<Shape::kProductRegisters>();
  float accumulators[kTilesM][kN / 2];
  [[maybe_unused]] SplitFragment fragments[2];
  int stage = 0;
  uint32_t parity = 0, turn_parity = warpgroup == 0 ? 1 : 0;
  const auto skip_tile = [&] {
    stage += p.chunks;
    while (stage >= p.stages) {
      stage -= p.stages;
      parity ^= 1;
    }
  };
  const int turns = p.together ? 1 : Shape::kWarpgroups;
  if (warpgroup == 1 && !p.together) {
    skip_tile();
  }
  for (int tile = blockIdx.x + (p.together ? 0 : warpgroup * gridDim.x); tile < p.row_tiles;
       tile += turns * gridDim.x) {
    if (!p.together) {
      // Also keeps a warpgroup from waiting for a stage that is still two phases away.
      mbarrier_wait(turn + warpgroup * 8, turn_parity);
      turn_parity ^= 1;
    }
    int previous = -1;
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      const uint32_t place = stages + stage * stage_bytes;
      const uint32_t left = place + (p.together ? warpgroup * kLeftBytes : 0);
      const uint32_t right = p.resident ? resident + chunk * kRightBytes : place + left_bytes;
      const auto release = [&] {
        if (previous >= 0) {
          __syncwarp();
          if (lane == 0) {
            mbarrier_arrive(empty + previous * 8);
          }
        }
      };
      mbarrier_wait(full + stage * 8, parity);
      if (p.resident && p.packed != nullptr) {
        mbarrier_wait(ready + chunk * 8, 0);
      }
      const uint64_t weights = wgmma_swizzled_descriptor(right);
      if constexpr (MmaTraits<T>::kParts == 2) {
        const int steps = min(kChunkK, p.k - chunk * kChunkK + 15) / 16;
        multiply_split_stage(accumulators, fragments, left, weights, steps, chunk, release);
      } else {
        multiply_stage<T>(accumulators, wgmma_swizzled_descriptor(left), weights, chunk, release);
      }
      previous = stage;
      if (++stage == p.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    if (!p.together) {
      __syncwarp();
      if (lane == 0) {
        mbarrier_arrive(turn + (1 - warpgroup) * 8);
      }
    }
    wgmma_wait<0>();
    if constexpr (MmaTraits<T>::kParts == 2) {
      fragments[0].hold();
      fragments[1].hold();
    }
#pragma unroll
    for (int m = 0; m < kTilesM; ++m) {
      wgmma_hold(accumulators[m]);
    }
    __syncwarp();
    if (lane == 0) {
      mbarrier_arrive(empty + previous * 8);
    }
    const int64_t part = p.together ? int64_t{tile} * Shape::kWarpgroups + warpgroup : tile;
    store_channel_tile<T>(p, accumulators, part * kRows + warp % 4 * 16 + lane / 4, first_column,
                          biases);
    if (!p.together) {
      skip_tile();
    }
  }
#endif
}

}  // namespace kernelopt
