// Blocks and stages of the two kernels of a separable convolution over padded columns. Includes no
// torch header.
#pragma once

#include "common/math.h"
#include "separable/separable_columns_policy.h"
#include "separable/separable_columns_product_plan.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kernelopt {

namespace separable_columns {

/// The columns of `problem`, `pitch` an image; false where they are too many.
inline bool plan_columns(SeparableColumnsPlan& plan, const SeparableWgmmaProblem& problem, int size,
                         int64_t pitch) {
  using Shape = SeparableColumnsShape;
  SeparableColumnsParams& p = plan.params;
  p.problem = problem;
  const int parts = size == 4 ? 2 : 1, chunk_k = Shape::kChunkElements / parts;
  const int64_t plane = int64_t{problem.h.output_size} * problem.w.output_size;
  const int64_t total = pitch * problem.batch;
  const int64_t source_planes = int64_t{problem.batch} * problem.channels;
  if (total > kLargest || source_planes > kLargest ||
      int64_t{problem.out_channels} * round_up(problem.channels, chunk_k) > kLargest) {
    return false;
  }
  p.plane = static_cast<int>(plane);
  p.pitch = static_cast<int>(pitch);
  p.total = static_cast<int>(total);
  p.chunks = static_cast<int>(divide_up(problem.channels, chunk_k));
  p.source_planes = static_cast<int>(source_planes);
  p.pitches = FastDivisor::of(static_cast<uint32_t>(pitch));
  p.channels = FastDivisor::of(static_cast<uint32_t>(problem.channels));
  plan.column_bytes = total * problem.channels * 2 * parts;
  return true;
}

/// The blocks of the first kernel: so many of columns, and those that pack weights.
inline bool plan_packing(SeparableColumnsPlan& plan, int size, int64_t source_blocks) {
  using Shape = SeparableColumnsShape;
  SeparableColumnsParams& p = plan.params;
  const SeparableWgmmaProblem& problem = p.problem;
  const int parts = size == 4 ? 2 : 1, chunk_k = Shape::kChunkElements / parts;
  // 16-bit rows that begin on 16 bytes are multiplied as they are.
  p.packs = parts == 2 || problem.channels % 8 != 0 ||
            reinterpret_cast<uintptr_t>(problem.pointwise_weight) % 16 != 0;
  const int64_t pack_vectors = int64_t{problem.out_channels} * p.chunks * chunk_k / 8;
  const int64_t pack_blocks = p.packs ? divide_up(pack_vectors, plan.depthwise_threads) : 0;
  if (source_blocks + pack_blocks > kLargest) {
    return false;
  }
  p.source_blocks = static_cast<int>(source_blocks);
  plan.depthwise_blocks = static_cast<unsigned>(source_blocks + pack_blocks);
  plan.packed_bytes =
      p.packs ? int64_t{problem.out_channels} * p.chunks * Shape::kChunkElements * 2 : 0;
  return true;
}

}  // namespace separable_columns

/// Of a product alone: the images are written as columns as they are.
inline SeparableColumnsPlan plan_image_columns(const SeparableWgmmaProblem& problem, int size,
                                               int max_shared_bytes, int multiprocessors) {
  namespace detail = separable_columns;
  using Shape = SeparableColumnsShape;
  SeparableColumnsPlan plan{};
  SeparableColumnsParams& p = plan.params;
  const int64_t plane = int64_t{problem.h.output_size} * problem.w.output_size;
  // Pairs of columns belong to one image, and rows of columns begin on 16 bytes.
  const int64_t tight = round_up(plane, 2);
  const int64_t pitch = tight * problem.batch % 8 == 0 ? tight : round_up(plane, 8);
  const int64_t plane_bytes = plane * size;
  if (plane_bytes > Shape::kPackSourceBytes || !detail::plan_columns(plan, problem, size, pitch)) {
    return plan;
  }
  p.block_planes = static_cast<int>(
      std::clamp<int64_t>(Shape::kPackSourceBytes / plane_bytes, 1,
                          std::max<int64_t>(1, p.source_planes / (4 * int64_t{multiprocessors}))));
  p.units = FastDivisor::of(static_cast<uint32_t>(pitch / 2));
  plan.depthwise_threads = Shape::kPackThreads;
  plan.depthwise_shared_bytes =
      static_cast<int>(round_up(Shape::kDepthwiseHead + p.block_planes * plane_bytes + 32, 16));
  if (detail::plan_packing(plan, size, divide_up(p.source_planes, p.block_planes))) {
    detail::plan_product(plan, size, max_shared_bytes, multiprocessors);
  }
  return plan;
}

/// @param size  of an element
inline SeparableColumnsPlan plan_separable_columns(const SeparableWgmmaProblem& problem, int size,
                                                   int max_shared_bytes, int multiprocessors) {
  namespace detail = separable_columns;
  using Shape = SeparableColumnsShape;
  constexpr int kManyThreads = 1024;  // of a multiprocessor
  SeparableColumnsPlan plan{};
  SeparableColumnsParams& p = plan.params;
  const SeparableAxis &h = problem.h, &w = problem.w;
  const int parts = size == 4 ? 2 : 1;
  const int64_t pitch = round_up(int64_t{h.output_size} * w.output_size, 8);
  if (!detail::plan_columns(plan, problem, size, pitch)) {
    return plan;
  }
  const int64_t source_planes = p.source_planes;
  const auto strips_of = [&](int rows) { return static_cast<int>(divide_up(h.output_size, rows)); };
  // Long strips read fewer rows twice, where they leave enough threads and do not end in vain.
  const bool many = Shape::is_plain(problem, 3, 1) &&
                    strips_of(Shape::kManyRows) * 2 <= strips_of(Shape::kFewRows) + 1 &&
                    source_planes * strips_of(Shape::kManyRows) * w.output_size >=
                        int64_t{kManyThreads} * multiprocessors;
  p.strip_rows = many ? Shape::kManyRows : Shape::kFewRows;
  const int strips = strips_of(p.strip_rows);
  // Two columns of 32-bit elements would be read and written with gaps.
  p.strip_columns = many && size == 2 ? 2 : 1;
  const int width = static_cast<int>(divide_up(w.output_size, p.strip_columns));
  const int fitting =
      std::max((many ? Shape::kManyRowsThreads : Shape::kDepthwiseThreads) / width, 1);
  p.strip_blocks = static_cast<int>(divide_up(strips, fitting));
  p.block_strips = static_cast<int>(divide_up(strips, p.strip_blocks));
  p.strip_blocks = static_cast<int>(divide_up(strips, p.block_strips));  // none without rows
  p.widths = FastDivisor::of(static_cast<uint32_t>(width));
  p.strips = FastDivisor::of(static_cast<uint32_t>(p.block_strips));
  const int block_rows = std::min<int>(h.output_size, p.block_strips * p.strip_rows);
  const int source_rows = p.strip_blocks == 1
                              ? h.input_size
                              : std::min(h.input_size, (block_rows - 1) * h.stride +
                                                           (h.kernel_size - 1) * h.dilation + 1);
  const int64_t source_bytes = int64_t{source_rows} * w.input_size * size;
  if (source_bytes > Shape::kMaxSourceBytes - 48) {
    return plan;
  }
  // As many planes as have columns for the threads, but blocks for all multiprocessors.
  const int64_t most =
      std::min({fitting / int64_t{strips}, (Shape::kMaxSourceBytes - 48) / source_bytes,
                divide_up(source_planes, multiprocessors)});
  p.block_planes =
      p.strip_blocks > 1 ? 1 : static_cast<int>(std::clamp<int64_t>(most, 1, source_planes));
  const int64_t block_items = int64_t{p.block_planes} * p.block_strips * width;
  plan.depthwise_threads =
      static_cast<unsigned>(std::min<int64_t>(round_up(block_items, 32), Shape::kDepthwiseThreads));
  p.stage_offset =
      static_cast<int>(round_up(Shape::kDepthwiseHead + p.block_planes * source_bytes + 32, 16));
  p.stage_elements = static_cast<int>(
      p.strip_blocks == 1 ? p.block_planes * pitch : round_up(block_rows * w.output_size, 8) + 16);
  // One plane where a block has a part of it.
  p.units = FastDivisor::of(p.strip_blocks == 1 ? static_cast<uint32_t>(pitch / 8) : 1u << 20);
  plan.depthwise_shared_bytes =
      p.stage_offset + (Shape::stages(p.strip_rows) ? p.stage_elements * 2 * parts : 0);
  const int64_t source_blocks = divide_up(source_planes, p.block_planes) * p.strip_blocks;
  if (detail::plan_packing(plan, size, source_blocks)) {
    detail::plan_product(plan, size, max_shared_bytes, multiprocessors);
  }
  return plan;
}

}  // namespace kernelopt
