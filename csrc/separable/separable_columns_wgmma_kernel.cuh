// The pointwise half of a separable convolution on Hopper's tensor cores, over padded columns
// (separable_columns_depthwise_kernel.cuh):
//   result[n, c] = act(bias[n] + sum over k of weight[n, k] * columns[k, c])
// The copy engine brings both operands as boxes that need no more work, for in fp32 they were split
// when they were written. A block takes tiles of 128 channels of the result and kColumns columns in
// turn, or one of 192 and 208; of many tiles other warps store the results, beside the next
// products. Includes no torch header.
#pragma once

#include "separable/separable_columns_load.cuh"
#include "separable/separable_columns_multiply.cuh"
#include "separable/separable_columns_rows.cuh"
#include "separable/separable_columns_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The end of a tile: a warp stores its accumulators of 16 channels, 64 columns at a time.
template <typename T, int kColumns>
__device__ __forceinline__ void store_panels(const SeparableColumnsParams& p,
                                             const float (&accumulators)[kColumns / 2],
                                             const float (&biases)[2], float* turn, int channel,
                                             int column) {
  using Shape = SeparableColumnsShape;
  turn_columns<0>(accumulators, biases, turn);
  constexpr int kFirst = kColumns < Shape::kPanel ? kColumns : Shape::kPanel;
  store_columns<T, false, kFirst>(p, turn, channel, column);
  if constexpr (kColumns > Shape::kPanel) {
    turn_columns<Shape::kPanel>(accumulators, biases, turn);
    store_columns<T, false>(p, turn, channel, column + Shape::kPanel);
  }
  if constexpr (kColumns > 2 * Shape::kPanel) {
    turn_columns<2 * Shape::kPanel>(accumulators, biases, turn);
    constexpr int kRest = kColumns - 2 * Shape::kPanel;
    constexpr int kThird = kRest < Shape::kPanel ? kRest : Shape::kPanel;
    store_columns<T, false, kThird>(p, turn, channel, column + 2 * Shape::kPanel);
  }
  if constexpr (kColumns > 3 * Shape::kPanel) {
    turn_columns<3 * Shape::kPanel>(accumulators, biases, turn);
    constexpr int kRest = kColumns - 3 * Shape::kPanel;
    store_columns<T, false, kRest>(p, turn, channel, column + 3 * Shape::kPanel);
  }
}

/// Whether the parts made no sum of the warp NaN or Inf, which would have to be computed again.
template <typename T, int kRegisters>
__device__ __forceinline__ bool all_finite(const float (&accumulators)[kRegisters]) {
  if constexpr (MmaTraits<T>::kParts == 1) {
    return true;
  }
  float probes[2] = {0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) {
    probes[i % 2] = fmaf(accumulators[i], 0.0f, probes[i % 2]);
  }
  return __all_sync(0xffffffffu, probes[0] + probes[1] == 0.0f);
}

/// The end of a tile: a warp hands its accumulators of 16 channels to another that stores them.
/// @param turns  of its results, that it handed before
template <typename T, int kColumns>
__device__ __forceinline__ void hand_tile(const SeparableColumnsParams& p,
                                          const float (&accumulators)[kColumns / 2],
                                          const float (&biases)[2], float* turn, int channel,
                                          int column, uint32_t filled, uint32_t freed,
                                          volatile int* handed, uint32_t& turns) {
  using Shape = SeparableColumnsShape;
  constexpr int kPass = Shape::pass_columns(kColumns, static_cast<int>(sizeof(T)));
  const bool by_rows = all_finite<T>(accumulators);
  const float least = p.problem.activation == Activation::kRelu ? 0.0f : -INFINITY;
  T* const rows = reinterpret_cast<T*>(turn);
  using Rows = ColumnsRows<T, kPass>;
  const auto begin = [&] { mbarrier_wait(freed, (turns + 1) % 2); };
  const auto end = [&] {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      *handed = by_rows;
      mbarrier_arrive(filled);
    }
    ++turns;
  };
  begin();
  if (by_rows) {
    Rows::template turn<0>(p, accumulators, biases, least, rows, channel, column);
  } else {
    store_panels<T, kColumns>(p, accumulators, biases, turn, channel, column);
  }
  end();
  if constexpr (kPass < kColumns) {
    begin();
    if (by_rows) {
      Rows::template turn<kPass>(p, accumulators, biases, least, rows, channel, column + kPass);
    }
    end();
  }
}

/// What the warps that store do, each for two that multiply.
template <typename T, int kColumns>
__device__ __forceinline__ void store_items(const SeparableColumnsParams& p,
                                            const unsigned char* turns, uint32_t filled,
                                            const volatile int* handed) {
  using Shape = SeparableColumnsShape;
  constexpr int kSize = static_cast<int>(sizeof(T));
  constexpr int kPass = Shape::pass_columns(kColumns, kSize);
  constexpr int kTurnBytes = Shape::rows_bytes(kColumns, kSize);
  const int first = threadIdx.x / 32 % 4;
  uint32_t parity = 0;
  for (int at = blockIdx.x; at < p.items; at += gridDim.x) {
    const ColumnsItem<false> item(p, at, kColumns);
#pragma unroll 1
    for (int pass = 0; pass < kColumns / kPass; ++pass) {
#pragma unroll 1
      for (int own = first; own < Shape::kProductWarps; own += 4) {
        mbarrier_wait(filled + own * 8, parity);
        if (handed[own] != 0) {
          ColumnsRows<T, kPass>::store(p, reinterpret_cast<const T*>(turns + own * kTurnBytes),
                                       item.channel + own * 16, item.column + pass * kPass);
        }
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
          mbarrier_arrive(filled + Shape::kWarpBarrierBytes + own * 8);
        }
      }
      parity ^= 1;
    }
  }
}

/// What the warps that multiply do.
/// @param turns   room of each warp for results
/// @param filled  with kStorers: barriers of the warps' results; those of their end follow
template <typename T, int kColumns, bool kShares, bool kStorers>
__device__ __forceinline__ void multiply_items(const SeparableColumnsParams& p,
                                               const SeparableColumnsMaps& maps, uint32_t stages,
                                               unsigned char* turns_place, uint32_t full,
                                               uint32_t empty, uint32_t filled,
                                               volatile int* handed) {
  using Shape = SeparableColumnsShape;
  constexpr int kSize = static_cast<int>(sizeof(T));
  constexpr int kStageBytes = Shape::stage_bytes(kColumns);
  constexpr int kTurnBytes = kStorers ? Shape::rows_bytes(kColumns, kSize) : Shape::kTurnBytes;
  constexpr bool kSplit = MmaTraits<T>::kParts == 2;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* const turn = reinterpret_cast<float*>(turns_place + warp * kTurnBytes);
  // Units of 16 bytes of a descriptor, between 16 steps of the sum and between parts.
  constexpr int kLeftStep = 2, kLeftLow = 4;
  constexpr int kRightStep = 16 * Shape::kChunkBytes / 16, kRightLow = Shape::kPanelBytes / 2 / 16;
  constexpr int kSteps = Shape::kChunkElements / 16 / MmaTraits<T>::kParts;
  constexpr bool kHalves = kColumns < Shape::kPanel;
  constexpr bool kLoads = kColumns == Shape::kWideColumns;
  ColumnsCursor<T, kColumns> cursor{static_cast<int>(blockIdx.x)};
  // Weights that the kernel in front does not pack come before its end.
  for (int pass = p.packs ? 1 : 0; kLoads && threadIdx.x == 0 && pass < 2; ++pass) {
    if (pass == 1) {
      grid_dependency_wait();
    }
    ColumnsCursor<T, kColumns> first = cursor;
    for (int to = 0; to < p.stages; ++to) {
      first.load(p, maps, stages + to * kStageBytes, full + to * 8, p.packs || pass == 0,
                 pass == 1);
    }
    if (pass == 1) {
      cursor = first;
    }
  }
  if constexpr (kLoads) {
    __syncwarp();
  }
  grid_dependency_wait();  // rather than at a barrier, beside the kernel in front
  float accumulators[kColumns / 2];
  int stage = 0;
  uint32_t parity = 0, turns = 0;
  for (int at = blockIdx.x; at < p.items; at += gridDim.x) {
    const ColumnsItem<kShares> item(p, at, kColumns);
    const int channel = item.channel + (kHalves ? warp % 4 : warp) * 16;
    const int first_column = item.column + (kHalves ? warp / 4 * kColumns : 0);
    float biases[2] = {0.0f, 0.0f};
    if (p.problem.pointwise_bias != nullptr && item.chunk == 0) {  // the first share's
      const T* bias = static_cast<const T*>(p.problem.pointwise_bias);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = channel + lane / 4 + half * 8;
        biases[half] = row < p.problem.out_channels ? to_accumulate(bias[row]) : 0.0f;
      }
    }
    int previous = -1;
    uint32_t previous_parity = 0;
    const auto release = [&] {
      __syncwarp();
      if (lane == 0 && previous >= 0) {
        mbarrier_arrive(empty + previous * 8);
        if (kLoads && warp == 0) {
          mbarrier_wait(empty + previous * 8, previous_parity);
          cursor.load(p, maps, stages + previous * kStageBytes, full + previous * 8);
        }
      }
      if constexpr (kLoads) {
        __syncwarp();
      }
    };
    for (int chunk = item.chunk; chunk < item.end; ++chunk) {
      mbarrier_wait(full + stage * 8, parity);
      const uint32_t place = stages + stage * kStageBytes;
      const uint64_t left =
          wgmma_swizzled_descriptor(place + (kHalves ? 0 : warp / 4 * (64 * Shape::kChunkBytes)));
      const uint64_t right = wgmma_column_descriptor(
          place + Shape::weight_bytes(kColumns) + (kHalves ? warp / 4 * 64 : 0),
          Shape::kPanelBytes);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const uint64_t row = left + step * kLeftStep, column = right + step * kRightStep;
        multiply_columns<T>(accumulators, row, column, step == 0 ? chunk - item.chunk : 1);
        if constexpr (kSplit) {
          multiply_columns<T>(accumulators, row + kLeftLow, column, 1);
          multiply_columns<T>(accumulators, row, column + kRightLow, 1);
        }
      }
      wgmma_commit();
      wgmma_wait<1>();
      release();
      previous = stage;
      previous_parity = parity;
      if (++stage == p.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    wgmma_wait<0>();
    wgmma_hold(accumulators);
    release();
    if constexpr (kShares) {
      turn_columns<0>(accumulators, biases, turn);
      cluster_barrier();
      store_columns<T, true>(p, turn, channel, first_column);
    } else if constexpr (kStorers) {
      hand_tile<T, kColumns>(p, accumulators, biases, turn, channel, item.column, filled + warp * 8,
                             filled + Shape::kWarpBarrierBytes + warp * 8, handed + warp, turns);
    } else {
      store_panels<T, kColumns>(p, accumulators, biases, turn, channel, first_column);
    }
  }
}

#endif

/// @tparam kColumns  of a warpgroup: 32, 64, 128, 160, 192 or 208
/// @tparam kStorers  each warp that multiplies hands its results to one that stores
template <typename T, int kColumns, bool kShares, bool kStorers>
__global__ void __launch_bounds__(SeparableColumnsShape::threads(kColumns, kStorers), 1)
    separable_columns_wgmma_kernel(const __grid_constant__ SeparableColumnsParams p,
                                   const __grid_constant__ SeparableColumnsMaps maps) {
#if KERNELOPT_HAS_WGMMA
  using Shape = SeparableColumnsShape;
  constexpr int kSize = static_cast<int>(sizeof(T));
  constexpr int kStageBytes = Shape::stage_bytes(kColumns);
  constexpr int kTurnBytes = kStorers ? Shape::rows_bytes(kColumns, kSize) : Shape::kTurnBytes;
  static_assert(!kShares || kColumns == Shape::kPanel, "sums of a single turn");

  // Stages, turns, barriers.
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t stages = shared_address(shared);
  const int turn_offset = p.stages * kStageBytes;
  constexpr int kWarps = Shape::product_warps(kColumns);
  const uint32_t full = stages + turn_offset + kWarps * kTurnBytes;
  const uint32_t empty = full + p.stages * 8;
  // Of each warp's results: that they are there, that they are stored, and whether there are any.
  const uint32_t filled = empty + p.stages * 8, freed = filled + Shape::kWarpBarrierBytes;
  volatile int* const handed = reinterpret_cast<int*>(
      shared + turn_offset + kWarps * kTurnBytes + 2 * p.stages * 8 + 2 * Shape::kWarpBarrierBytes);
  if (threadIdx.x == 0) {
    for (int i = 0; kStorers && i < Shape::kProductWarps; ++i) {
      mbarrier_init(filled + i * 8, 1);
      mbarrier_init(freed + i * 8, 1);
    }
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(full + stage * 8, 1);
      mbarrier_init(empty + stage * 8, kWarps);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  unsigned char* const turns = shared + turn_offset;
  const auto load = [&] {
    if (lane == 0 && warp == kWarps) {
      load_columns<T, kColumns, kShares>(p, maps, stages, full, empty);
    }
  };
  const auto multiply = [&] {
    multiply_items<T, kColumns, kShares, kStorers>(p, maps, stages, turns, full, empty, filled,
                                                   handed);
  };
  if constexpr (kStorers) {
    if (warp < Shape::kProductWarps) {
      take_registers<Shape::kProductRegisters>();
      multiply();
    } else if (warp < Shape::kProductWarps + 4) {
      give_registers<Shape::kLoadRegisters>();
      load();
    } else {
      give_registers<Shape::kStoreRegisters>();
      grid_dependency_wait();
      store_items<T, kColumns>(p, turns, filled, handed);
    }
  } else {
    if (kColumns != Shape::kWideColumns && warp >= kWarps) {
      load();
      return;
    }
    multiply();
  }
  if constexpr (kShares) {
    cluster_barrier();  // others may still read this block's sums
  }
#endif
}

}  // namespace kernelopt
