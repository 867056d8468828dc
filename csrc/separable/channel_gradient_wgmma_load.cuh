// The loading warps of the warpgroup kernel of the pointwise weight gradient. Includes no torch
// header.
#pragma once

#include "separable/channel_gemm_wgmma_load.cuh"
#include "separable/channel_gradient_wgmma_plan.h"
#include "separable/split_chunks.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where a chunk begins.
struct GradientChunk {
  int image;
  int chunk;  // of the image

  __device__ __forceinline__ GradientChunk(const ChannelGradientWgmmaParams& p, int index)
      : image(index / p.image_chunks), chunk(index % p.image_chunks) {}
  __device__ __forceinline__ void next(const ChannelGradientWgmmaParams& p) {
    if (++chunk == p.image_chunks) {
      chunk = 0;
      ++image;
    }
  }
};

/// Copies 16-bit chunks [begin, end) of the block's channels, by a warpgroup.
template <typename T, int kN, bool kPlanes>
__device__ __forceinline__ void load_gradient_chunks(const ChannelGradientWgmmaParams& p,
                                                     int first_row, int first_column, int64_t begin,
                                                     int64_t end, uint32_t stages, uint32_t full,
                                                     uint32_t empty) {
  using Shape = ChannelGradientWgmmaShape;
  constexpr int kPixels = Shape::pixels(sizeof(T));
  constexpr int kPanelBytes = Shape::kColumns * Shape::kChunkBytes;
  LoadRing ring(p.stages, full, empty);
  GradientChunk at(p, begin);
  for (int i = begin; i < end; ++i) {
    ring.begin();
    const int64_t pixel = int64_t{at.chunk} * kPixels;
    const int pixels = static_cast<int>(min(p.pixels - pixel, int64_t{kPixels}));
    const auto load = [&](uint32_t place, const ChannelGradientOperand& from, int channel,
                          auto count) {
      constexpr int kCount = decltype(count)::value;
      const T* data = static_cast<const T*>(from.data);
      if constexpr (kPlanes) {
        load_rows<T, kCount>(
            place,
            reinterpret_cast<const char*>(
                data + (int64_t{at.image} * from.channels + channel) * p.pixels + pixel),
            p.pixels * 2, from.channels - channel, pixels * 2, from.piece);
      } else {
#pragma unroll
        for (int panel = 0; panel < kCount / Shape::kColumns; ++panel) {
          const int first = channel + panel * Shape::kColumns;
          load_rows<T, kPixels>(place + panel * kPanelBytes,
                                reinterpret_cast<const char*>(data + pixel * from.channels + first),
                                int64_t{from.channels} * 2, pixels, (from.channels - first) * 2,
                                from.piece);
        }
      }
    };
    const uint32_t place = stages + ring.stage * Shape::stage_bytes(kN);
    load(place, p.grad, first_row, std::integral_constant<int, Shape::kTileM>{});
    load(place + Shape::kTileM * Shape::kChunkBytes, p.input, first_column,
         std::integral_constant<int, kN>{});
    ring.end<Shape::kPending>();
    at.next(p);
  }
  ring.finish<Shape::kPending>();
}

/// A thread's part of the sums of a warpgroup's kCount channels over pixels: in planes of kCount /
/// 16 rows 16 apart, whose other pixels the other seven of eight neighbouring threads have; else of
/// four neighbouring channels, which each warp has.
template <int kCount, bool kPlanes>
class ChannelSums {
  static constexpr int kSlots = SplitThread<kCount, kPlanes>::kSlots;

 public:
  __device__ __forceinline__ void add(int slot, const float4& v) {
    if constexpr (kPlanes) {
      sums_[slot] += (v.x + v.y) + (v.z + v.w);
    } else {
      sums_[0] += v.x;
      sums_[1] += v.y;
      sums_[2] += v.z;
      sums_[3] += v.w;
    }
  }

  /// Adds up the threads' parts, in one order, and writes the sums.
  /// @param scratch  16 bytes of shared memory for each thread, where not in planes
  __device__ __forceinline__ void store(float* to, int first_channel, int row, int channels,
                                        uint32_t scratch) {
    const int thread = threadIdx.x % 128;
    if constexpr (kPlanes) {
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        float sum = sums_[slot];
#pragma unroll
        for (int lanes = 4; lanes > 0; lanes /= 2) {
          sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
        }
        const int channel = first_channel + row + slot * 16;
        if (thread % 8 == 0 && channel < channels) {
          to[channel] = sum;
        }
      }
    } else {
      asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(scratch + thread * 16),
                   "f"(sums_[0]), "f"(sums_[1]), "f"(sums_[2]), "f"(sums_[3])
                   : "memory");
      named_barrier(threadIdx.x / 128, 128);
      // Of 32 lanes; a thread adds up one channel of them.
      float sum = 0;
#pragma unroll
      for (int warp = 0; warp < 4; ++warp) {
        float part;
        asm volatile("ld.shared.f32 %0, [%1];"
                     : "=f"(part)
                     : "r"(scratch + warp * 32 * 16 + thread * 4)
                     : "memory");
        sum += part;
      }
      if (first_channel + thread < channels) {
        to[first_channel + thread] = sum;
      }
    }
  }

 private:
  float sums_[kPlanes ? kSlots : 4] = {};
};

/// The block's place among those that sum up `grad`: which chunks or images are its own.
class SumDuty {
 public:
  __device__ __forceinline__ explicit SumDuty(const ChannelGradientWgmmaParams& p)
      : tiles_(p.sum_tiles),
        tile_(static_cast<int>(blockIdx.y) % p.column_tiles),
        wanted_(p.channel_sums != nullptr && tile_ < tiles_),
        next_(wanted_ ? tile_ : -1) {}

  __device__ __forceinline__ bool wanted() const { return wanted_; }
  /// Asked of each in turn.
  __device__ __forceinline__ bool has(int index) {
    const bool own = index == next_;
    next_ += own ? tiles_ : 0;
    return own;
  }
  __device__ __forceinline__ float* place(const ChannelGradientWgmmaParams& p) const {
    return p.channel_sums + (int64_t{blockIdx.x} * tiles_ + tile_) * p.grad.channels;
  }

 private:
  int tiles_, tile_;
  bool wanted_;
  int next_;
};

/// The same in fp32, of one operand, split in bf16 parts.
/// @tparam kSums      whether it is `grad`, whose sums are wanted as well
/// @param place, raw  of the operand in the first stage, and of its copies
template <int kCount, bool kPlanes, bool kSums>
__device__ __forceinline__ void split_gradient_chunks(const ChannelGradientWgmmaParams& p,
                                                      const ChannelGradientOperand& from,
                                                      int first_channel, int begin, int end,
                                                      uint32_t place, uint32_t raw, int stage_bytes,
                                                      int raw_stage_bytes, uint32_t full,
                                                      uint32_t empty) {
  constexpr int kPixels = ChannelGradientWgmmaShape::pixels(4);
  const int channels = from.channels - first_channel;
  GradientChunk at(p, begin);
  const SplitStages stages{place, raw, stage_bytes, raw_stage_bytes, p.stages, full, empty};
  const auto next_chunk = [&] {
    const int64_t pixel = int64_t{at.chunk} * kPixels;
    const int pixels = static_cast<int>(min(p.pixels - pixel, int64_t{kPixels}));
    const float* data = static_cast<const float*>(from.data);
    const SplitRows rows =
        kPlanes ? SplitRows{data + (int64_t{at.image} * from.channels + first_channel) * p.pixels +
                                pixel,
                            channels, pixels}
                : SplitRows{data + pixel * from.channels + first_channel, pixels, channels};
    at.next(p);
    return rows;
  };
  const int64_t row_stride = kPlanes ? p.pixels : from.channels;
  if constexpr (kSums) {
    SumDuty duty(p);
    ChannelSums<kCount, kPlanes> sums;
    split_chunks<kCount, kPlanes>(stages, end - begin, row_stride, from.piece == 16, next_chunk,
                                  [&](int chunk, const auto& values) {
                                    if (duty.has(chunk)) {
#pragma unroll
                                      for (int slot = 0;
                                           slot < SplitThread<kCount, kPlanes>::kSlots; ++slot) {
                                        sums.add(slot, values[slot]);
                                      }
                                    }
                                  });
    if (duty.wanted()) {
      sums.store(duty.place(p), first_channel, SplitThread<kCount, kPlanes>().row, from.channels,
                 raw);
    }
  } else {
    split_chunks<kCount, kPlanes>(stages, end - begin, row_stride, from.piece == 16, next_chunk,
                                  [](int, const auto&) {});
  }
}

/// The same of small images whose planes are on no 16 bytes: the copy engine brings the channels of
/// an image as one run. Eight threads have a row's 32 pixels, four rows of a warp lie in different
/// banks where the number of pixels is odd.
/// @param raw_full  barriers of the runs
/// @param begin     of a whole image
template <int kCount, bool kSums>
__device__ __forceinline__ void split_gradient_images(const ChannelGradientWgmmaParams& p,
                                                      const ChannelGradientOperand& from,
                                                      int first_channel, int begin, int end,
                                                      uint32_t place, uint32_t raw,
                                                      uint32_t raw_full, int stage_bytes,
                                                      uint32_t full, uint32_t empty) {
  using Shape = ChannelGradientWgmmaShape;
  constexpr int kStep = 16;  // rows of the warpgroup at a time
  static_assert(!kSums || kCount == 128);
  const int thread = threadIdx.x % 128, pixels = static_cast<int>(p.pixels);
  const int raw_bytes = Shape::raw_image_bytes(kCount, pixels);
  const int first = begin / p.image_chunks, images = (end - begin) / p.image_chunks;
  const auto load = [&](int image) {
    if (thread == 0 && image < images) {
      const int slot = image % Shape::kRawImages;
      const int channels = min(from.channels - first_channel, kCount);
      const float* data = static_cast<const float*>(from.data) +
                          (int64_t{first + image} * from.channels + first_channel) * pixels;
      mbarrier_arrive_expect(raw_full + slot * 8, channels * pixels * 4);
      bulk_load(raw + slot * raw_bytes, data, channels * pixels * 4, raw_full + slot * 8);
    }
  };
  for (int i = 0; i < Shape::kRawImages; ++i) {
    load(i);
  }
  const int row = thread / 8, column = thread % 8 * 4;
  const uint32_t high =
      place + row * Shape::kChunkBytes + (column / 8 ^ row % 8) * 16 + column % 8 / 4 * 8;
  // Of neighbouring rows one writes its high parts while the other writes its low ones.
  const uint32_t order = row % 2 * 64;
  SumDuty duty(p);
  float sum = 0;  // of a channel's pixels, a thread each
  int stage = 0;
  uint32_t parity = 1;
  for (int image = 0; image < images; ++image) {
    const int slot = image % Shape::kRawImages;
    mbarrier_wait(raw_full + slot * 8, image / Shape::kRawImages % 2);
    for (int chunk = 0; chunk < p.image_chunks; ++chunk) {
      mbarrier_wait(empty + stage * 8, parity);
      const int pixel = chunk * Shape::pixels(4) + column;
      const uint32_t source = raw + slot * raw_bytes + (row * pixels + pixel) * 4;
      const uint32_t target = high + stage * stage_bytes;
#pragma unroll
      for (int i = 0; i < kCount; i += kStep) {
        float values[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          values[j] = 0;
          if (pixel + j < pixels) {
            asm volatile("ld.shared.f32 %0, [%1];"
                         : "=f"(values[j])
                         : "r"(source + (i * pixels + j) * 4)
                         : "memory");
          }
        }
        const SplitPair one = split_bf16_unlimited(values[0], values[1]);
        const SplitPair two = split_bf16_unlimited(values[2], values[3]);
        const uint32_t to = target + i * Shape::kChunkBytes;
        const bool low_first = order != 0;
        asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(to ^ order),
                     "r"(low_first ? one.low : one.high), "r"(low_first ? two.low : two.high)
                     : "memory");
        asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(to ^ order ^ 64),
                     "r"(low_first ? one.high : one.low), "r"(low_first ? two.high : two.low)
                     : "memory");
      }
      fence_async_proxy();
      __syncwarp();
      if (threadIdx.x % 32 == 0) {
        mbarrier_arrive(full + stage * 8);
      }
      if (++stage == p.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    if (kSums && duty.has(image)) {
      const uint32_t own = raw + slot * raw_bytes + thread * pixels * 4;
#pragma unroll 8
      for (int i = 0; i < pixels; ++i) {
        float value;
        asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(own + i * 4) : "memory");
        sum += value;
      }
    }
    named_barrier(threadIdx.x / 128, 128);
    load(image + Shape::kRawImages);
  }
  if (kSums && duty.wanted() && first_channel + thread < from.channels) {
    duty.place(p)[first_channel + thread] = sum;
  }
}

#endif

}  // namespace kernelopt
