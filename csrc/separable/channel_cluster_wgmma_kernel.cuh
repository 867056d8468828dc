// The pointwise product of contiguous images on Hopper's tensor cores (wgmma), of few tiles with
// long sums:
//   result[b, n, m] = act(bias[n] + sum over k of right[n, k] * left[b, k, m])
// A block has a tile of channels and pixels and a share of the sum; weights and pixels come in
// stages. The blocks of a cluster have the shares of a tile: each adds up some rows of all of them,
// in their order, out of the others' shared memory. Planes begin at any element.
#pragma once

#include "common/cluster.cuh"
#include "separable/channel_cluster_wgmma_load.cuh"
#include "separable/channel_planes_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Adds up this block's rows of the cluster's sums and stores them.
template <typename T, int kTilesN, int kPanels>
__device__ __forceinline__ void store_cluster_rows(const ChannelClusterWgmmaParams& p,
                                                   const ClusterTile& tile, uint32_t sums,
                                                   const float* biases) {
  using Shape = ChannelClusterWgmmaShape;
  constexpr int kRows = kTilesN * 64, kPixels = kPanels * Shape::kPanel;
  constexpr int kPitch = Shape::sums_pitch(kPanels), kWarps = Shape::kProductThreads / 32;
  const ChannelGemmWgmmaParams& product = p.product;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int pixels = static_cast<int>(min(product.m - tile.pixel, int64_t{kPixels}));
  const int rows = kRows / p.shares, first_row = blockIdx.z * rows;
  const auto finish = [&](float sum, int row, int pixel) {
    if constexpr (MmaTraits<T>::kParts == 2) {
      if (!isfinite(sum)) {
        sum =
            multiply_planes_exactly<T>(product, tile.image, tile.channel + row, tile.pixel + pixel);
      }
    }
    return from_accumulate<T>(apply_activation(product.activation, sum + biases[row]));
  };
  for (int row = first_row + warp; row < first_row + rows; row += kWarps) {
    if (tile.channel + row >= product.n) {
      break;
    }
    T* result = static_cast<T*>(product.result) +
                (tile.image * product.n + tile.channel + row) * product.m + tile.pixel;
    const uint32_t from = sums + row * kPitch * 4;
    if (product.vectors) {
      for (int pixel = lane * 4; pixel < pixels; pixel += 128) {
        float values[4] = {};
        for (int share = 0; share < p.shares; ++share) {
          const float4 v = cluster_load_vector(cluster_address(from + pixel * 4, share));
          values[0] += v.x;
          values[1] += v.y;
          values[2] += v.z;
          values[3] += v.w;
        }
        Vec<T, 4> vector;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          vector.values[i] = finish(values[i], row, pixel + i);
        }
        *reinterpret_cast<Vec<T, 4>*>(result + pixel) = vector;
      }
    } else {
      float values[kPixels / 32] = {};
      for (int share = 0; share < p.shares; ++share) {
#pragma unroll
        for (int i = 0; i < kPixels / 32; ++i) {
          values[i] += cluster_load(cluster_address(from + (i * 32 + lane) * 4, share));
        }
      }
#pragma unroll
      for (int i = 0; i < kPixels / 32; ++i) {
        const int pixel = i * 32 + lane;
        if (pixel < pixels) {
          result[pixel] = finish(values[i], row, pixel);
        }
      }
    }
  }
}

#endif

/// Blocks: (tiles of pixels, tiles of channels, shares); a cluster has the shares of a tile.
template <typename T, int kTilesN, int kPanels>
__global__ void __launch_bounds__(ChannelClusterWgmmaShape::kThreads, 1)
    channel_cluster_wgmma_kernel(const __grid_constant__ ChannelClusterWgmmaParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = ChannelClusterWgmmaShape;
  constexpr bool kSplit = MmaTraits<T>::kParts == 2;
  constexpr int kRows = kTilesN * 64;
  constexpr int kChunkK = Shape::kChunkBytes / static_cast<int>(sizeof(T));
  constexpr int kWeightBytes = Shape::weight_bytes(kTilesN);
  constexpr int kStageBytes = Shape::stage_bytes(kTilesN, kPanels);
  constexpr int kPitch = Shape::sums_pitch(kPanels);
  const ChannelGemmWgmmaParams& product = p.product;

  // Stages, later the sums; stages of copies, biases, barriers.
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t stages = shared_address(shared);
  const int stages_bytes = max(product.stages * kStageBytes, kRows * kPitch * 4);
  const int raw_bytes = Shape::raw_bytes(kPanels, sizeof(T), product.piece);
  const uint32_t raw = stages + stages_bytes;
  float* biases = reinterpret_cast<float*>(shared + stages_bytes + raw_bytes);
  const uint32_t full = shared_address(biases + kRows), empty = full + product.stages * 8;
  const ClusterTile tile(p, kRows, kPanels * Shape::kPanel);
  const bool direct = Shape::direct(sizeof(T), product.piece);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < product.stages; ++stage) {
      mbarrier_init(full + stage * 8, product.packed != nullptr ? 5 : direct ? 8 : 4);
      mbarrier_init(empty + stage * 8, Shape::kWarpgroups * 4);
    }
    mbarrier_fence_init();
  }
  if (threadIdx.x < kRows) {
    const int channel = tile.channel + static_cast<int>(threadIdx.x);
    const T* bias = static_cast<const T*>(product.bias);
    biases[threadIdx.x] =
        bias != nullptr && channel < product.n ? to_accumulate(bias[channel]) : 0.0f;
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warpgroup = warp / 4;
  if (warpgroup >= Shape::kWarpgroups) {
    give_registers<Shape::kLoadRegisters>();
    const int loader = warpgroup - Shape::kWarpgroups;
    if constexpr (kSplit) {
      load_chunks_in_turn<T, kTilesN, kPanels>(product, tile, loader, stages, raw, full, empty);
    } else if (direct) {
      load_chunks_as_they_are<T, kTilesN, kPanels>(product, tile, loader, stages, full, empty);
    } else {
      load_chunks_in_turn<T, kTilesN, kPanels>(product, tile, loader, stages, raw, full, empty);
    }
  } else {
    take_registers<Shape::kProductRegisters>();
    // The warpgroups have the halves of the channels, or of the pixels.
    constexpr int kColumns = kPanels * Shape::kPanel / (kTilesN == 2 ? 1 : 2);
    constexpr int kPanelBytes = kChunkK * Shape::kChunkBytes;
    constexpr int kLowUnits = kPanels * kPanelBytes / 16, kStepUnits = Shape::kChunkBytes;
    const int first_row = kTilesN == 2 ? warpgroup * 64 : 0;
    const int first_column = kTilesN == 2 ? 0 : warpgroup * kColumns;
    const int left_offset = first_row * Shape::kChunkBytes;
    const int right_offset = kWeightBytes + first_column / Shape::kPanel * kPanelBytes;
    float accumulators[kColumns / 2];
    int stage = 0, previous = -1;
    uint32_t parity = 0;
    for (int chunk = tile.begin; chunk < tile.end; ++chunk) {
      mbarrier_wait(full + stage * 8, parity);
      const uint32_t place = stages + stage * kStageBytes;
      const uint64_t left = wgmma_swizzled_descriptor(place + left_offset);
      const uint64_t right = wgmma_column_descriptor(place + right_offset, kPanelBytes);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kChunkK / 16; ++step) {
        const uint64_t row = left + step * 2, column = right + step * kStepUnits;
        wgmma_m64k16<T, false, true>(accumulators, row, column, step == 0 ? chunk - tile.begin : 1);
        if constexpr (kSplit) {
          wgmma_m64k16<T, false, true>(accumulators, row + 4, column, 1);
          wgmma_m64k16<T, false, true>(accumulators, row, column + kLowUnits, 1);
        }
      }
      wgmma_commit();
      wgmma_wait<1>();
      __syncwarp();
      if (lane == 0 && previous >= 0) {
        mbarrier_arrive(empty + previous * 8);
      }
      previous = stage;
      if (++stage == product.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    wgmma_wait<0>();
    wgmma_hold(accumulators);
    // All stages are read; the sums take their place.
    named_barrier(1, Shape::kProductThreads);
    float* sums = reinterpret_cast<float*>(shared);
    float* own =
        sums + (first_row + warp % 4 * 16 + lane / 4) * kPitch + first_column + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kColumns / 2; i += 4) {
      *reinterpret_cast<float2*>(own + i * 2) = make_float2(accumulators[i], accumulators[i + 1]);
      *reinterpret_cast<float2*>(own + 8 * kPitch + i * 2) =
          make_float2(accumulators[i + 2], accumulators[i + 3]);
    }
    if (p.shares == 1) {
      named_barrier(1, Shape::kProductThreads);
    } else {
      cluster_barrier();
    }
    store_cluster_rows<T, kTilesN, kPanels>(p, tile, stages, biases);
    if (p.shares > 1) {
      cluster_barrier();  // others may still read this block's sums
    }
    return;
  }
  if (p.shares > 1) {
    cluster_barrier();
    cluster_barrier();
  }
#endif
}

}  // namespace kernelopt
