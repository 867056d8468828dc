// How a separable convolution is cut for the warpgroup kernel: tiles of pixels, stages, what stays
// in shared memory. Includes no torch header.
#pragma once

#include "common/mma.cuh"
#include "common/tensor_map.h"
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
  static constexpr int kMaxStages = 8, kMaxBoxStages = 16;
  // All of a tile's slabs and more operands than it has, where they fit. Problem 86 in bf16, H100:
  // 0.65 ms instead of 0.76.
  static constexpr int kDeepOperands = 6, kDeepChunks = 4;
  // Wider fp32 images are copied by threads: with boxes blocks run further ahead of each other and
  // read shared rows again. Problem 86: 1.43 ms, with boxes 1.77; 256 columns 0.54, 0.53.
  static constexpr int kMaxBoxedWidth = 256;
  static constexpr int kMaxBox = 256;          // elements of a box along an axis
  static constexpr int kSlabAlignment = 1024;  // that of a swizzled box
};

/// Where one kernel is faster than two, by measurement (docs/tuning/separable.md).
struct SeparableWgmmaPolicy {
  static bool takes(const SeparableWgmmaPlan& plan) {
    const SeparableWgmmaParams& p = plan.params;
    const SeparableAxis &h = p.problem.h, &w = p.problem.w;
    const bool three = h.kernel_size == 3 && w.kernel_size == 3 && h.stride <= 2 && w.stride <= 2;
    const bool five = h.kernel_size == 5 && w.kernel_size == 5 && h.stride == 1 && w.stride == 1 &&
                      h.dilation == 1 && w.dilation == 1;
    // Blocks for few multiprocessors alone: many channels take long one after the other. On an H100
    // in bf16, ms, beside two kernels: 1x576x14x14 -> 96: 0.104, 0.016; 1x128x56x56 -> 64, 5x5:
    // 0.027, 0.024; but 1x64x64x64 -> 36: 0.012, 0.014.
    const bool fills = p.tiles >= kManyTiles || p.problem.channels <= kFewChannels;
    // More output channels than a block has would compute every depthwise value twice.
    return (three || five) && fills && plan.grid_y == 1;
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
    p.flat = width == w.output_size && (p.tiles_y == 1 || whole(int64_t{height} * width)) &&
             whole(int64_t{h.output_size} * w.output_size);
    return reinterpret_cast<uintptr_t>(p.problem.output) % (elements * kSize) == 0 &&
           (p.flat || (whole(width) && whole(w.output_size)));
  };
  constexpr int kWide = 16 / kSize;
  p.store_vector = aligned(kWide) ? kWide : aligned(4) ? 4 : 1;
  p.tensor_stores = kSize == 2 && p.store_vector == kWide && (p.flat || width % 64 == 0);
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
  if (problem.activation != Activation::kNone && problem.activation != Activation::kRelu) {
    return plan;
  }
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
  p.tensor_loads = p.unit_bytes == 16 && (kSize == 2 || w.input_size <= Limits::kMaxBoxedWidth);
  p.odd_rows = kSize == 2 && ((reinterpret_cast<uintptr_t>(problem.input) / kSize) % 2 != 0 ||
                              w.input_size % 2 != 0);
  p.chunks = separable_divide_up(problem.channels, Shape::kChunkChannels);
  p.slots = problem.out_channels > 64 ? 128 : problem.out_channels > 32 ? 64 : 32;
  const int blocks = separable_divide_up(problem.out_channels, p.slots);
  p.tap_pitch = (h.kernel_size * w.kernel_size + 1 + 3) / 4 * 4;
  const auto fit_buffers = [&](int slabs, int operands, int min_stages) {
    p.slabs = slabs;
    p.operands = operands;
    const int64_t behind =
        int64_t{p.chunks} * kParts * 2 * p.slots * 16 +
        int64_t{p.chunks} * Shape::kChunkChannels * p.tap_pitch * 4 + p.slots * 4 +
        Shape::kBarrierBytes +
        (p.tensor_stores ? Shape::kProductWarps * slabs * Shape::kSlabBytes : 0) +
        int64_t{operands} * kParts * SeparableOperandLayout<T>::kPartUnits * 16;
    const int64_t left = max_shared_bytes - Limits::kSlabAlignment - behind;
    // Boxes arrive out of order: a stage belongs to one of the two operand warpgroups, which else
    // could mistake the end of the other's load for that of its own.
    const int step = p.tensor_loads ? 2 : 1;
    const int64_t stages =
        std::min<int64_t>(left / std::max(p.stage_bytes, 1) / step * step,
                          p.tensor_loads ? Limits::kMaxBoxStages : Limits::kMaxStages);
    if (left <= 0 || stages < min_stages) {
      return false;
    }
    p.stages = static_cast<int>(stages);
    p.slab_offset = separable_divide_up(int64_t{p.stages} * p.stage_bytes, Limits::kSlabAlignment) *
                    Limits::kSlabAlignment;
    plan.shared_bytes = static_cast<int>(p.slab_offset + behind);
    return int64_t{Shape::kThreadRows} * h.stride * p.units * p.unit_bytes <= behind;
  };
  const auto fit = [&] {
    if (p.tensor_stores && p.slots == 128 && p.chunks <= Limits::kDeepChunks &&
        fit_buffers(4, Limits::kDeepOperands, 4)) {
      return true;
    }
    // As many operands as a tile has, then stages, for loads to run ahead.
    const int slabs = std::min(p.slots / 32, 2), wanted = p.tensor_loads ? 4 : 3;
    return fit_buffers(slabs, 4, wanted) || fit_buffers(slabs, 3, wanted) ||
           fit_buffers(slabs, 2, 2);
  };
  // The tile that takes the least of loads, depthwise values and results one after the other, those
  // in vain included.
  const int grid = std::max(multiprocessors / blocks, 1);
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
      const int64_t tiles = int64_t{problem.batch} * p.tiles_x * p.tiles_y;
      if (p.store_vector == 1 || tiles > Limits::kMaxTiles || !fit() ||
          (p.tensor_loads &&
           (p.rows > Limits::kMaxBox || p.units * p.unit_bytes > Limits::kMaxBox * kSize))) {
        continue;
      }
      const double load = p.rows * (p.units * p.unit_bytes + 32.0) / kSize;
      const int computed =
          separable_divide_up(height, Shape::kThreadRows) * Shape::kThreadRows * width;
      const double cost = static_cast<double>((tiles + grid - 1) / grid) *
                          (load + 2 * Shape::kPixels + 2 * computed);
      if (best_width == 0 || cost < best) {
        best = cost;
        best_width = width;
        best_height = height;
      }
    }
  }
  if (best_width == 0 || blocks > 65535) {
    return plan;
  }
  set_separable_tile<T>(p, best_width, best_height);
  plan.fits = fit();
  p.tiles = problem.batch * p.tiles_x * p.tiles_y;
  plan.grid_x = static_cast<unsigned>(std::min(grid, p.tiles));
  plan.grid_y = static_cast<unsigned>(blocks);
  return plan;
}

/// The maps of a plan's boxes. False where the driver refuses them.
template <typename T>
bool encode_separable_maps(const SeparableWgmmaParams& p, SeparableWgmmaMaps* maps) {
  using Shape = SeparableWgmmaShape;
  constexpr uint64_t kSize = sizeof(T);
  const SeparableWgmmaProblem& problem = p.problem;
  if (p.tensor_loads) {
    const uint64_t height = problem.h.input_size, width = problem.w.input_size;
    const uint64_t channels = problem.channels, batch = problem.batch;
    const TensorMapShape shape{
        kSize,
        {width, height, channels, batch},
        {width * kSize, height * width * kSize, channels * height * width * kSize},
        {static_cast<uint32_t>(p.units * p.unit_bytes / kSize), static_cast<uint32_t>(p.rows),
         Shape::kChunkChannels, 1},
        false};
    if (!encode_tensor_map(shape, problem.input, &maps->input)) {
      return false;
    }
  }
  if (p.tensor_stores) {
    const uint64_t plane = static_cast<uint64_t>(problem.h.output_size) * problem.w.output_size;
    const uint64_t height = p.flat ? 1 : problem.h.output_size, width = plane / height;
    const uint64_t channels = problem.out_channels, batch = problem.batch;
    const TensorMapShape shape{kSize,
                               {width, channels, height, batch},
                               {plane * kSize, width * kSize, channels * plane * kSize},
                               {64, Shape::kSlabChannels, 1, 1},
                               true};
    if (!encode_tensor_map(shape, problem.output, &maps->output)) {
      return false;
    }
  }
  return true;
}

}  // namespace kernelopt
