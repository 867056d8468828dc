// The pointwise product of contiguous images on Hopper's tensor cores (wgmma):
//   result[b, n, m] = act(bias[n] + sum over k of right[n, k] * left[b, k, m])
// A block owns kTilesM * 64 channels n, whose weights stay in shared memory, and walks over tiles
// of 128 pixels m. A warpgroup loads chunks of the sum: 64 channels k in 16 bit, 32 in fp32, which
// it splits in two bf16 parts, three products (split_chunks.cuh). Two warpgroups take tiles in
// turn, so that one multiplies while the other one stores. Planes begin on 16 bytes.
#pragma once

#include "separable/channel_gemm_wgmma_load.cuh"
#include "separable/channel_planes_wgmma_plan.h"
#include "separable/channel_planes_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// A block's walk over its tiles' chunks, as the loading warps take it.
struct PlanesCursor {
  int tile, chunk = 0;

  __device__ __forceinline__ PlanesCursor() : tile(blockIdx.x) {}
  /// The first element of the chunk's first channel.
  template <typename T>
  __device__ __forceinline__ const T* data(const ChannelPlanesWgmmaParams& p, int chunk_k) const {
    return static_cast<const T*>(p.product.left) +
           (int64_t{tile / p.image_tiles} * p.product.k + chunk * chunk_k) * p.product.m + pixel(p);
  }
  __device__ __forceinline__ int64_t pixel(const ChannelPlanesWgmmaParams& p) const {
    return int64_t{tile % p.image_tiles} * ChannelPlanesWgmmaShape::kPixels;
  }
  __device__ __forceinline__ void next(const ChannelPlanesWgmmaParams& p) {
    if (++chunk == p.product.chunks) {
      chunk = 0;
      tile += gridDim.x;
    }
  }
};

/// Loads all chunks of the block's tiles.
template <typename T>
__device__ __forceinline__ void load_planes(const ChannelPlanesWgmmaParams& p, uint32_t stages,
                                            uint32_t raw, uint32_t full, uint32_t empty) {
  using Shape = ChannelPlanesWgmmaShape;
  constexpr int kChunkK = Shape::kChunkBytes / static_cast<int>(sizeof(T));
  const ChannelGemmWgmmaParams& product = p.product;
  const int tiles = (product.row_tiles - 1 - static_cast<int>(blockIdx.x)) / gridDim.x + 1;
  PlanesCursor at;
  const auto extent = [&](int64_t pixel) {
    return static_cast<int>(min(product.m - pixel, int64_t{Shape::kPixels}));
  };
  if constexpr (MmaTraits<T>::kParts == 2) {
    const SplitStages split{stages, raw,  Shape::kStageBytes, Shape::kStageBytes, product.stages,
                            full,   empty};
    const auto next_chunk = [&] {
      const SplitRows rows{at.data<T>(p, kChunkK), product.k - at.chunk * kChunkK,
                           extent(at.pixel(p))};
      at.next(p);
      return rows;
    };
    split_chunks_by<Shape::kPixels, false, true>(split, tiles * product.chunks, product.m,
                                                 next_chunk, [](int, const auto&) {});
  } else {
    constexpr int kPanelBytes = kChunkK * Shape::kChunkBytes, kColumns = Shape::kPixels / 2;
    LoadRing ring(product.stages, full, empty);
    for (int i = 0; i < tiles * product.chunks; ++i) {
      ring.begin();
      const T* data = at.data<T>(p, kChunkK);
      const int pixels = extent(at.pixel(p));
#pragma unroll
      for (int panel = 0; panel < 2; ++panel) {
        load_rows<T, kChunkK>(stages + ring.stage * Shape::kStageBytes + panel * kPanelBytes,
                              reinterpret_cast<const char*>(data + panel * kColumns),
                              product.m * static_cast<int64_t>(sizeof(T)),
                              product.k - at.chunk * kChunkK,
                              (pixels - panel * kColumns) * static_cast<int>(sizeof(T)), 16);
      }
      ring.end<Shape::kPending>();
      at.next(p);
    }
    ring.finish<Shape::kPending>();
  }
}

#endif

template <typename T, int kTilesM>
__global__ void __launch_bounds__(ChannelPlanesWgmmaShape::kThreads, 1)
    channel_planes_wgmma_kernel(const __grid_constant__ ChannelPlanesWgmmaParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = ChannelPlanesWgmmaShape;
  constexpr bool kSplit = MmaTraits<T>::kParts == 2;
  constexpr int kChunkK = Shape::kChunkBytes / static_cast<int>(sizeof(T));
  constexpr int kRows = kTilesM * 64, kWeightBytes = Shape::weight_bytes(kTilesM);
  const ChannelGemmWgmmaParams& product = p.product;

  // Weights, stages, stages of copies, biases, barriers.
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t weights = shared_address(shared);
  const uint32_t stages = weights + product.chunks * kWeightBytes;
  const uint32_t raw = stages + product.stages * Shape::kStageBytes;
  const uint32_t bias_place = raw + (kSplit ? SplitChunkShape::kRawStages * Shape::kStageBytes : 0);
  float* biases = reinterpret_cast<float*>(shared + (bias_place - weights));
  const uint32_t full = bias_place + kRows * 4, empty = full + product.stages * 8;
  const uint32_t turn = empty + product.stages * 8, ready = turn + Shape::kWarpgroups * 8;
  const int first_channel = blockIdx.y * kRows;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < product.stages; ++stage) {
      mbarrier_init(full + stage * 8, 4);
      mbarrier_init(empty + stage * 8, 4);
    }
    for (int i = 0; i < Shape::kWarpgroups; ++i) {
      mbarrier_init(turn + i * 8, 4);
    }
    mbarrier_init(ready, 1);
    mbarrier_fence_init();
  }
  if (threadIdx.x < kRows) {
    const int channel = first_channel + static_cast<int>(threadIdx.x);
    const T* bias = static_cast<const T*>(product.bias);
    biases[threadIdx.x] =
        bias != nullptr && channel < product.n ? to_accumulate(bias[channel]) : 0.0f;
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpgroup = warp / 4;
  if (warpgroup == Shape::kWarpgroups) {
    give_registers<Shape::kLoadRegisters>();
    if (threadIdx.x % 128 == 0) {
      grid_dependency_wait();  // for the packed weights
      mbarrier_arrive_expect(ready, product.chunks * kWeightBytes);
      for (int chunk = 0; chunk < product.chunks; ++chunk) {
        bulk_load(weights + chunk * kWeightBytes,
                  static_cast<const char*>(product.packed) +
                      (int64_t{blockIdx.y} * product.chunks + chunk) * kWeightBytes,
                  kWeightBytes, ready);
      }
    }
    __syncwarp();
    load_planes<T>(p, stages, raw, full, empty);
    return;
  }

  take_registers<Shape::kProductRegisters>();
  // Units of 16 bytes of a descriptor: between 64 rows of weights, 16 steps of the sum, and parts.
  constexpr int kTileUnits = 64 * Shape::kChunkBytes / 16, kStepUnits = Shape::kChunkBytes;
  constexpr int kPanelBytes = kChunkK * Shape::kChunkBytes, kLowUnits = 2 * kPanelBytes / 16;
  float accumulators[kTilesM][Shape::kPixels / 2];
  int stage = 0;
  uint32_t parity = 0, turn_parity = warpgroup == 0 ? 1 : 0;
  const auto skip_tile = [&] {
    stage += product.chunks;
    while (stage >= product.stages) {
      stage -= product.stages;
      parity ^= 1;
    }
  };
  if (warpgroup == 1) {
    skip_tile();
  }
  mbarrier_wait(ready, 0);
  for (int tile = blockIdx.x + warpgroup * gridDim.x; tile < product.row_tiles;
       tile += Shape::kWarpgroups * gridDim.x) {
    // Also keeps a warpgroup from waiting for a stage that is still two phases away.
    mbarrier_wait(turn + warpgroup * 8, turn_parity);
    turn_parity ^= 1;
    int previous = -1;
    const auto release = [&] {
      __syncwarp();
      if (lane == 0 && previous >= 0) {
        mbarrier_arrive(empty + previous * 8);
      }
    };
    for (int chunk = 0; chunk < product.chunks; ++chunk) {
      mbarrier_wait(full + stage * 8, parity);
      const uint64_t left = wgmma_swizzled_descriptor(weights + chunk * kWeightBytes);
      const uint64_t right =
          wgmma_column_descriptor(stages + stage * Shape::kStageBytes, kPanelBytes);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kChunkK / 16; ++step) {
#pragma unroll
        for (int m = 0; m < kTilesM; ++m) {
          const uint64_t row = left + m * kTileUnits + step * 2;
          const uint64_t column = right + step * kStepUnits;
          wgmma_m64k16<T, false, true>(accumulators[m], row, column, step == 0 ? chunk : 1);
          if constexpr (kSplit) {
            wgmma_m64k16<T, false, true>(accumulators[m], row + 4, column, 1);
            wgmma_m64k16<T, false, true>(accumulators[m], row, column + kLowUnits, 1);
          }
        }
      }
      wgmma_commit();
      wgmma_wait<1>();
      release();
      previous = stage;
      if (++stage == product.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    __syncwarp();
    if (lane == 0) {
      mbarrier_arrive(turn + (1 - warpgroup) * 8);
    }
    wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < kTilesM; ++m) {
      wgmma_hold(accumulators[m]);
    }
    release();
    store_planes_tile<T>(product, accumulators, warp % 4 * 16 + lane / 4, first_channel,
                         tile / p.image_tiles, int64_t{tile % p.image_tiles} * Shape::kPixels,
                         biases);
    skip_tile();
  }
#endif
}

}  // namespace kernelopt
