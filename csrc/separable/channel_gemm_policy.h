// Tuning of the pointwise and the fused separable products. Includes no torch header.
#pragma once

#include "separable/channel_warps_mma_params.h"

#include <cstdint>
#include <type_traits>

namespace kernelopt {

/// A block computes kTileM x kTileN results, kTileK steps of the sum at a time; each of its 16 x 16
/// threads owns 4 x 4 of every 64 x 64 of them.
template <int kM, int kN, int kRegistersValue>
struct ChannelGemmTile {
  static constexpr int kTileM = kM;
  static constexpr int kTileN = kN;
  static constexpr int kTileK = 16;
  static constexpr int kThreads = 256;
  static constexpr int kRegisters = kRegistersValue;  // a thread may use
};

// 64 products a thread for every 16 values read from shared memory.
using LargeChannelTile = ChannelGemmTile<128, 128, 128>;
// For few channels or pixels: more blocks, fewer of their results beyond the edge. fp64 takes it
// always, for its sums need twice the registers.
using SmallChannelTile = ChannelGemmTile<64, 64, 128>;

struct ChannelGemmPolicy {
  // Steps of the sum a share has at least, so that the second stage costs little.
  static constexpr int64_t kMinShareLength = 512;
  static constexpr int64_t kBlocksPerMultiprocessor = 4;
};

/// Calls `function(Tile{})` with the tile for a product of m x n results. A large tile is worth it
/// where its blocks still fill the device.
template <typename T, typename Function>
void dispatch_channel_tile(int64_t m, int64_t n, int multiprocessors, Function&& function) {
  if constexpr (!std::is_same_v<T, double>) {
    const int64_t tiles = ((m + 127) / 128) * ((n + 127) / 128);
    if (m > 64 && n > 64 && tiles >= multiprocessors) {
      return function(LargeChannelTile{});
    }
  }
  function(SmallChannelTile{});
}

struct ChannelGemmWgmmaPolicy {
  // Below 8 channels on either side most of a fragment would be zeros. Below these products the
  // CUDA cores take as long: 0.004 ms on an H100, mostly the launch.
  static constexpr int64_t kMinChannels = 8;
  static constexpr double kMinProducts = 1 << 16;

  static constexpr bool pays(int64_t m, int64_t n, int64_t k) {
    return n >= kMinChannels && k >= kMinChannels && n <= kMaxChannels && k <= kMaxChannels &&
           static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) >= kMinProducts;
  }

  static constexpr int64_t kMaxChannels = 1 << 24;  // 32-bit columns

  // Contiguous images of few pixels, which fill no tile of a one-dimensional convolution, are
  // changed to channels_last and back. In bf16 on an H100, ms, the product of rows alone beside the
  // one-dimensional convolution: 64x320x7x7 -> 1280: 0.012, 0.079; 256x512x14x14 -> 512: 0.071,
  // 0.193; 128x256x28x28 -> 256: 0.046, 0.098, too little for the two copies. In fp32
  // 64x512x14x14 -> 512: 0.042, 0.073. A single image is not worth two more launches: with the
  // copies 1x384x14x14 -> 64 takes 0.020, without 0.011.
  static constexpr int64_t kMaxConvertedPixels = 64, kMaxConvertedPixels16 = 256;
  static constexpr int64_t kMinConvertedBatch = 8;

  static constexpr bool converts(int64_t batch, int64_t pixels, int64_t element_bytes) {
    return batch >= kMinConvertedBatch &&
           pixels <= (element_bytes == 2 ? kMaxConvertedPixels16 : kMaxConvertedPixels);
  }
};

struct FewPixelsPolicy {
  // A block has its warps to itself where it has a multiprocessor to itself. With two of them, in
  // fp32 up to 512 channels of the sum, and in 16 bit, where the others pack no weights or little,
  // up to 256 of contiguous images; docs/tuning/pointwise.md has the times.
  static constexpr int64_t kLongestSum = 1536;
  static constexpr int64_t kShortSum = 512, kShortSum16 = 256;

  /// @param rows  images and result are rows of channels
  static constexpr bool pays(int64_t images, int64_t pixels, int64_t n, int64_t k, bool rows,
                             int64_t element_bytes, int64_t multiprocessors) {
    constexpr int64_t kTile = ChannelWarpsMmaShape::kTile;
    const int64_t tiles =
        rows ? divide_up(images * pixels, kTile) : images * divide_up(pixels, kTile);
    const int64_t blocks = tiles * divide_up(n, kTile);
    const int64_t longest = blocks <= multiprocessors ? kLongestSum
                            : element_bytes == 4      ? kShortSum
                            : rows                    ? 0
                                                      : kShortSum16;
    return blocks <= 2 * multiprocessors && k <= longest;
  }

  // How many blocks share a long sum, in a cluster, where multiprocessors are idle otherwise. On an
  // H200, us, before and now: bf16 1x1024x14x14 -> 256, of 56 blocks, by two 8.4 and 6.7,
  // 1x960x7x7 -> 160, of 10, by four 8.4 and 5.9; fp32 1x1280x7x7 -> 320, of 20, 13.3 and 7.2. Not
  // 1x464x7x7 -> 1024, of 64, 7.0 and 7.1 by two. Some parts of the device have no room for four:
  // 32 blocks of 4x1280x1x1 -> 1000 7.9 and 12.0. Rows of channels, in fp32 alone: 1x960x7x7 -> 160
  // 8.7 and 6.6, in bf16 6.5 and 6.5, 1x1024x14x14 -> 256 9.0 and 8.2, in bf16 6.6 and 6.8.
  static constexpr int64_t kSharedSum = 640;

  static constexpr int shares(int64_t blocks, int64_t pixels, int64_t k, bool rows,
                              int64_t element_bytes, int64_t multiprocessors) {
    if (k < kSharedSum || (rows && (element_bytes != 4 || pixels <= ChannelWarpsMmaShape::kTile))) {
      return 1;
    }
    return blocks * 4 * 8 <= multiprocessors * 7 ? 4 : blocks * 2 <= multiprocessors ? 2 : 1;
  }

  // Short sums of contiguous planes on 16 bytes, whose weights are on no 16 bytes and leave most of
  // a block's warps idle. On an H100, us, here and by the kernel of planes: bf16 1x58x28x28 -> 58
  // 6.2 and 4.8, 1x20x64x64 -> 60 8.6 and 4.7, 1x58x28x28 -> 116 6.1 and 5.9; fp32 6.2 and 5.8, 8.1
  // (weights on 16 bytes), 6.2 and 7.1, and 1x62x40x40 -> 10 5.1 and 5.8.
  static constexpr int64_t kIdleSum = 64, kManyPixels = 512;

  static constexpr bool planes_pay(int64_t pixels, int64_t n, int64_t k, int64_t element_bytes) {
    return k <= kIdleSum && pixels >= kManyPixels && k * element_bytes % 16 != 0 &&
           pixels * element_bytes % 16 == 0 &&
           (element_bytes == 2 || (n >= kIdleSum / 2 && n <= kIdleSum));
  }

  // Contiguous planes that do not begin on 16 bytes, of which other kernels move few bytes at a
  // time.
  static constexpr int64_t kShiftedShortSum = 64, kShiftedSum16 = 512;

  static constexpr bool pays_for_shifted_planes(int64_t images, int64_t pixels, int64_t n,
                                                int64_t k, int64_t element_bytes,
                                                int64_t multiprocessors) {
    constexpr int64_t kTile = ChannelWarpsMmaShape::kTile;
    const int64_t blocks = images * divide_up(pixels, kTile) * divide_up(n, kTile);
    return pixels * element_bytes % 16 != 0 &&
           ((blocks <= 4 * multiprocessors && k <= kShiftedShortSum) ||
            (element_bytes == 2 && blocks <= 2 * multiprocessors && k <= kShiftedSum16));
  }
};

struct ChannelPlanesPolicy {
  // In fp32 on an H100, ms, beside the one-dimensional convolution: problem 87, 16x64x1024x1024 ->
  // 128, 4.75 and 4.65; 64x384x56x56 -> 96 0.189 and 0.172; but its input gradient, to 384, 0.151
  // and 0.165; 256x64x56x56 -> 64 0.150 and 0.160. 1x512x28x28 -> 128, a long sum over few pixels,
  // 0.016 and 0.014, as the other one splits it.
  static constexpr int64_t kSlowChannelsFrom = 65, kSlowChannelsTo = 128;
  // 4x512x2000 -> 512, of many channels: 0.043 and 0.041.
  static constexpr int64_t kLongSum = 256, kFewPixels = 4096, kManyChannels = 256;

  /// @param pixels    of all images
  /// @param channels  of the result
  /// @param sum       channels of the sum
  /// @param simple    no activation, or ReLU: the others are slower there, 87/4 with SiLU 2.7,
  /// here 2.0
  static constexpr bool pays(int64_t pixels, int64_t channels, int64_t sum, int64_t element_bytes,
                             bool simple, int64_t multiprocessors) {
    return element_bytes == 2 || has_few_tiles(pixels, channels, sum, multiprocessors) ||
           ((!simple || channels < kSlowChannelsFrom || channels > kSlowChannelsTo) &&
            (sum <= kLongSum || (pixels >= kFewPixels && channels <= kManyChannels)));
  }

  /// Whether fp32 tiles find a multiprocessor each. Then, beside the one-dimensional convolution,
  /// 1x512x2000 -> 512 0.016 and 0.025, 1x384x56x56 -> 96 0.012 and 0.018, 1x384x14x14 -> 1536
  /// 0.014 and 0.017, 1x16x112x112 -> 96 0.0071 and 0.010.
  static constexpr bool has_few_tiles(int64_t pixels, int64_t channels, int64_t sum,
                                      int64_t multiprocessors) {
    return divide_up(pixels, 128) * divide_up(channels, sum <= kLongSum ? 128 : 64) <=
           multiprocessors;
  }
};

struct ChannelImagesPolicy {
  static constexpr int64_t kMaxPixels = 256;         // of an image, that fills a tile
  static constexpr int64_t kMaxGradientPixels = 63;  // for which the weight gradient has room
  // In fp32 on an H100, ms, beside the one-dimensional convolution, which splits the sum:
  // 1x384x14x14 -> 64 0.015 and 0.012, 1x512x14x14 -> 512 0.018 and 0.015, 4x960x7x7 -> 160 0.019
  // and 0.016; but 7x512x7x7 -> 512 0.014 and 0.019, 16x1024x14x14 -> 256 0.030 and 0.031. In bf16
  // it is the faster one of all these: 0.011 and 0.012 of the first. Changed to rows 8x2048x7x7 ->
  // 512 takes 0.043, so 0.034.
  static constexpr int64_t kLongSum = 256;
  static constexpr double kMinPixels = 0.6;  // of all images, for a channel of a long sum

  /// @param pixels  of an image
  /// @param sum     channels of the sum
  static constexpr bool pays(int64_t batch, int64_t pixels, int64_t sum, int64_t element_bytes) {
    if (pixels <= 1 || pixels > kMaxPixels) {
      return false;
    }
    if (element_bytes == 2) {
      return pixels % 8 != 0;
    }
    return sum <= kLongSum || ChannelGemmWgmmaPolicy::converts(batch, pixels, element_bytes) ||
           static_cast<double>(batch * pixels) >= kMinPixels * static_cast<double>(sum);
  }

  // In fp32 on an H100, ms, the weight gradient of images as they are beside that of rows with the
  // two copies: 128x464x7x7 -> 1024 0.069 and 0.088; 64x192x7x7 -> 1152 0.030 and 0.047; 64x256x3x3
  // -> 256, which fills a quarter of its chunks, 0.017 and 0.026.
  static constexpr bool gradient_pays(int64_t pixels, int64_t element_bytes) {
    return element_bytes == 4 && (pixels <= kMaxGradientPixels || pixels * element_bytes % 16 == 0);
  }
};

struct SeparablePolicy {
  // Tiles of output channels a fused product may have: each of them computes the depthwise values
  // of its pixels again. With more, or with many taps, two kernels do less work.
  static constexpr int64_t kMaxChannelTiles = 2;
  static constexpr int64_t kMaxRepeatedTaps = 9;

  static constexpr bool fuses(int64_t channel_tiles, int64_t taps) {
    return channel_tiles == 1 || (channel_tiles <= kMaxChannelTiles && taps <= kMaxRepeatedTaps);
  }
};

/// Calls `function(Tile{})` with the tile of a fused product: as many output channels as possible,
/// for the depthwise values are computed once a tile.
template <typename T, typename Function>
void dispatch_separable_tile(int64_t out_channels, Function&& function) {
  if constexpr (!std::is_same_v<T, double>) {
    if (out_channels > 64) {
      return function(LargeChannelTile{});
    }
  }
  function(SmallChannelTile{});
}

/// Calls `function(KernelSize<...>{})` with the kernel size the fused kernel knows at compile time,
/// 0 x 0 for any.
template <int kHeightValue, int kWidthValue>
struct KernelSize {
  static constexpr int kHeight = kHeightValue;
  static constexpr int kWidth = kWidthValue;
};

template <typename T, typename Function>
void dispatch_kernel_size(int64_t height, int64_t width, Function&& function) {
  if constexpr (!std::is_same_v<T, double>) {
    if (height == 3 && width == 3) {
      return function(KernelSize<3, 3>{});
    }
  }
  function(KernelSize<0, 0>{});
}

}  // namespace kernelopt
