// The loading warps of the kernel whose blocks share the sum. Includes no torch header.
#pragma once

#include "common/grid_dependency.cuh"
#include "separable/channel_cluster_wgmma_plan.h"
#include "separable/channel_gemm_wgmma_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// A block's tile and its share of the sum.
struct ClusterTile {
  int channel;  // the first
  int64_t image;
  int64_t pixel;   // the first
  int begin, end;  // chunks

  __device__ __forceinline__ ClusterTile(const ChannelClusterWgmmaParams& p, int rows, int pixels)
      : channel(blockIdx.y * rows),
        image(blockIdx.x / p.image_tiles),
        pixel(int64_t{blockIdx.x % p.image_tiles} * pixels),
        begin(blockIdx.z * p.share_chunks),
        end(min(begin + p.share_chunks, p.product.chunks)) {}
};

/// The chunks of a tile's pixels, one after the other.
template <typename T>
struct ClusterChunks {
  static constexpr int kSteps = ChannelGemmWgmmaShape::kChunkBytes / static_cast<int>(sizeof(T));
  const T* data;  // the next one's first element
  int64_t pitch;  // from a channel to the next
  int rows;       // channels from there to the end of the sum
  int pixels;     // of the tile, that the image has

  __device__ __forceinline__ ClusterChunks(const ChannelGemmWgmmaParams& p, const ClusterTile& tile,
                                           int tile_pixels)
      : data(static_cast<const T*>(p.left) +
             (tile.image * p.k + int64_t{tile.begin} * kSteps) * p.m + tile.pixel),
        pitch(p.m),
        rows(p.k - tile.begin * kSteps),
        pixels(static_cast<int>(min(p.m - tile.pixel, int64_t{tile_pixels}))) {}
  __device__ __forceinline__ void skip(int chunks) {
    data += int64_t{chunks} * kSteps * pitch;
    rows -= chunks * kSteps;
  }
};

/// Pixels that are written as the tensor cores take them by the threads that copied them: those of
/// fp32, which is split in two bf16 parts, and those of planes that begin at any element. Copied in
/// the 16 bytes that memory has, one piece more a row, of which a thread reads two for 16 bytes of
/// pixels. All of a thread's rows, in all chunks, lie off these pieces alike.
template <typename T, int kPanels>
class WrittenImages {
  using Shape = ChannelClusterWgmmaShape;
  using Chunks = ClusterChunks<T>;
  static constexpr int kSize = static_cast<int>(sizeof(T));
  static constexpr int kLanes = kPanels * Shape::kPanel * kSize / 16;  // of a row
  static constexpr int kStep = 128 / kLanes, kSlots = Chunks::kSteps / kStep;
  static constexpr int kRowBytes = Shape::raw_row_bytes(kPanels, kSize);
  static constexpr int kSlotBytes = kStep * kRowBytes;
  static_assert(kStep * kSize % 16 == 0 && kLanes <= 32);

 public:
  __device__ __forceinline__ WrittenImages(const Chunks& chunks, uint32_t raw)
      : row_(threadIdx.x % 128 / kLanes),
        lane_(threadIdx.x % kLanes),
        raw_(raw + row_ * kRowBytes + lane_ * 16) {
    shift_ = static_cast<int>(reinterpret_cast<uintptr_t>(chunks.data + row_ * chunks.pitch) % 16);
    const int rest = chunks.pixels * kSize + shift_ - lane_ * 16;
    bytes_ = min(max(rest, 0), 16);
    behind_ = min(max(rest - 16, 0), 16);
  }

  __device__ __forceinline__ void load(const Chunks& chunks, int raw_stage) const {
    const char* source =
        reinterpret_cast<const char*>(chunks.data + row_ * chunks.pitch) - shift_ + lane_ * 16;
    const uint32_t to = raw_ + raw_stage * Shape::raw_stage_bytes(kPanels, kSize);
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      const bool inside = row_ + slot * kStep < chunks.rows;
      copy_async_part(to + slot * kSlotBytes, source, inside ? bytes_ : 0);
      if (lane_ == kLanes - 1) {
        copy_async_part(to + slot * kSlotBytes + 16, source + 16, inside ? behind_ : 0);
      }
      source += kStep * chunks.pitch * kSize;
    }
  }

  /// Writes a chunk that has arrived as the tensor cores take it.
  __device__ __forceinline__ void write(int raw_stage, uint32_t stage) const {
    const uint32_t from = raw_ + raw_stage * Shape::raw_stage_bytes(kPanels, kSize);
    constexpr int kPanelBytes = Chunks::kSteps * Shape::kChunkBytes;
    const int column = lane_ * (16 / kSize), unit = column % Shape::kPanel / 8;
    const uint32_t to =
        stage + column / Shape::kPanel * kPanelBytes + row_ * Shape::kChunkBytes + column % 8 * 2;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      uint32_t words[8];
      load_vector(from + slot * kSlotBytes, words);
      if (kSize == 2 || shift_ != 0) {
        load_vector(from + slot * kSlotBytes + 16, words + 4);
        if (shift_ & 8) {
#pragma unroll
          for (int i = 0; i < 6; ++i) {
            words[i] = words[i + 2];
          }
        }
        if (shift_ & 4) {
#pragma unroll
          for (int i = 0; i < 5; ++i) {
            words[i] = words[i + 1];
          }
        }
      }
      const uint32_t target =
          to + slot * kStep * Shape::kChunkBytes + (unit ^ (row_ + slot * kStep) % 8) * 16;
      if constexpr (kSize == 4) {
        const SplitPair first =
            split_bf16_unlimited(__uint_as_float(words[0]), __uint_as_float(words[1]));
        const SplitPair second =
            split_bf16_unlimited(__uint_as_float(words[2]), __uint_as_float(words[3]));
        asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(target), "r"(first.high),
                     "r"(second.high)
                     : "memory");
        asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(target + kPanels * kPanelBytes),
                     "r"(first.low), "r"(second.low)
                     : "memory");
      } else {
        const int bits = (shift_ & 2) * 8;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          words[i] = __funnelshift_r(words[i], words[i + 1], bits);
        }
        asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(target), "r"(words[0]),
                     "r"(words[1]), "r"(words[2]), "r"(words[3])
                     : "memory");
      }
    }
  }

 private:
  static __device__ __forceinline__ void load_vector(uint32_t address, uint32_t* words) {
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
  }

  int row_, lane_;
  uint32_t raw_;
  int shift_;           // bytes from a piece to the row's first pixel
  int bytes_, behind_;  // of the own piece, and of the last one
};

/// Starts copying a chunk of packed weights, by one thread.
template <int kTilesN>
__device__ __forceinline__ void load_packed_weights(const ChannelGemmWgmmaParams& p, int chunk,
                                                    uint32_t place, uint32_t barrier) {
  constexpr int kWeightBytes = ChannelClusterWgmmaShape::weight_bytes(kTilesN);
  mbarrier_arrive_expect(barrier, kWeightBytes);
  bulk_load(
      place,
      static_cast<const char*>(p.packed) + (int64_t{blockIdx.y} * p.chunks + chunk) * kWeightBytes,
      kWeightBytes, barrier);
}

/// The same of weights as they are, by a warpgroup.
template <typename T, int kTilesN>
__device__ __forceinline__ void load_plain_weights(const ChannelGemmWgmmaParams& p,
                                                   const ClusterTile& tile, int chunk,
                                                   uint32_t place) {
  constexpr int kChunkBytes = ChannelClusterWgmmaShape::kChunkBytes;
  const int64_t pitch = static_cast<int64_t>(p.k) * static_cast<int>(sizeof(T));
  const int offset = chunk * kChunkBytes;
  load_rows<T, kTilesN * 64>(place,
                             static_cast<const char*>(p.right) + tile.channel * pitch + offset,
                             pitch, p.n - tile.channel, static_cast<int>(pitch) - offset, 16);
}

/// Loads all chunks, of which the two loading warpgroups write every other one: a chunk's way from
/// its copy to the tensor cores takes longer than its products.
template <typename T, int kTilesN, int kPanels>
__device__ __forceinline__ void load_chunks_in_turn(const ChannelGemmWgmmaParams& p,
                                                    const ClusterTile& tile, int loader,
                                                    uint32_t stages, uint32_t raw, uint32_t full,
                                                    uint32_t empty) {
  using Shape = ChannelClusterWgmmaShape;
  constexpr int kSize = static_cast<int>(sizeof(T)), kRaw = Shape::kRawStages;
  constexpr int kStageBytes = Shape::stage_bytes(kTilesN, kPanels);
  const int count = tile.end - tile.begin;
  ClusterChunks<T> chunks(p, tile, kPanels * Shape::kPanel);
  chunks.skip(loader);
  const WrittenImages<T, kPanels> images(
      chunks, raw + loader * kRaw * Shape::raw_stage_bytes(kPanels, kSize));
  struct Turn {  // of a stage
    int stage;
    uint32_t parity;
    __device__ __forceinline__ void next(int stages) {
      stage += Shape::kLoaders;
      if (stage >= stages) {
        stage -= stages;
        parity ^= 1;
      }
    }
  };
  Turn loaded{loader, 1}, written{loader, 0};
  const auto load = [&](int i, int raw_stage) {
    if (i < count) {
      images.load(chunks, raw_stage);
      chunks.skip(Shape::kLoaders);
      mbarrier_wait(empty + loaded.stage * 8, loaded.parity);
      const uint32_t place = stages + loaded.stage * kStageBytes;
      if (p.packed == nullptr) {
        load_plain_weights<T, kTilesN>(p, tile, tile.begin + i, place);
      } else if (threadIdx.x % 128 == 0) {
        if (i == loader) {
          grid_dependency_wait();
        }
        load_packed_weights<kTilesN>(p, tile.begin + i, place, full + loaded.stage * 8);
      }
      loaded.next(p.stages);
    }
    copy_async_commit();
  };
#pragma unroll
  for (int i = 0; i < kRaw; ++i) {
    load(loader + i * Shape::kLoaders, i);
  }
  int raw_stage = 0;
  for (int i = loader; i < count; i += Shape::kLoaders) {
    copy_async_wait<kRaw - 1>();
    __syncwarp();  // a row's threads are in one warp
    images.write(raw_stage, stages + written.stage * kStageBytes + Shape::weight_bytes(kTilesN));
    fence_async_proxy();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      mbarrier_arrive(full + written.stage * 8);
    }
    written.next(p.stages);
    load(i + kRaw * Shape::kLoaders, raw_stage);
    raw_stage = raw_stage + 1 == kRaw ? 0 : raw_stage + 1;
  }
}

/// Loads all chunks in 16 bit, of planes that begin on 16 bytes: one warpgroup the pixels, the
/// other one the weights.
template <typename T, int kTilesN, int kPanels>
__device__ __forceinline__ void load_chunks_as_they_are(const ChannelGemmWgmmaParams& p,
                                                        const ClusterTile& tile, int loader,
                                                        uint32_t stages, uint32_t full,
                                                        uint32_t empty) {
  using Shape = ChannelClusterWgmmaShape;
  constexpr int kSize = static_cast<int>(sizeof(T)), kWeightBytes = Shape::weight_bytes(kTilesN);
  constexpr int kStageBytes = Shape::stage_bytes(kTilesN, kPanels);
  constexpr int kPanelBytes = ClusterChunks<T>::kSteps * Shape::kChunkBytes;
  LoadRing ring(p.stages, full, empty);
  if (loader == 0) {
    ClusterChunks<T> chunks(p, tile, kPanels * Shape::kPanel);
    for (int chunk = tile.begin; chunk < tile.end; ++chunk) {
      ring.begin();
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        load_rows<T, ClusterChunks<T>::kSteps>(
            stages + ring.stage * kStageBytes + kWeightBytes + panel * kPanelBytes,
            reinterpret_cast<const char*>(chunks.data + panel * Shape::kPanel), p.m * kSize,
            chunks.rows, (chunks.pixels - panel * Shape::kPanel) * kSize, 16);
      }
      ring.end<Shape::kPending>();
      chunks.skip(1);
    }
    ring.finish<Shape::kPending>();
  } else if (p.packed == nullptr) {
    for (int chunk = tile.begin; chunk < tile.end; ++chunk) {
      ring.begin();
      load_plain_weights<T, kTilesN>(p, tile, chunk, stages + ring.stage * kStageBytes);
      ring.end<Shape::kPending>();
    }
    ring.finish<Shape::kPending>();
  } else if (threadIdx.x % 128 == 0) {
    grid_dependency_wait();
    for (int chunk = tile.begin; chunk < tile.end; ++chunk) {
      ring.begin();
      load_packed_weights<kTilesN>(p, chunk, stages + ring.stage * kStageBytes,
                                   full + ring.stage * 8);
      ring.stage = ring.stage + 1 == p.stages ? 0 : ring.stage + 1;
      ring.parity ^= ring.stage == 0 ? 1 : 0;
    }
  }
}

#endif

}  // namespace kernelopt
