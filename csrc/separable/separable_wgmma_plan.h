// How a separable convolution is cut for the warpgroup kernel: tiles of pixels, stages, what stays
// in shared memory. Includes no torch header.
#pragma once

#include "common/mma.cuh"
#include "separable/separable_wgmma_params.h"

#include <algorithm>

namespace kernelopt {

/// Shared memory and grid of one launch; `fits` is false where the kernel cannot take it.
struct SeparableWgmmaPlan {
  bool fits = false;
  int shared_bytes = 0;
  unsigned grid_x = 0, grid_y = 0;
  SeparableWgmmaParams params{};
};

struct SeparableWgmmaLimits {
  static constexpr int64_t kMaxPlane = int64_t{1} << 26;
  static constexpr int64_t kMaxTiles = int64_t{1} << 30;
  static constexpr int64_t kMaxReach = 4096;  // of a kernel, and of a stride: no stage holds more
  static constexpr int kMaxStages = 8, kMaxOperands = 4;
};

/// Where one kernel is faster than two, by measurement (docs/tuning/separable.md).
struct SeparableWgmmaPolicy {
  static bool takes(const SeparableWgmmaPlan& plan) {
    const SeparableWgmmaParams& p = plan.params;
    const SeparableAxis &h = p.problem.h, &w = p.problem.w;
    const bool three = h.kernel_size == 3 && w.kernel_size == 3 && h.stride <= 2 && w.stride <= 2;
    const bool five = h.kernel_size == 5 && w.kernel_size == 5 && h.stride == 1 && w.stride == 1 &&
                      h.dilation == 1 && w.dilation == 1;
    const bool stored_directly = p.store_vector > 1 && (p.problem.activation == Activation::kNone ||
                                                        p.problem.activation == Activation::kRelu);
    // Blocks for few multiprocessors alone: many channels take long one after the other. On an H100
    // in bf16, ms, beside two kernels: 1x576x14x14 -> 96: 0.104, 0.016; 1x128x56x56 -> 64, 5x5:
    // 0.027, 0.024; but 1x64x64x64 -> 36: 0.012, 0.014.
    const bool fills = p.tiles >= kManyTiles || p.problem.channels <= kFewChannels;
    // More output channels than a block has would compute every depthwise value twice.
    return (three || five) && stored_directly && fills && plan.grid_y == 1;
  }

  static constexpr int kManyTiles = 128, kFewChannels = 64;
};

constexpr int separable_divide_up(int64_t a, int64_t b) {
  return static_cast<int>((a + b - 1) / b);
}

/// Bytes of the units that rows of `size` elements can be copied in: all rows begin at a unit.
inline int separable_unit_bytes(const void* base, int64_t row_bytes) {
  const uint64_t place = reinterpret_cast<uintptr_t>(base) | static_cast<uint64_t>(row_bytes);
  return place % 16 == 0 ? 16 : place % 8 == 0 ? 8 : 4;
}

/// Sets the tile and what follows from it: the stage, the stores.
template <typename T>
void set_separable_tile(SeparableWgmmaParams& p, int width, int height) {
  using Shape = SeparableWgmmaShape;
  constexpr int kSize = static_cast<int>(sizeof(T));
  const SeparableAxis &h = p.problem.h, &w = p.problem.w;
  p.tile_width = width;
  p.tile_height = height;
  p.tiles_x = separable_divide_up(w.output_size, width);
  p.tiles_y = separable_divide_up(h.output_size, height);
  const int vector = p.unit_bytes / kSize;
  const int columns = (width - 1) * w.stride + (w.kernel_size - 1) * w.dilation + 1;
  const int rows = (height - 1) * h.stride + (h.kernel_size - 1) * h.dilation + 1;
  // A window begins anywhere in a unit.
  p.units = separable_divide_up(columns + vector - 1 + (p.odd_rows ? 1 : 0), vector);
  p.rows = rows;
  const int64_t bytes = int64_t{Shape::kChunkChannels} * p.rows * p.units * p.unit_bytes;
  p.stage_bytes = static_cast<int>(std::min<int64_t>((bytes + 127) / 128 * 128, 1 << 30));
  p.width_inverse = static_cast<uint32_t>(((uint64_t{1} << 32) + width - 1) / width);
  // Vectors that lie in one row, or in consecutive ones of a tile as wide as the image.
  const auto aligned = [&](int elements) {
    const auto whole = [&](int64_t count) { return count % elements == 0; };
    const bool flat = width == w.output_size &&
                      (p.tiles_y == 1 || whole(int64_t{height} * width)) &&
                      whole(int64_t{h.output_size} * w.output_size);
    return reinterpret_cast<uintptr_t>(p.problem.output) % (elements * kSize) == 0 &&
           (flat || (whole(width) && whole(w.output_size)));
  };
  p.store_vector = kSize == 2 && aligned(8) ? 8 : aligned(4) ? 4 : 1;
}

/// Plans a problem whose sizes fit 32 bits.
template <typename T>
SeparableWgmmaPlan plan_separable_wgmma(const SeparableWgmmaProblem& problem, int max_shared_bytes,
                                        int multiprocessors) {
  using Shape = SeparableWgmmaShape;
  using Limits = SeparableWgmmaLimits;
  constexpr int kSize = static_cast<int>(sizeof(T)), kParts = MmaTraits<T>::kParts;
  SeparableWgmmaPlan plan;
  SeparableWgmmaParams& p = plan.params;
  p.problem = problem;
  const SeparableAxis &h = problem.h, &w = problem.w;
  const auto reaches_far = [](const SeparableAxis& axis) {
    return int64_t{axis.kernel_size - 1} * axis.dilation > Limits::kMaxReach ||
           axis.stride > Limits::kMaxReach;
  };
  if (reaches_far(h) || reaches_far(w) ||
      int64_t{h.input_size} * w.input_size > Limits::kMaxPlane ||
      int64_t{h.output_size} * w.output_size > Limits::kMaxPlane) {
    return plan;
  }
  p.unit_bytes = separable_unit_bytes(problem.input, int64_t{w.input_size} * kSize);
  p.odd_rows = kSize == 2 && ((reinterpret_cast<uintptr_t>(problem.input) / kSize) % 2 != 0 ||
                              w.input_size % 2 != 0);
  p.chunks = separable_divide_up(problem.channels, Shape::kChunkChannels);
  p.slots = problem.out_channels > 64 ? 128 : problem.out_channels > 32 ? 64 : 32;
  const int blocks = separable_divide_up(problem.out_channels, p.slots);
  p.tap_pitch = (h.kernel_size * w.kernel_size + 1 + 3) / 4 * 4;
  const auto fit = [&](int min_stages) {
    const int64_t operand_bytes = int64_t{kParts} * SeparableOperandLayout<T>::kPartUnits * 16;
    const int64_t fixed = int64_t{p.chunks} * kParts * 2 * p.slots * 16 +
                          int64_t{p.chunks} * Shape::kChunkChannels * p.tap_pitch * 4 +
                          p.slots * 4 + Shape::kBarrierBytes +
                          (p.store_vector > 1 ? 0 : 8 * Shape::kSlabElements * kSize);
    const int64_t left = max_shared_bytes - fixed;
    // As many operands as a tile has, then stages, for loads to run ahead.
    for (int operands = Limits::kMaxOperands; operands >= 2; --operands) {
      const int64_t stages = (left - operands * operand_bytes) / std::max(p.stage_bytes, 1);
      if (left > operands * operand_bytes && stages >= (operands > 2 ? 3 : min_stages)) {
        p.operands = operands;
        p.stages = static_cast<int>(std::min<int64_t>(stages, Limits::kMaxStages));
        plan.shared_bytes =
            static_cast<int>(fixed + operands * operand_bytes + int64_t{p.stages} * p.stage_bytes);
        const int64_t behind = plan.shared_bytes - int64_t{p.stages} * p.stage_bytes;
        return int64_t{Shape::kThreadRows} * h.stride * p.units * p.unit_bytes <= behind;
      }
    }
    return false;
  };
  // The tile that reads the fewest sectors and stores the fewest pixels in vain.
  double best = 0;
  int best_width = 0, best_height = 0;
  for (int parts = 1; parts <= w.output_size && parts <= 64; ++parts) {
    int width = separable_divide_up(w.output_size, parts);
    width = w.output_size % 4 != 0 || parts == 1 ? width : (width + 3) / 4 * 4;
    width = w.output_size % 8 != 0 || parts == 1 ? width : (width + 7) / 8 * 8;
    if (width > Shape::kPixels || width < 2) {
      continue;
    }
    const int rows = std::min(Shape::kPixels / width, h.output_size);
    for (const int height :
         {separable_divide_up(h.output_size, separable_divide_up(h.output_size, rows)),
          std::max(rows / 2, 1), std::max(rows / 4, 1)}) {
      set_separable_tile<T>(p, width, height);
      if (!fit(2)) {
        continue;
      }
      const double sectors = p.units * p.unit_bytes + 32;
      const double cost = static_cast<double>(p.tiles_x) * p.tiles_y *
                          (p.rows * sectors / kSize + 2 * Shape::kPixels) *
                          (p.store_vector == 1 ? 1.2 : 1.0);
      if (best_width == 0 || cost < best) {
        best = cost;
        best_width = width;
        best_height = height;
      }
    }
  }
  if (best_width == 0) {
    return plan;
  }
  set_separable_tile<T>(p, best_width, best_height);
  const int64_t tiles = int64_t{problem.batch} * p.tiles_x * p.tiles_y;
  plan.fits = fit(2) && tiles <= Limits::kMaxTiles && blocks <= 65535;
  p.tiles = static_cast<int>(tiles);
  plan.grid_x = static_cast<unsigned>(std::clamp<int64_t>(multiprocessors / blocks, 1, tiles));
  plan.grid_y = static_cast<unsigned>(blocks);
  return plan;
}

}  // namespace kernelopt
