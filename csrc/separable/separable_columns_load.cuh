// How the operands of the product over padded columns come to shared memory: as boxes, by one
// thread. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/grid_dependency.cuh"
#include "common/wgmma.cuh"
#include "separable/separable_columns_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// A tile, or a block's share of its chunks.
template <bool kShares>
struct ColumnsItem {
  int channel, column;  // the first
  int chunk = 0, end;

  __device__ __forceinline__ ColumnsItem(const SeparableColumnsParams& p, int at, int columns)
      : end(p.chunks) {
    const int item = kShares ? at / p.shares : at;
    channel = item % p.channel_blocks * SeparableColumnsShape::tile_channels(columns);
    column = item / p.channel_blocks * SeparableColumnsShape::tile_columns(columns);
    if constexpr (kShares) {
      const int share = at - item * p.shares;
      chunk = p.chunks * share / p.shares;
      end = p.chunks * (share + 1) / p.shares;
    }
  }
};

/// The copies of a block's stages one by one, by one thread.
template <typename T, int kColumns>
struct ColumnsCursor {
  int at, chunk = 0;

  /// Starts those of the next stage, where there is one, of both operands or of one.
  __device__ __forceinline__ void load(const SeparableColumnsParams& p,
                                       const SeparableColumnsMaps& maps, uint32_t place,
                                       uint32_t barrier, bool weights = true, bool columns = true) {
    using Shape = SeparableColumnsShape;
    constexpr int kChunkK = Shape::kChunkElements / MmaTraits<T>::kParts;
    if (at >= p.items) {
      return;
    }
    const ColumnsItem<false> item(p, at, kColumns);
    if (weights) {
      mbarrier_arrive_expect(barrier, Shape::stage_bytes(kColumns));
      tensor_load(place, &maps.weights, {chunk * Shape::kChunkElements, item.channel, 0, 0},
                  barrier);
    }
#pragma unroll
    for (int panel = 0; columns && panel < (kColumns + Shape::kPanel - 1) / Shape::kPanel;
         ++panel) {
      tensor_load(place + Shape::weight_bytes(kColumns) + panel * Shape::kPanelBytes, &maps.columns,
                  {item.column + panel * Shape::kPanel, chunk * kChunkK, 0, 0}, barrier);
    }
    if (++chunk == p.chunks) {
      chunk = 0;
      at += gridDim.x;
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
  const auto load_weights = [&](int stage, int chunk, int channel) {
    mbarrier_arrive_expect(full + stage * 8, kStageBytes);
    tensor_load(stages + stage * kStageBytes, &maps.weights,
                {chunk * Shape::kChunkElements, channel, 0, 0}, full + stage * 8);
  };
  // Weights that the kernel in front does not pack come before its end.
  int ahead = 0;
  if (!p.packs) {
    const ColumnsItem<kShares> item(p, blockIdx.x, kColumns);
    for (; ahead < min(p.stages, item.end - item.chunk); ++ahead) {
      load_weights(ahead, item.chunk + ahead, item.channel);
    }
  }
  grid_dependency_wait();
  int stage = 0;
  uint32_t parity = 1;
  for (int at = blockIdx.x; at < p.items; at += gridDim.x) {
    const ColumnsItem<kShares> item(p, at, kColumns);
    for (int chunk = item.chunk; chunk < item.end; ++chunk) {
      if (ahead > 0) {
        --ahead;
      } else {
        mbarrier_wait(empty + stage * 8, parity);
        load_weights(stage, chunk, item.channel);
      }
      const uint32_t barrier = full + stage * 8,
                     place = stages + stage * kStageBytes + Shape::weight_bytes(kColumns);
#pragma unroll
      for (int panel = 0; panel < (kColumns + Shape::kPanel - 1) / Shape::kPanel; ++panel) {
        const int column = item.column + panel * Shape::kPanel;
        const uint32_t to = place + panel * Shape::kPanelBytes;
        tensor_load(to, &maps.columns, {column, chunk * kChunkK, 0, 0}, barrier);
      }
      if (++stage == p.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

#endif

}  // namespace kernelopt
