// The weight gradient of the pointwise convolution on Hopper's tensor cores (wgmma):
//   partial[share, o, c] = sum over the share's pixels of grad[p, o] * input[p, c]
// or, with a single share, the result; in fp32 also the sums of grad[p, o], for the bias gradient.
// A block owns a share and 128 x kN channels. Warpgroups load chunks of pixels, 128 bytes of each
// channel (channel_gradient_wgmma_load.cuh); two more multiply 64 output channels each, both
// operands from shared memory: in planes (contiguous images) its rows run along the sum, in
// channels_last across it. fp32 is split in two bf16 parts as it is loaded, three products.
#pragma once

#include "common/cuda.cuh"
#include "separable/channel_gradient_wgmma_load.cuh"

#include <type_traits>

namespace kernelopt {

/// A result in plain fp32, where the parts of fp32 or the zeros behind an image have made Inf or
/// NaN of it, or it is.
template <typename T, bool kPlanes>
__device__ __noinline__ float channel_gradient_exactly(const ChannelGradientWgmmaParams& p, int o,
                                                       int c) {
  const int images = p.chunks / p.image_chunks;
  const int64_t step = kPlanes ? 1 : p.grad.channels, input_step = kPlanes ? 1 : p.input.channels;
  float sum = 0;
  for (int image = 0; image < images; ++image) {
    const T* grad = static_cast<const T*>(p.grad.data) +
                    (kPlanes ? (int64_t{image} * p.grad.channels + o) * p.pixels : o);
    const T* input = static_cast<const T*>(p.input.data) +
                     (kPlanes ? (int64_t{image} * p.input.channels + c) * p.pixels : c);
    for (int64_t pixel = 0; pixel < p.pixels && !isnan(sum); ++pixel) {
      sum = fmaf(to_accumulate(grad[pixel * step]), to_accumulate(input[pixel * input_step]), sum);
    }
  }
  return sum;
}

template <typename T, int kN, GradientLayout kLayout>
__global__ void __launch_bounds__(ChannelGradientWgmmaShape::threads(sizeof(T)), 1)
    channel_gradient_wgmma_kernel(const __grid_constant__ ChannelGradientWgmmaParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = ChannelGradientWgmmaShape;
  constexpr bool kSplit = MmaTraits<T>::kParts == 2;
  constexpr bool kPlanes = kLayout != GradientLayout::kRows;
  constexpr bool kImages = kSplit && kLayout == GradientLayout::kImages;
  constexpr int kPixels = Shape::pixels(sizeof(T));
  constexpr int kStageBytes = Shape::stage_bytes(kN);
  constexpr int kLeftBytes = Shape::kTileM * Shape::kChunkBytes;
  constexpr int kLoadWarps = Shape::load_warpgroups(sizeof(T)) * 4;

  grid_dependency_launch();
  extern __shared__ __align__(1024) unsigned char shared[];  // stages, of copies too, barriers
  const uint32_t stages = shared_address(shared), raw = stages + p.stages * kStageBytes;
  const int raw_bytes =
      kImages  ? Shape::kRawImages * Shape::raw_image_bytes(Shape::kTileM + kN, p.pixels)
      : kSplit ? SplitChunkShape::kRawStages * (Shape::kTileM + kN) * p.raw_row_bytes
               : 0;
  const uint32_t full = raw + raw_bytes, empty = full + p.stages * 8;
  [[maybe_unused]] const uint32_t raw_full = empty + p.stages * 8;  // of either operand's images
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(full + stage * 8, kLoadWarps);
      mbarrier_init(empty + stage * 8, Shape::kWarpgroups * 4);
    }
    for (int i = 0; kImages && i < 2 * Shape::kRawImages; ++i) {
      mbarrier_init(raw_full + i * 8, 1);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpgroup = warp / 4;
  const int first_row = static_cast<int>(blockIdx.y) / p.column_tiles * Shape::kTileM;
  const int first_column = static_cast<int>(blockIdx.y) % p.column_tiles * kN;
  const int begin = static_cast<int>(blockIdx.x) * p.share_chunks;
  const int end = min(begin + p.share_chunks, p.chunks);
  if (warpgroup >= Shape::kWarpgroups) {
    if constexpr (kSplit) {
      if constexpr (kN == 128) {
        give_registers<Shape::kSplitRegisters>();
      }
      const auto split = [&](auto count, auto is_grad, int channel) {
        constexpr int kCount = decltype(count)::value;
        constexpr bool kGrad = decltype(is_grad)::value;
        const ChannelGradientOperand& from = kGrad ? p.grad : p.input;
        const uint32_t place = stages + (kGrad ? 0 : kLeftBytes);
        if constexpr (kImages) {
          constexpr int kBefore = kGrad ? 0 : Shape::kRawImages;  // images of the other operand
          split_gradient_images<kCount, kGrad>(
              p, from, channel, begin, end, place,
              raw + Shape::raw_image_bytes(kBefore * Shape::kTileM, p.pixels),
              raw_full + kBefore * 8, kStageBytes, full, empty);
        } else {
          split_gradient_chunks<kCount, kPlanes, kGrad>(
              p, from, channel, begin, end, place,
              raw + (kGrad ? 0 : Shape::kTileM * p.raw_row_bytes), kStageBytes,
              (Shape::kTileM + kN) * p.raw_row_bytes, full, empty);
        }
      };
      if (warpgroup == Shape::kWarpgroups) {
        split(std::integral_constant<int, Shape::kTileM>{}, std::true_type{}, first_row);
      } else {
        split(std::integral_constant<int, kN>{}, std::false_type{}, first_column);
      }
    } else {
      load_gradient_chunks<T, kN, kPlanes>(p, first_row, first_column, begin, end, stages, full,
                                           empty);
    }
    return;
  }

  if constexpr (kSplit && kN == 128) {
    take_registers<Shape::kProductRegisters>();
  }
  // Units of 16 bytes of a descriptor: to the next 16 pixels, and to the low parts.
  constexpr int kStep = kPlanes ? 2 : 16 * Shape::kChunkBytes / 16;
  constexpr int kPanelBytes = kPixels * Shape::kChunkBytes;
  constexpr int kLeftLow = kPlanes ? 4 : Shape::kTileM / Shape::kColumns * kPanelBytes / 16;
  constexpr int kRightLow = kPlanes ? 4 : kN / Shape::kColumns * kPanelBytes / 16;
  const auto descriptor = [](uint32_t place) {
    return kPlanes ? wgmma_swizzled_descriptor(place) : wgmma_column_descriptor(place, kPanelBytes);
  };
  const uint32_t left_offset =
      warpgroup * (kPlanes ? Shape::kColumns * Shape::kChunkBytes : kPanelBytes);
  float sums[kN / 2], accumulators[kN / 2];
#pragma unroll
  for (float& sum : sums) {
    sum = 0;
  }
  int stage = 0, previous = -1;
  uint32_t parity = 0;
  const auto release = [&] {
    __syncwarp();
    if (lane == 0 && previous >= 0) {
      mbarrier_arrive(empty + previous * 8);
    }
  };
  for (int rest = end - begin; rest > 0; rest -= Shape::flush_chunks(sizeof(T))) {
    const int chunks = min(rest, Shape::flush_chunks(sizeof(T)));
    for (int chunk = 0; chunk < chunks; ++chunk) {
      mbarrier_wait(full + stage * 8, parity);
      const uint32_t place = stages + stage * kStageBytes;
      const uint64_t left = descriptor(place + left_offset);
      const uint64_t right = descriptor(place + kLeftBytes);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kPixels / 16; ++step) {
        wgmma_m64k16<T, !kPlanes>(accumulators, left + step * kStep, right + step * kStep,
                                  step == 0 ? chunk : 1);
        if constexpr (kSplit) {
          wgmma_m64k16<T, !kPlanes>(accumulators, left + kLeftLow + step * kStep,
                                    right + step * kStep, 1);
          wgmma_m64k16<T, !kPlanes>(accumulators, left + step * kStep,
                                    right + kRightLow + step * kStep, 1);
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
    wgmma_hold(accumulators);
    release();
    previous = -1;
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) {
      sums[i] += accumulators[i];
    }
  }

  const int row = first_row + warpgroup * Shape::kColumns + warp % 4 * 16 + lane / 4;
  const int column = first_column + lane % 4 * 2;
  const int channels = p.input.channels;
  const auto store = [&](auto* result) {
    using Result = std::remove_pointer_t<decltype(result)>;
    const bool pairs = channels % 2 == 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Result* target = result + static_cast<int64_t>(row + half * 8) * channels + column;
#pragma unroll
      for (int i = 0; i < kN / 8; ++i) {
        const Vec<Result, 2> both{from_accumulate<Result>(sums[i * 4 + half * 2]),
                                  from_accumulate<Result>(sums[i * 4 + half * 2 + 1])};
        const int rest = row + half * 8 < p.grad.channels ? channels - column - i * 8 : 0;
        if (pairs && rest > 0) {
          *reinterpret_cast<Vec<Result, 2>*>(target + i * 8) = both;
        } else if (rest > 0) {
          target[i * 8] = both.values[0];
          if (rest > 1) {
            target[i * 8 + 1] = both.values[1];
          }
        }
      }
    }
  };
  float* partial = p.partial + static_cast<int64_t>(blockIdx.x) * p.grad.channels * channels;
  T* result = static_cast<T*>(p.result);
  if constexpr (kSplit) {
    store(result == nullptr ? partial : result);  // one copy of the code is read sooner
  } else if (result == nullptr) {
    store(partial);
  } else {
    store(result);
  }
  if (result == nullptr) {
    return;  // what is not finite is found when the shares are added up
  }
  float zero = 0;
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) {
    zero = fmaf(sums[i], 0.0f, zero);
  }
  if (zero == 0) {
    return;
  }
#pragma unroll 1
  for (int i = 0; i < kN / 2; ++i) {
    const int o = row + i / 2 % 2 * 8, c = column + i / 4 * 8 + i % 2;
    if (o < p.grad.channels && c < channels) {
      T& element = result[static_cast<int64_t>(o) * channels + c];
      if (!isfinite(to_accumulate(element))) {
        element = from_accumulate<T>(channel_gradient_exactly<T, kPlanes>(p, o, c));
      }
    }
  }
#endif
}

}  // namespace kernelopt
