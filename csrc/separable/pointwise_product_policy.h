// Which pointwise products the kernels of few channels of the result, and of few tiles, serve; and
// which one-dimensional convolutions are such products. Includes no torch header.
#pragma once

#include "separable/channel_gemm_policy.h"

namespace kernelopt {

struct ChannelSumsPolicy {
  // More channels fill a tile of the tensor cores at least by half.
  static constexpr int64_t kMaxChannels = ChannelGemmWgmmaPolicy::kMinChannels - 1;
  // An image's pixels, so that they fill some lanes of a warp.
  static constexpr int64_t kMinPixels = 16;

  static constexpr bool pays(int64_t pixels, int64_t channels) {
    return channels <= kMaxChannels && pixels >= kMinPixels;
  }

  /// How many threads share the sum of a pixel. On an H100, us, 1, 4 and 8 of them: bf16
  /// 1x64x257x257 -> 7, of 33 tiles, 24, 13 and 17, 1x256x56x56 -> 3, of two, 47, 15 and 10; fp32
  /// 4x64x257x257 -> 5, of 260, 40, 45 and 49.
  /// @param tiles  of pixels, where they do not
  static constexpr int shares(int64_t tiles, int64_t multiprocessors) {
    return tiles >= multiprocessors ? 1 : tiles * 8 >= multiprocessors ? 4 : 8;
  }
};

struct ChannelClusterPolicy {
  // Figures: ms on an H100, bf16 / fp32, beside what was there before.
  // Long sums over few tiles: 1x3072x7x7 -> 768 0.011 / 0.020, as small images 0.024 and as a
  // one-dimensional convolution 0.025.
  static constexpr int64_t kLongSum = 1024;
  static constexpr int64_t kMultiprocessorsPerTile = 4;  // a tile of 128 channels and 64 pixels

  static constexpr bool pays_for_long_sums(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                                           int64_t multiprocessors) {
    const int64_t tiles = batch * divide_up(pixels, 64) * divide_up(n, 128);
    return k >= kLongSum && tiles * kMultiprocessorsPerTile <= multiprocessors;
  }

  // No more tiles than multiprocessors, beside the one-dimensional convolution: 1x384x1343 -> 768
  // 0.012 and 0.020 / 0.018 and 0.027, 4x512x3999 -> 128 0.021 and 0.039 / 0.031 and 0.036. Of few
  // images, two a multiprocessor as well: 4x384x1343 -> 768 0.031 and 0.040 / 0.047 and 0.054,
  // 1x1536x896 -> 3072 0.037 and 0.056; but in fp32 0.090 and 0.086, and 4x512x2000 -> 512, whose
  // planes begin on 16 bytes, 0.048 and 0.041. More images 0.050 and 0.041 (16x1024x803 -> 256).
  static constexpr int64_t kFewImages = 4, kShortSum = 512;

  static constexpr bool pays(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                             int64_t element_bytes, int64_t multiprocessors) {
    const int64_t tiles = batch * divide_up(pixels, 128) * divide_up(n, 128);
    const bool wide = pixels * element_bytes % 16 == 0;
    return tiles <= multiprocessors || (batch <= kFewImages && tiles <= 2 * multiprocessors &&
                                        (element_bytes == 2 || (!wide && k <= kShortSum)));
  }
};

struct ImageStripsPolicy {
  // fp32 images of more pixels than a tile has, cut into strips, beside the one-dimensional
  // convolution or the kernel of planes. us on an H200: 32x512x28x28 -> 128 28.4 and 41.9, -> 256
  // 45.9 and 72.4, -> 40 22.2 and 26.1, 16x512x28x28 -> 128 19.0 and 26.8, 32x320x20x20 -> 128 14.5
  // and 22.7, 64x384x56x56 -> 96 121 and 138. Not 2x192x64x64 -> 576 24.4 and 21.3, 64x256x28x28 ->
  // 256 57.2 and 53.9, 32x256x56x56 -> 64 47.4 and 42.8; nor few tiles of 64 channels: 64 of
  // 8x512x28x28 -> 128, 18.1 and 15.7.
  static constexpr int64_t kMinSum = 320, kMaxChannels = 256;
  // Where planes are slow: 32x256x28x28 -> 128 19.4 and 30.6.
  static constexpr int64_t kMinSlowSum = 256;
  static constexpr int64_t kStripPixels = 256;

  static constexpr bool pays(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                             int64_t element_bytes, int64_t multiprocessors) {
    const bool slow =
        n >= ChannelPlanesPolicy::kSlowChannelsFrom && n <= ChannelPlanesPolicy::kSlowChannelsTo;
    return element_bytes == 4 && pixels > kStripPixels && pixels % 4 == 0 &&
           k >= (slow ? kMinSlowSum : kMinSum) && n <= kMaxChannels &&
           batch * divide_up(pixels, kStripPixels) * divide_up(n, 64) * 4 >= 3 * multiprocessors;
  }
};

struct ImageColumnsPolicy {
  // Contiguous images of few pixels that are written as padded columns first, beside what else
  // takes them. ms on an H100, bf16 / fp32: 1x384x14x14 -> 1536 0.0072 and 0.0086 / 0.0086 and
  // 0.0096 (ATen), 8x1024x7x7 -> 512 0.0089 and 0.0121 / 0.0117 and 0.0194, 1x256x19x19 -> 1024
  // 0.0059 and 0.0092 / 0.0067 and 0.0126. Too many tiles of 128 channels and 64 columns: 208 of
  // 16x512x7x7 -> 2048, 0.0109 and 0.0104 / 0.0176 and 0.0161; too few: 2x3072x7x7 -> 768, 12,
  // 0.0108 and 0.0099 in bf16. Short sums: 16x160x7x7 -> 960 0.0067 and 0.0061 / 0.0076 and 0.0070.
  static constexpr int64_t kShortestSum = 192;
  static constexpr int64_t kMultiprocessorsPerTile = 8;
  // Of all images; 32x2048x7x7 -> 512 0.0172 and 0.0176 / 0.0374 and 0.0345.
  static constexpr int64_t kMostPixels = 1024;

  static constexpr bool pays(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                             int64_t multiprocessors) {
    const int64_t tiles = divide_up(batch * pixels, 64) * divide_up(n, 128);
    return k >= kShortestSum && batch * pixels <= kMostPixels && tiles <= multiprocessors &&
           tiles * kMultiprocessorsPerTile >= multiprocessors;
  }

  // Sums so short that most warps of the kernel of few pixels are idle, us on an H200, bf16 / fp32:
  // 1x64x14x14 -> 384 5.2 and 6.0 / 4.8 and 5.9, 1x40x28x28 -> 120 5.4 and 6.1 / 4.8 and 5.8,
  // 2x40x28x28 -> 120 in bf16 5.6 and 6.2, 1x58x28x28 -> 58 in fp32 4.9 and 6.2 (planes). Not
  // longer ones: 1x80x14x14 -> 480 5.4 and 5.4 / 5.1 and 5.0; more pixels, 1x24x56x56 -> 144, 6.5
  // and 6.2 in bf16.
  static constexpr int64_t kLeastShortSum = 24, kFewestPixels = 196, kFewestChannels = 56;
  static constexpr int64_t kMostShortPixels = 2048;

  static constexpr bool pays_for_short_sums(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                                            int64_t multiprocessors) {
    const int64_t tiles = divide_up(batch * pixels, 64) * divide_up(n, 128);
    return k >= kLeastShortSum && k <= FewPixelsPolicy::kIdleSum &&
           batch * pixels >= kFewestPixels && batch * pixels <= kMostShortPixels &&
           n >= kFewestChannels && tiles * 4 <= multiprocessors;
  }
};

struct RowsOfOneTapPolicy {
  // Channels of the sum of a convolution with one tap, beyond which many tiles stay with the
  // one-dimensional convolution: planes' weights leave room for 64 channels of the result a block.
  static constexpr int64_t kLongSum = 512;
  // Rows that fill at most half a tile of 128 pixels, in batches: the one-dimensional convolution
  // joins rows in a tile.
  static constexpr int64_t kShortRow = 64, kManyRows = 8;

  static constexpr bool pays(int64_t batch, int64_t length, int64_t n, int64_t k,
                             int64_t multiprocessors) {
    if (length <= kShortRow && batch >= kManyRows) {
      return false;
    }
    return k <= kLongSum ||
           batch * divide_up(length, 128) * divide_up(n, 128) <= 2 * multiprocessors;
  }
};

}  // namespace kernelopt
