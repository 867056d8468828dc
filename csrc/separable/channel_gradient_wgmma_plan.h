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
  float* partial;    // [shares, out_channels, channels]
  int64_t pixels;    // of an image; channels_last: of all
  int image_chunks;  // of an image
  int chunks;
  int share_chunks;
  int column_tiles;
  int stages;
};

struct ChannelGradientWgmmaPlan {
  bool fits;
  ChannelGradientWgmmaParams params;
  GradientLayout layout;
  int block_n;
  int shared_bytes;
  int64_t shares;
  int64_t tiles;
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
  // Of a share: enough that its sums are a small part of what it reads.
  const int64_t min_chunks = int64_t{256} / Shape::pixels(size);
  ChannelGradientWgmmaPlan plan{};
  ChannelGradientWgmmaParams& p = plan.params;
  p = problem;
  plan.block_n = p.input.channels > 64 ? 128 : 64;
  const int64_t columns = divide_up(p.input.channels, plan.block_n);
  plan.tiles = divide_up(p.grad.channels, Shape::kTileM) * columns;
  const int64_t image_chunks = divide_up(p.pixels, Shape::pixels(size));
  const int64_t chunks = std::max<int64_t>(images, 1) * image_chunks;
  if (chunks <= 0 || chunks > std::numeric_limits<int32_t>::max() / 2) {
    return plan;
  }
  const int64_t shares = std::clamp<int64_t>(multiprocessors / plan.tiles, 1,
                                             std::max<int64_t>(1, chunks / min_chunks));
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
  plan.shares = divide_up(chunks, p.share_chunks);
  const int stage_bytes = Shape::stage_bytes(plan.block_n) + 16;  // with its barriers
  const int raw_bytes =
      as_images   ? Shape::kRawImages *
                        (Shape::raw_image_bytes(Shape::kTileM + plan.block_n, p.pixels) + 2 * 8)
      : size == 4 ? SplitChunkShape::kRawStages * Shape::stage_bytes(plan.block_n)
                  : 0;
  p.stages = std::min(kMaxStages, (max_shared_bytes - raw_bytes) / stage_bytes);
  plan.shared_bytes = p.stages * stage_bytes + raw_bytes;
  plan.fits = even && plan.tiles <= 65535 && p.stages >= (size == 4 ? 2 : Shape::kPending + 2);
  return plan;
}

}  // namespace kernelopt
