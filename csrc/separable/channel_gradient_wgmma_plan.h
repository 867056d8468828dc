// Shares and tiles of the warpgroup kernel of the pointwise weight gradient. Includes no torch
// header.
#pragma once

#include "separable/channel_gemm_wgmma_params.h"
#include "separable/split_chunks.cuh"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kernelopt {

enum class GradientLayout {
  kRows,    // channels_last
  kPlanes,  // contiguous images
  kImages,  // the same in fp32, small and on no 16 bytes: an image's channels come as one run
};

struct ChannelGradientWgmmaShape {
  static constexpr int kWarpgroups = 2;  // that multiply
  static constexpr int kTileM = 128;
  // fp32 is split by the threads that load it: one warpgroup for each operand.
  static constexpr int load_warpgroups(int size) { return size == 4 ? 2 : 1; }
  static constexpr int threads(int size) { return (kWarpgroups + load_warpgroups(size)) * 128; }
  // Registers a thread where fp32 is split and 128 columns are multiplied: 96 + 160 of two
  // warpgroups each fit the multiprocessor's 512.
  static constexpr int kSplitRegisters = 96;
  static constexpr int kProductRegisters = 160;
  // A chunk has 128 bytes of each channel: in fp32 the high parts of 32 pixels and their low parts.
  static constexpr int kChunkBytes = ChannelGemmWgmmaShape::kChunkBytes;
  static constexpr int pixels(int size) { return kChunkBytes / size; }
  static constexpr int kColumns = 64;         // of a panel: 128 bytes of a pixel in 16 bit
  static constexpr int kPending = 3;          // as ChannelGemmWgmmaShape::pending_stages()
  static constexpr int kRawImages = 2;        // of GradientLayout::kImages on their way
  static constexpr int kMaxImagePixels = 63;  // more leave no room for stages
  static constexpr int raw_image_bytes(int channels, int64_t pixels) {
    return channels * static_cast<int>(pixels) * 4;
  }
  static constexpr int stage_bytes(int block_n) { return (kTileM + block_n) * kChunkBytes; }
  // A sum that is not finite is computed again by one thread where there are no shares.
  static constexpr int64_t kMaxDirectPixels = 8192;
  // A share has so many chunks at least; up to so many are not shared. On an H100, ms: 1x24x56x56
  // -> 144 in fp32 in shares of two chunks 0.0126, of four 0.0133, of eight 0.0156, in bf16 0.0087,
  // 0.0093, 0.0116. Seven chunks, 1x384x14x14 -> 64 in fp32, in one share 0.0095, in seven 0.0106;
  // 1x512x14x14 -> 512 0.0096, in four 0.0137, in bf16 0.0073, in two 0.0104.
  static constexpr int kMinChunks = 2;
  static constexpr int kMaxWholeChunks = 8;
  // Tensor cores round sums towards zero: so many products in a row, then a sum is added to another
  // one, rounded to nearest.
  static constexpr int kMaxProductsInRow = 384;
  static constexpr int flush_chunks(int size) {
    return kMaxProductsInRow / (pixels(size) / 16 * (size == 4 ? 3 : 1));
  }
};

/// One of the two operands: [pixels, channels] in channels_last, or [images, channels, pixels].
struct ChannelGradientOperand {
  const void* data;
  int channels;
  int piece;  // bytes that a copy moves: 16, 4 or 2
};

struct ChannelGradientWgmmaParams {
  ChannelGradientOperand grad;
  ChannelGradientOperand input;
  float* partial;  // [shares, out_channels, channels]
  void* result;    // [out_channels, channels] in the operands' dtype, where one share is all
  // fp32: [shares, sum_tiles, out_channels], sums of `grad` over pixels; null where not wanted.
  float* channel_sums;
  int64_t pixels;    // of an image; channels_last: of all
  int image_chunks;  // of an image
  int chunks;
  int share_chunks;
  int column_tiles;
  int sum_tiles;  // of columns, whose blocks divide the chunks to sum up among them
  int stages;
  int raw_row_bytes;  // fp32: of 128 bytes on their way to be split
};

struct ChannelGradientWgmmaPlan {
  bool fits;
  ChannelGradientWgmmaParams params;
  GradientLayout layout;
  int block_n;
  int shared_bytes;
  int64_t shares;
  int64_t tiles;
  bool direct;  // the kernel writes the result, not shares of it
};

/// Plans the gradient of `problem`, of which the operands' data and channels and the pixels are
/// given.
/// @param images  in planes of `pixels` each; 0: channels_last
/// @param size    of an element
inline ChannelGradientWgmmaPlan plan_channel_gradient_wgmma(
    const ChannelGradientWgmmaParams& problem, int64_t images, int size, int max_shared_bytes,
    int multiprocessors) {
  using Shape = ChannelGradientWgmmaShape;
  constexpr int kMaxStages = 8;
  ChannelGradientWgmmaPlan plan{};
  ChannelGradientWgmmaParams& p = plan.params;
  p = problem;
  const int64_t image_chunks = divide_up(p.pixels, Shape::pixels(size));
  const int64_t chunks = std::max<int64_t>(images, 1) * image_chunks;
  if (chunks <= 0 || chunks > std::numeric_limits<int32_t>::max() / 2) {
    return plan;
  }
  const int64_t useful = chunks <= Shape::kMaxWholeChunks ? 1 : chunks / Shape::kMinChunks;
  const int64_t row_tiles = divide_up(p.grad.channels, Shape::kTileM);
  // Narrow tiles where all blocks there can be with them are resident at once.
  const int64_t narrow = row_tiles * divide_up(p.input.channels, 64);
  plan.block_n = p.input.channels > 64 && narrow * useful > multiprocessors ? 128 : 64;
  const int64_t columns = divide_up(p.input.channels, plan.block_n);
  plan.tiles = row_tiles * columns;
  const int64_t shares = std::clamp<int64_t>(multiprocessors / plan.tiles, 1, useful);
  p.image_chunks = static_cast<int>(image_chunks);
  p.chunks = static_cast<int>(chunks);
  bool even = true, runs = true;
  for (ChannelGradientOperand* operand : {&p.grad, &p.input}) {
    const int64_t row_bytes = (images > 0 ? p.pixels : operand->channels) * size;
    const auto aligned = [&](int bytes) {
      return reinterpret_cast<uintptr_t>(operand->data) % bytes == 0 && row_bytes % bytes == 0;
    };
    operand->piece = aligned(16) ? 16 : aligned(4) ? 4 : 2;
    // Planes of an odd number of pixels are better aligned before.
    even &= images == 0 || operand->piece > 2;
    runs &= reinterpret_cast<uintptr_t>(operand->data) % 16 == 0 &&
            operand->channels * p.pixels * size % 16 == 0;
  }
  const bool as_images = images > 0 && size == 4 && runs && p.pixels * size % 16 != 0 &&
                         p.pixels <= Shape::kMaxImagePixels;
  plan.layout = as_images    ? GradientLayout::kImages
                : images > 0 ? GradientLayout::kPlanes
                             : GradientLayout::kRows;
  // Shares of whole images, where these come as a whole.
  const int64_t unit = as_images ? image_chunks : 1;
  p.share_chunks = static_cast<int>(divide_up(divide_up(chunks, shares), unit) * unit);
  p.column_tiles = static_cast<int>(columns);
  const bool wide = p.grad.piece == 16 && p.input.piece == 16;
  p.raw_row_bytes = images > 0 && !wide ? SplitChunkShape::kShiftedRowBytes : Shape::kChunkBytes;
  plan.shares = divide_up(chunks, p.share_chunks);
  plan.direct = plan.shares == 1 && chunks * Shape::pixels(size) <= Shape::kMaxDirectPixels;
  p.sum_tiles = plan.shares == 1 ? 1 : static_cast<int>(columns);
  const int stage_bytes = Shape::stage_bytes(plan.block_n) + 16;  // with its barriers
  const int raw_bytes =
      as_images   ? Shape::kRawImages *
                        (Shape::raw_image_bytes(Shape::kTileM + plan.block_n, p.pixels) + 2 * 8)
      : size == 4 ? SplitChunkShape::kRawStages * (Shape::kTileM + plan.block_n) * p.raw_row_bytes
                  : 0;
  p.stages = std::min(kMaxStages, (max_shared_bytes - raw_bytes) / stage_bytes);
  plan.shared_bytes = p.stages * stage_bytes + raw_bytes;
  plan.fits = even && plan.tiles <= 65535 && p.stages >= (size == 4 ? 2 : Shape::kPending + 2);
  return plan;
}

}  // namespace kernelopt
