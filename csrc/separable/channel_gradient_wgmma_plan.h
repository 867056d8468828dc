// Shares and tiles of the warpgroup kernel of the pointwise weight gradient. Includes no torch
// header.
#pragma once

#include "separable/channel_gemm_wgmma_params.h"

#include <algorithm>
#include <cstdint>

namespace kernelopt {

struct ChannelGradientWgmmaShape {
  static constexpr int kThreads = ChannelGemmWgmmaShape::kThreads;
  static constexpr int kTileM = 128;
  static constexpr int kPixels = 64;   // of a chunk
  static constexpr int kColumns = 64;  // of 128 bytes
  static constexpr int kPanelBytes = kPixels * ChannelGemmWgmmaShape::kChunkBytes;
  static constexpr int kPending = 3;  // as ChannelGemmWgmmaShape::pending_stages()
  static constexpr int stage_bytes(int block_n) {
    return (kTileM + block_n) / kColumns * kPanelBytes;
  }
};

struct ChannelGradientWgmmaParams {
  const void* grad;   // [pixels, out_channels]
  const void* input;  // [pixels, channels]
  float* partial;     // [shares, out_channels, channels]
  int64_t pixels;
  int64_t share_pixels;  // a multiple of a chunk's
  int out_channels;
  int channels;
  int column_tiles;
  int stages;
};

struct ChannelGradientWgmmaPlan {
  bool fits;
  ChannelGradientWgmmaParams params;
  int block_n;
  int shared_bytes;
  int64_t shares;
  int64_t tiles;
};

/// Plans the gradient of `problem`, of which the operands and their sizes are given.
inline ChannelGradientWgmmaPlan plan_channel_gradient_wgmma(
    const ChannelGradientWgmmaParams& problem, int max_shared_bytes, int multiprocessors) {
  using Shape = ChannelGradientWgmmaShape;
  constexpr int kMaxStages = 8;
  // Of a share: enough that its sums are a small part of what it reads, few enough for fp32.
  constexpr int64_t kMinChunks = 4, kMaxChunks = 1024;
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  ChannelGradientWgmmaPlan plan{};
  ChannelGradientWgmmaParams& p = plan.params;
  p = problem;
  plan.block_n = p.channels > 64 ? 128 : 64;
  const int64_t columns = divide_up(p.channels, plan.block_n);
  plan.tiles = divide_up(p.out_channels, Shape::kTileM) * columns;
  const int64_t chunks = divide_up(p.pixels, Shape::kPixels);
  const int64_t shares = std::max(divide_up(chunks, kMaxChunks),
                                  std::clamp<int64_t>(multiprocessors / plan.tiles, 1,
                                                      std::max<int64_t>(1, chunks / kMinChunks)));
  p.share_pixels = divide_up(chunks, shares) * Shape::kPixels;
  p.column_tiles = static_cast<int>(columns);
  plan.shares = divide_up(p.pixels, p.share_pixels);
  const int stage_bytes = Shape::stage_bytes(plan.block_n) + 16;  // with its barriers
  p.stages = std::min(kMaxStages, max_shared_bytes / stage_bytes);
  plan.shared_bytes = p.stages * stage_bytes;
  const auto aligned = [](const void* pointer, int channels) {
    return reinterpret_cast<uintptr_t>(pointer) % 16 == 0 && channels % 8 == 0;
  };
  plan.fits = p.pixels > 0 && aligned(p.grad, p.out_channels) && aligned(p.input, p.channels) &&
              plan.tiles <= 65535 && p.stages >= Shape::kPending + 2;
  return plan;
}

}  // namespace kernelopt
