// The pointwise half of a separable convolution on Hopper's tensor cores, over padded columns
// (separable_columns_depthwise_kernel.cuh):
//   result[n, c] = act(bias[n] + sum over k of weight[n, k] * columns[k, c])
// The copy engine brings both operands as boxes that need no more work, for in fp32 they were split
// when they were written. A block takes tiles of 128 channels of the result and kColumns columns in
// turn. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/grid_dependency.cuh"
#include "separable/separable_columns_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// A block's share of an item's chunks.
template <bool kShares>
struct ColumnsItem {
  int channel, column;  // the first
  int chunk = 0, end;

  __device__ __forceinline__ ColumnsItem(const SeparableColumnsParams& p, int at, int columns)
      : end(p.chunks) {
    const int item = kShares ? at / p.shares : at;
    channel = item % p.channel_blocks * SeparableColumnsShape::kChannels;
    column = item / p.channel_blocks * columns;
    if constexpr (kShares) {
      const int share = at - item * p.shares;
      chunk = p.chunks * share / p.shares;
      end = p.chunks * (share + 1) / p.shares;
    }
  }
};

/// Starts the copies of all stages, by one thread.
template <typename T, int kColumns, bool kShares>
__device__ __forceinline__ void load_columns(const SeparableColumnsParams& p,
                                             const SeparableColumnsMaps& maps, uint32_t stages,
                                             uint32_t full, uint32_t empty) {
  using Shape = SeparableColumnsShape;
  constexpr int kStageBytes = Shape::stage_bytes(kColumns);
  constexpr int kChunkK = Shape::kChunkElements / MmaTraits<T>::kParts;
  int stage = 0;
  uint32_t parity = 1;
  for (int at = blockIdx.x; at < p.items; at += gridDim.x) {
    const ColumnsItem<kShares> item(p, at, kColumns);
    for (int chunk = item.chunk; chunk < item.end; ++chunk) {
      mbarrier_wait(empty + stage * 8, parity);
      const uint32_t barrier = full + stage * 8, place = stages + stage * kStageBytes;
      mbarrier_arrive_expect(barrier, kStageBytes);
      tensor_load(place, &maps.weights, {chunk * Shape::kChunkElements, item.channel, 0, 0},
                  barrier);
#pragma unroll
      for (int panel = 0; panel < kColumns / Shape::kPanel; ++panel) {
        tensor_load(place + Shape::kWeightBytes + panel * Shape::kPanelBytes, &maps.columns,
                    {item.column + panel * Shape::kPanel, chunk * kChunkK, 0, 0}, barrier);
      }
      if (++stage == p.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

#endif

/// @tparam kTiles  of kPart columns, products of their own
/// @tparam kShares  the blocks of a cluster share the chunks of an item; one tile of 64 columns
template <typename T, int kTiles, int kPart, bool kShares>
__global__ void __launch_bounds__(SeparableColumnsShape::kProductThreads, 1)
    separable_columns_wgmma_kernel(const __grid_constant__ SeparableColumnsParams p,
                                   const __grid_constant__ SeparableColumnsMaps maps) {
#if KERNELOPT_HAS_WGMMA
  using Shape = SeparableColumnsShape;
  constexpr int kColumns = kTiles * kPart, kStageBytes = Shape::stage_bytes(kColumns);
  constexpr bool kSplit = MmaTraits<T>::kParts == 2;
  static_assert(!kShares || kColumns == Shape::kPanel, "sums of a single turn");

  // Stages, turns, barriers.
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t stages = shared_address(shared);
  const int turn_offset = p.stages * kStageBytes;
  const uint32_t full = stages + turn_offset + Shape::kWarpgroups * 4 * Shape::kTurnBytes;
  const uint32_t empty = full + p.stages * 8;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(full + stage * 8, 1);
      mbarrier_init(empty + stage * 8, Shape::kWarpgroups * 4);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  grid_dependency_wait();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp == Shape::kWarpgroups * 4) {
    if (lane == 0) {
      load_columns<T, kColumns, kShares>(p, maps, stages, full, empty);
    }
    return;
  }

  float* const turn = reinterpret_cast<float*>(shared + turn_offset + warp * Shape::kTurnBytes);
  // Units of 16 bytes of a descriptor, between 16 steps of the sum and between parts.
  constexpr int kLeftStep = 2, kLeftLow = 4;
  constexpr int kRightStep = 16 * Shape::kChunkBytes / 16, kRightLow = Shape::kPanelBytes / 2 / 16;
  constexpr int kSteps = Shape::kChunkElements / 16 / MmaTraits<T>::kParts;
  constexpr int kTileUnits = kPart / Shape::kPanel * Shape::kPanelBytes / 16;
  float accumulators[kTiles][kPart / 2];
  int stage = 0;
  uint32_t parity = 0;
  for (int at = blockIdx.x; at < p.items; at += gridDim.x) {
    const ColumnsItem<kShares> item(p, at, kColumns);
    int previous = -1;
    const auto release = [&] {
      __syncwarp();
      if (lane == 0 && previous >= 0) {
        mbarrier_arrive(empty + previous * 8);
      }
    };
    for (int chunk = item.chunk; chunk < item.end; ++chunk) {
      mbarrier_wait(full + stage * 8, parity);
      const uint32_t place = stages + stage * kStageBytes;
      const uint64_t left =
          wgmma_swizzled_descriptor(place + warp / 4 * (Shape::kWeightBytes / Shape::kWarpgroups));
      const uint64_t right =
          wgmma_column_descriptor(place + Shape::kWeightBytes, Shape::kPanelBytes);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          const uint64_t row = left + step * kLeftStep;
          const uint64_t column = right + tile * kTileUnits + step * kRightStep;
          wgmma_m64k16<T, false, true>(accumulators[tile], row, column,
                                       step == 0 ? chunk - item.chunk : 1);
          if constexpr (kSplit) {
            wgmma_m64k16<T, false, true>(accumulators[tile], row + kLeftLow, column, 1);
            wgmma_m64k16<T, false, true>(accumulators[tile], row, column + kRightLow, 1);
          }
        }
      }
      wgmma_commit();
      wgmma_wait<1>();
      release();
      previous = stage;
      if (++stage == p.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    wgmma_wait<0>();
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      wgmma_hold(accumulators[tile]);
    }
    release();
    const int channel = item.channel + warp * 16;
    float biases[2] = {0.0f, 0.0f};
    if (p.problem.pointwise_bias != nullptr && item.chunk == 0) {  // the first share's
      const T* bias = static_cast<const T*>(p.problem.pointwise_bias);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = channel + lane / 4 + half * 8;
        biases[half] = row < p.problem.out_channels ? to_accumulate(bias[row]) : 0.0f;
      }
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int column = item.column + tile * kPart;
      turn_columns<0>(accumulators[tile], biases, turn);
      if constexpr (kShares) {
        cluster_barrier();
      }
      store_columns<T, kShares>(p, turn, channel, column);
      if constexpr (kPart > Shape::kPanel) {
        turn_columns<Shape::kPanel>(accumulators[tile], biases, turn);
        store_columns<T, kShares>(p, turn, channel, column + Shape::kPanel);
      }
    }
  }
  if constexpr (kShares) {
    cluster_barrier();  // others may still read this block's sums
  }
#endif
}

}  // namespace kernelopt
