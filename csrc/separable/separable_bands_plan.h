// How a 3x3 separable convolution of wide 16-bit images is cut for the kernel that slides down rows
// with band matrices. Includes no torch header.
#pragma once

#include "common/math.h"
#include "common/tensor_map.h"
#include "separable/separable_row_groups.h"

#include <algorithm>
#include <limits>

namespace kernelopt {

struct SeparableBandsShape {
  static constexpr int kProductThreads = 256;  // two warpgroups multiply and store
  static constexpr int kOperandThreads = 256;  // eight warps compute depthwise values
  static constexpr int kThreads = kProductThreads + kOperandThreads;
  static constexpr int kWarps = 8;  // of either kind

  static constexpr int kColumns = 128;  // of a block's rows
  static constexpr int kPanel = 64;     // columns of a row of 128 bytes
  static constexpr int kChunkChannels = 16;
  static constexpr int kMaxChunks = 4, kMaxSlots = 128;
  // A channel's row of a stage begins with eight columns on the left, of which one is read.
  static constexpr int kStageHead = 8, kStageColumns = kColumns + 2 * kStageHead;
  static constexpr int kStagePitch = kStageColumns * 2;
  static constexpr int kRows = 2;  // of results at a time
  static constexpr int kOperands = 4, kMinStages = 6, kMaxStages = 8;
  static constexpr int kSlabs = 2;  // buffers of results, of each warp
  static constexpr int kWarpSlots = 16, kSlabBytes = kWarpSlots * 128;
  static constexpr int kRestBytes = 2 * (kOperands + kMaxStages) * 8;  // barriers

  /// Rows that a segment reads.
  static constexpr KERNELOPT_HOST_DEVICE int steps(int rows) { return (rows + 3) / 2 * 2; }
  /// Of a row, by its chunks of channels.
  static constexpr KERNELOPT_HOST_DEVICE int stage_bytes(int chunks) {
    return chunks * kChunkChannels * kStagePitch;
  }
  static constexpr KERNELOPT_HOST_DEVICE int panel_bytes(int chunks) {
    return chunks * kChunkChannels * 128;
  }
  static constexpr KERNELOPT_HOST_DEVICE int operand_bytes(int chunks) {
    return kColumns / kPanel * panel_bytes(chunks);
  }
};

struct SeparableBandsParams {
  SeparableWgmmaProblem problem;
  int tiles_x;  // of kColumns columns
  int groups;   // of consecutive rows of all images
  int panels;   // of a warp's results: two where blocks have 128 output channels, else one of 64
  int stages;
};

struct SeparableBandsPlan {
  bool fits = false;
  int chunks = 0;  // 2 or 4
  int shared_bytes = 0;
  unsigned grid = 0;
  SeparableBandsParams params{};
};

/// Where this kernel is faster than others, by measurement (docs/tuning/separable.md).
struct SeparableBandsPolicy {
  static bool takes(const SeparableBandsParams& p, int multiprocessors) {
    const SeparableWgmmaProblem& problem = p.problem;
    const int width = problem.w.output_size;
    const int64_t tile_columns = int64_t{p.tiles_x} * SeparableBandsShape::kColumns;
    const bool filled =
        p.tiles_x == 1 ? width >= kMinWidth : int64_t{width} * 100 >= tile_columns * kPercent;
    const int64_t rows = int64_t{problem.batch} * problem.h.output_size * p.tiles_x;
    return filled && problem.channels + problem.out_channels >= kMinChannels &&
           (problem.channels <= kFewChannels || rows >= kManyRows * multiprocessors);
  }

  // Columns in vain. H100, ms in bf16, here and by tiles: in two tiles 16x64x192x192 -> 128 0.115
  // and 0.0995, 32x64x160x160 -> 128 0.174 and 0.152; in one 434x64x96x96 -> 128 0.684 and 0.868,
  // 64x24x80x80 -> 64 0.0376 and 0.0593, 64x64x64x64 -> 128 0.0510 and 0.0513.
  static constexpr int kMinWidth = 80, kPercent = 95;
  // A row takes its time however few its bytes: 64x16x112x112 -> 32 0.0483 and 0.0482, but
  // 1x32x256x256 -> 32 0.0105 and 0.0118.
  static constexpr int kMinChannels = 64;
  // Blocks of a row: 1x64x112x112 -> 128 0.0110, over padded columns 0.0101; but 1x32x112x112 -> 64
  // 0.0074 and 0.0086.
  static constexpr int kFewChannels = 32, kManyRows = 2;
};

/// Plans a problem whose sizes fit 32 bits; `fits` is false where the kernel cannot take it.
inline SeparableBandsPlan plan_separable_bands(const SeparableWgmmaProblem& problem,
                                               int max_shared_bytes, int multiprocessors) {
  using Shape = SeparableBandsShape;
  SeparableBandsPlan plan;
  SeparableBandsParams& p = plan.params;
  p.problem = problem;
  if (!slides_down_rows(problem, 8) ||
      problem.channels > Shape::kMaxChunks * Shape::kChunkChannels ||
      problem.out_channels > Shape::kMaxSlots ||
      int64_t{problem.batch} * problem.h.output_size > std::numeric_limits<int>::max()) {
    return plan;
  }
  p.tiles_x = static_cast<int>(divide_up(problem.w.output_size, Shape::kColumns));
  p.groups = separable_row_groups(problem, p.tiles_x, multiprocessors);
  plan.chunks = problem.channels > 2 * Shape::kChunkChannels ? 4 : 2;
  p.panels = problem.out_channels > Shape::kMaxSlots / 2 ? 2 : 1;
  const int rest = Shape::kOperands * Shape::operand_bytes(plan.chunks) +
                   Shape::kWarps * Shape::kSlabs * Shape::kSlabBytes + Shape::kRestBytes;
  p.stages =
      std::min((max_shared_bytes - rest) / Shape::stage_bytes(plan.chunks), Shape::kMaxStages);
  plan.shared_bytes = rest + p.stages * Shape::stage_bytes(plan.chunks);
  plan.grid = static_cast<unsigned>(p.tiles_x) * p.groups;
  plan.fits = p.stages >= Shape::kMinStages && problem.h.output_size >= p.stages;
  return plan;
}

/// The boxes of a row of input and of a warp's results. False where the driver refuses them.
inline bool encode_bands_maps(const SeparableBandsPlan& plan, SeparableWgmmaMaps* maps) {
  using Shape = SeparableBandsShape;
  const SeparableWgmmaProblem& problem = plan.params.problem;
  const uint64_t batch = problem.batch, channels = problem.channels;
  const uint64_t width = problem.w.input_size, height = problem.h.input_size;
  const uint32_t chunks = plan.chunks;
  const TensorMapShape input{2,
                             {width, height, channels, batch},
                             {width * 2, height * width * 2, channels * height * width * 2},
                             {Shape::kStageColumns, 1, chunks * Shape::kChunkChannels, 1},
                             false};
  const uint64_t out = problem.out_channels, row = problem.w.output_size;
  const uint64_t rows = problem.h.output_size;
  const TensorMapShape output{2,
                              {row, out, rows, batch},
                              {rows * row * 2, row * 2, out * rows * row * 2},
                              {Shape::kPanel, Shape::kWarpSlots, 1, 1},
                              true};
  return encode_tensor_map(input, problem.input, &maps->input) &&
         encode_tensor_map(output, problem.output, &maps->output);
}

}  // namespace kernelopt
