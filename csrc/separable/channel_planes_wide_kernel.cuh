// The pointwise product of contiguous images on Hopper's tensor cores (wgmma), in wide tiles:
//   result[b, n, m] = act(bias[n] + sum over k of right[n, k] * left[b, k, m])
// A block owns kTilesM * 64 channels n, whose weights stay in shared memory, and takes tiles of 256
// pixels m one after the other from a common count, so that all blocks work close to each other: a
// plane's pixels go to memory in long runs. The copy engine brings chunks of the sum: 64 channels
// k in 16 bit, 32 in fp32, which a warpgroup splits in two bf16 parts, three products. The other
// warpgroups multiply the halves of a tile, of its channels or, where there are only 64, of its
// pixels. Planes begin on 16 bytes.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/grid_dependency.cuh"
#include "separable/channel_planes_wide_plan.h"
#include "separable/channel_planes_wide_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The chunks of the tiles that a block takes, as the thread that loads them walks over them. The
/// first tile is the block's own.
struct WidePlanesCursor {
  int tile, next_tile = 0, chunk = 0;

  __device__ __forceinline__ WidePlanesCursor() : tile(blockIdx.x) {}

  /// Takes the next tile: long before it is needed, and where the count is set.
  __device__ __forceinline__ void take(const ChannelPlanesWideParams& p) {
    next_tile = static_cast<int>(gridDim.x) + atomicAdd(p.product.taken + blockIdx.y, 1);
  }
  __device__ __forceinline__ void next(const ChannelPlanesWideParams& p) {
    if (++chunk == p.product.chunks) {
      chunk = 0;
      tile = next_tile;
      take(p);
    }
  }
};

/// The ring of stages that the tensor cores read, as its writers or its readers walk over it.
struct WidePlanesRing {
  int stage = 0;
  uint32_t parity;

  __device__ __forceinline__ explicit WidePlanesRing(uint32_t parity) : parity(parity) {}
  __device__ __forceinline__ void next(int stages) {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// A block's shared memory.
template <typename T, int kTilesM>
struct WidePlanesMemory {
  using Shape = ChannelPlanesWideShape;
  static constexpr bool kSplit = MmaTraits<T>::kParts == 2;
  static constexpr int kChunkK = Shape::kChunkBytes / static_cast<int>(sizeof(T));
  static constexpr int kPanelBytes = kChunkK * 128;
  static constexpr int kRows = kTilesM * 64, kWeightBytes = Shape::weight_bytes(kTilesM);
  static constexpr int kStoreBytes =  // of a warp
      WidePlanesStoreShape::warp_bytes(kTilesM, static_cast<int>(sizeof(T)));

  uint32_t weights, stages, raw;
  uint32_t rows;  // of the result on their way
  float* biases;
  volatile int* tiles;      // of the stages; -1 behind the last one
  volatile int* raw_tiles;  // the same of chunks as memory has them
  uint32_t full, empty, raw_full, ready;

  __device__ __forceinline__ WidePlanesMemory(const ChannelPlanesWideParams& p,
                                              unsigned char* shared)
      : weights(shared_address(shared)),
        stages(weights + p.product.chunks * kWeightBytes),
        raw(stages + p.product.stages * Shape::kStageBytes),
        rows(raw + (kSplit ? Shape::kRawStages * Shape::kStageBytes : 0)) {
    const uint32_t bias_place = rows + Shape::kWarps * kStoreBytes;
    biases = reinterpret_cast<float*>(shared + (bias_place - weights));
    tiles = reinterpret_cast<int*>(biases + kRows);
    raw_tiles = tiles + Shape::kMaxStages;
    full = bias_place + (kRows + Shape::kMaxStages + Shape::kRawStages) * 4;
    empty = full + Shape::kMaxStages * 8;
    raw_full = empty + Shape::kMaxStages * 8;
    ready = raw_full + Shape::kRawStages * 8;
  }
};

/// Has the weights copied, once they are packed; then the count of tiles is set, too.
template <typename T, int kTilesM>
__device__ __forceinline__ void load_wide_weights(const ChannelPlanesWideParams& p,
                                                  const WidePlanesMemory<T, kTilesM>& memory) {
  constexpr int kBytes = WidePlanesMemory<T, kTilesM>::kWeightBytes;
  const int chunks = p.product.chunks;
  grid_dependency_wait();
  mbarrier_arrive_expect(memory.ready, chunks * kBytes);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    bulk_load(memory.weights + chunk * kBytes,
              static_cast<const char*>(p.product.packed) +
                  (int64_t{blockIdx.y} * chunks + chunk) * kBytes,
              kBytes, memory.ready);
  }
}

/// 16 bit: one thread has all chunks of the block's tiles copied to the stages, and the weights
/// behind the first one.
template <typename T, int kTilesM>
__device__ __forceinline__ void load_wide_planes(const ChannelPlanesWideParams& p,
                                                 const WidePlanesMemory<T, kTilesM>& memory) {
  using Memory = WidePlanesMemory<T, kTilesM>;
  using Shape = ChannelPlanesWideShape;
  WidePlanesCursor cursor;
  WidePlanesRing ring(1);
  const auto load = [&] {
    const uint32_t full = memory.full + ring.stage * 8;
    mbarrier_wait(memory.empty + ring.stage * 8, ring.parity);
    const bool more = cursor.tile < p.product.row_tiles;
    memory.tiles[ring.stage] = more ? cursor.tile : -1;
    if (!more) {
      mbarrier_arrive(full);
      return false;
    }
    mbarrier_arrive_expect(full, Shape::kStageBytes);
    const int pixel = cursor.tile % p.image_tiles * Shape::kPixels;
#pragma unroll
    for (int panel = 0; panel < Shape::kPanels; ++panel) {
      const int begin[4] = {pixel + panel * Shape::kPanelPixels, cursor.chunk * Memory::kChunkK,
                            cursor.tile / p.image_tiles, 0};
      tensor_load(memory.stages + ring.stage * Shape::kStageBytes + panel * Memory::kPanelBytes,
                  &p.map, begin, full);
    }
    ring.next(p.product.stages);
    return true;
  };
  load();
  load_wide_weights(p, memory);
  cursor.take(p);
  do {
    cursor.next(p);
  } while (load());
}

/// fp32: has chunks [32 k][256 pixels] copied to the raw stages, and splits them in panels of 64
/// pixels, four of the high parts and four of the low ones. A thread splits four pixels at a time.
template <int kTilesM>
__device__ __forceinline__ void split_wide_planes(const ChannelPlanesWideParams& p,
                                                  const WidePlanesMemory<float, kTilesM>& memory) {
  using Memory = WidePlanesMemory<float, kTilesM>;
  using Shape = ChannelPlanesWideShape;
  constexpr int kRowBytes = Shape::kPixels * 4, kLanes = Shape::kPixels / 4;
  constexpr int kStep = 128 / kLanes, kBatch = 8;
  const int thread = threadIdx.x % 128;
  const bool leader = thread == 0;
  WidePlanesCursor cursor;
  const auto load = [&](int slot) {
    const uint32_t full = memory.raw_full + slot * 8;
    const bool more = cursor.tile < p.product.row_tiles;
    memory.raw_tiles[slot] = more ? cursor.tile : -1;
    if (!more) {
      mbarrier_arrive(full);
      return;
    }
    mbarrier_arrive_expect(full, Shape::kStageBytes);
    const int begin[4] = {cursor.tile % p.image_tiles * Shape::kPixels,
                          cursor.chunk * Memory::kChunkK, cursor.tile / p.image_tiles, 0};
    tensor_load(memory.raw + slot * Shape::kStageBytes, &p.map, begin, full);
  };
  if (leader) {
    load(0);
    load_wide_weights(p, memory);
    cursor.take(p);
    for (int slot = 1; slot < Shape::kRawStages; ++slot) {
      cursor.next(p);
      load(slot);
    }
  }
  const int row = thread / kLanes, column = thread % kLanes * 4;
  const uint32_t from = memory.raw + thread * 16;
  const uint32_t to =
      memory.stages + column / Shape::kPanelPixels * Memory::kPanelBytes + column % 8 / 4 * 8;
  const int unit = column % Shape::kPanelPixels / 8;
  WidePlanesRing ring(1), raw(0);
  for (;; ring.next(p.product.stages), raw.next(Shape::kRawStages)) {
    mbarrier_wait(memory.raw_full + raw.stage * 8, raw.parity);
    mbarrier_wait(memory.empty + ring.stage * 8, ring.parity);
    const int tile = memory.raw_tiles[raw.stage];
    if (leader) {
      memory.tiles[ring.stage] = tile;
    }
#pragma unroll
    for (int first = 0; first < Memory::kChunkK; first += kStep * kBatch) {
      float4 values[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        float4& v = values[i];
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                     : "r"(from + raw.stage * Shape::kStageBytes + (first + i * kStep) * kRowBytes)
                     : "memory");
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const SplitPair left = split_bf16_unlimited(values[i].x, values[i].y);
        const SplitPair right = split_bf16_unlimited(values[i].z, values[i].w);
        const int k = first + i * kStep + row;
        const uint32_t high = to + ring.stage * Shape::kStageBytes + k * 128 + (unit ^ k % 8) * 16;
        asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(high), "r"(left.high), "r"(right.high)
                     : "memory");
        asm volatile(
            "st.shared.v2.b32 [%0], {%1, %2};" ::"r"(high + Shape::kPanels * Memory::kPanelBytes),
            "r"(left.low), "r"(right.low)
            : "memory");
      }
    }
    fence_async_proxy();
    __syncwarp();
    if (thread % 32 == 0) {
      mbarrier_arrive(memory.full + ring.stage * 8);
    }
    if (tile < 0) {
      return;
    }
    named_barrier(1, 128);
    if (leader) {
      cursor.next(p);
      load(raw.stage);
    }
  }
}

#endif

template <typename T, int kTilesM>
__global__ void __launch_bounds__(ChannelPlanesWideShape::kThreads, 1)
    channel_planes_wide_kernel(const __grid_constant__ ChannelPlanesWideParams p) {
#if KERNELOPT_HAS_WGMMA
  using Memory = WidePlanesMemory<T, kTilesM>;
  using Shape = ChannelPlanesWideShape;
  constexpr bool kSplit = Memory::kSplit;
  const ChannelGemmWgmmaParams& product = p.product;
  extern __shared__ __align__(1024) unsigned char shared[];
  const Memory memory(p, shared);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warpgroup = warp / 4;
  const int first_channel = blockIdx.y * Memory::kRows;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < product.stages; ++stage) {
      mbarrier_init(memory.full + stage * 8, kSplit ? 4 : 1);
      mbarrier_init(memory.empty + stage * 8, Shape::kWarps);
    }
    for (int slot = 0; slot < Shape::kRawStages; ++slot) {
      mbarrier_init(memory.raw_full + slot * 8, 1);
    }
    mbarrier_init(memory.ready, 1);
    mbarrier_fence_init();
  }
  if (threadIdx.x < Memory::kRows) {
    const int channel = first_channel + static_cast<int>(threadIdx.x);
    const T* bias = static_cast<const T*>(product.bias);
    memory.biases[threadIdx.x] =
        bias != nullptr && channel < product.n ? to_accumulate(bias[channel]) : 0.0f;
  }
  __syncthreads();

  if (warpgroup == Shape::kWarpgroups) {
    give_registers<Shape::kLoadRegisters>();
    if constexpr (kSplit) {
      split_wide_planes(p, memory);
    } else if (threadIdx.x % 128 == 0) {
      load_wide_planes(p, memory);
    }
    return;
  }

  take_registers<Shape::kProductRegisters>();
  // Units of 16 bytes of a descriptor: between 16 steps of the sum, halves of a tile, and parts.
  constexpr int kStepUnits = Shape::kChunkBytes, kHalfUnits = 2 * Memory::kPanelBytes / 16;
  constexpr int kLowUnits = Shape::kPanels * Memory::kPanelBytes / 16;
  constexpr int kHalfPixels = Shape::kPixels / 2;
  // The warpgroup's part of a tile: 64 channels of all pixels, or of half of them.
  const int channel = kTilesM == 2 ? warpgroup * 64 : 0;
  const int column = kTilesM == 2 ? 0 : warpgroup;
  float accumulators[kTilesM][kHalfPixels / 2];
  WidePlanesRing ring(0);
  mbarrier_wait(memory.ready, 0);
  for (;;) {
    // All lanes leave here, and not among the products: else the compiler waits for each of them.
    mbarrier_wait(memory.full + ring.stage * 8, ring.parity);
    const int tile = memory.tiles[ring.stage];
    if (__all_sync(0xffffffffu, tile < 0)) {
      return;
    }
    int previous = -1;
    const auto release = [&] {
      __syncwarp();
      if (lane == 0 && previous >= 0) {
        mbarrier_arrive(memory.empty + previous * 8);
      }
    };
#pragma unroll 1
    for (int chunk = 0; chunk < product.chunks; ++chunk) {
      mbarrier_wait(memory.full + ring.stage * 8, ring.parity);
      const uint64_t left = wgmma_swizzled_descriptor(
          memory.weights + chunk * Memory::kWeightBytes + channel * Shape::kChunkBytes);
      const uint64_t right =
          wgmma_column_descriptor(memory.stages + ring.stage * Shape::kStageBytes,
                                  Memory::kPanelBytes) +
          column * kHalfUnits;
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < Memory::kChunkK / 16; ++step) {
#pragma unroll
        for (int half = 0; half < kTilesM; ++half) {
          const uint64_t weight = left + step * 2;
          const uint64_t pixels = right + step * kStepUnits + half * kHalfUnits;
          wgmma_m64k16<T, false, true>(accumulators[half], weight, pixels, step == 0 ? chunk : 1);
          if constexpr (kSplit) {
            wgmma_m64k16<T, false, true>(accumulators[half], weight + 4, pixels, 1);
            wgmma_m64k16<T, false, true>(accumulators[half], weight, pixels + kLowUnits, 1);
          }
        }
      }
      wgmma_commit();
      wgmma_wait<1>();
      release();
      previous = ring.stage;
      ring.next(product.stages);
    }
    wgmma_wait<0>();
#pragma unroll
    for (int half = 0; half < kTilesM; ++half) {
      wgmma_hold(accumulators[half]);
    }
    release();
    store_wide_planes<T>(product, accumulators, channel + warp % 4 * 16, first_channel,
                         tile / p.image_tiles,
                         int64_t{tile % p.image_tiles} * Shape::kPixels + column * kHalfPixels,
                         memory.biases, memory.rows + warp * Memory::kStoreBytes);
  }
#endif
}

}  // namespace kernelopt
