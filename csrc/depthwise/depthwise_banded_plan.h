// How the banded kernel cuts a correlation in blocks. Includes no torch header.
#pragma once

#include "depthwise/depthwise_banded_policy.h"
#include "depthwise/depthwise_sliding_plan.h"

#include <algorithm>

namespace kernelopt {

/// A lane group slides down the rows of one tile of kBandColumns result columns; a warp multiplies
/// kBandSlides such slides of one plane at once.
constexpr int kBandColumns = 8;
constexpr int kBandSlides = 16;
constexpr int kBandDepth = 16;  // source columns of a product

// Columns of a kernel, for a window may begin one column early; rows and columns of one whose
// weight gradient is one product.
constexpr int kBandTaps = 8;

/// Shared memory in front of the areas of SlidingBlock: zeros, for rows outside the image.
constexpr int kBandZeros = 256;

/// `block` holds what SlidingBlock needs; its threads_per_row is the number of tiles of a row, and
/// its rows_per_thread what a slide is high.
struct BandedPlan {
  SlidingPlan block;
  uint32_t row_tiles_inverse;  // 2^32 over the tiles of a row, where they are more than one
  int sets;                    // of kBandSlides slides, over a plane of the block
  int warps_per_plane;         // that share its sets
  int64_t source_elements;
  uint32_t strips_inverse;    // see divisor_inverse(), for the strips of all planes
  uint32_t channels_inverse;  // the same of the channels of results, for their planes
  // Elements of the result from an image's plane to the next one's, and from a channel's to the
  // next one's, with one plane a block; 0: planes follow each other, channels innermost.
  int image_stride;
  int64_t channel_stride;
};

/// 2^32 over a divisor, rounded up, where a multiplication by it divides all numbers up to `most`
/// exactly, else 0.
inline uint32_t divisor_inverse(int64_t divisor, int64_t most) {
  const int64_t whole = int64_t{1} << 32;
  return divisor > 1 && most < whole / divisor ? static_cast<uint32_t>(whole / divisor + 1) : 0;
}

/// @param element_bytes    2 or 4
/// @param multiprocessors  of the device
/// @param shared_budget    bytes of shared memory that a block should not pass
/// @param limit_planes     of a block
template <typename Policy = DepthwiseBandedPolicy>
BandedPlan plan_banded(const DepthwiseParams& params, int element_bytes, int multiprocessors,
                       int64_t shared_budget, int64_t limit_planes = kMaxIndex32) {
  const int64_t height = params.h.result_size, width = params.w.result_size;
  const int64_t planes = params.batch * params.result_channels;
  const int64_t overlap = params.h.kernel_size - 1;

  BandedPlan banded{};
  SlidingPlan& plan = banded.block;
  const int64_t row_tiles = divide_up(width, kBandColumns);
  plan.tiles =
      static_cast<int>(divide_up(row_tiles, Policy::kMaxRowBytes / (kBandColumns * element_bytes)));
  plan.threads_per_row = static_cast<int>(divide_up(row_tiles, plan.tiles));
  banded.row_tiles_inverse = static_cast<uint32_t>((int64_t{1} << 32) / plan.threads_per_row + 1);
  plan.columns = plan.threads_per_row * kBandColumns;
  set_pitches(plan, params, element_bytes);

  const int64_t plane_bytes = params.h.source_size * plan.source_pitch + height * plan.result_pitch;
  const int64_t room = std::max<int64_t>(1, (shared_budget - overlap * plan.source_pitch) /
                                                (int64_t{plan.source_pitch} + plan.result_pitch));
  const int64_t wanted_blocks = int64_t{multiprocessors} * Policy::kBlocksPerMultiprocessor;
  // Rows of a block: what there is room for, fewer where that would not fill the device.
  const int64_t fill = std::max<int64_t>(
      Policy::kMinRows, height * planes * plan.tiles / std::max<int64_t>(1, wanted_blocks));
  const int64_t strips = divide_up(height, std::min({room, fill, height}));
  const int64_t rows = divide_up(height, strips);
  const int64_t most_planes =
      strips > 1 || !plan.whole_rows
          ? 1
          : std::max<int64_t>(1, std::min({shared_budget / plane_bytes, planes / wanted_blocks,
                                           int64_t{Policy::kMaxWarps}, limit_planes}));
  double best = 0;
  int64_t groups = 0;
  for (int64_t slide = 1; slide <= std::min<int64_t>(rows, Policy::kMaxSlide); ++slide) {
    if (divide_up(rows, slide) == groups) {
      continue;  // as many slides, but longer ones
    }
    groups = divide_up(rows, slide);
    const int64_t sets = divide_up(groups * plan.threads_per_row, kBandSlides);
    for (int64_t warps = 1; warps <= std::min<int64_t>(sets, Policy::kMaxWarps); ++warps) {
      const int64_t block_planes = std::min(most_planes, Policy::kMaxWarps / warps);
      const double steps =
          Policy::kRowsOfWarp + divide_up(sets, warps) * (slide + overlap + Policy::kRowsToBegin);
      // The part of the work that goes into results, and of the warps wanted to hide latencies.
      const double efficiency =
          static_cast<double>(rows * width) / (warps * steps) *
          std::min(1.0, static_cast<double>(warps * block_planes) / Policy::kMinWarps);
      if (efficiency > best) {
        best = efficiency;
        plan.rows_per_thread = static_cast<int>(slide);
        plan.row_groups = static_cast<int>(groups);
        plan.planes = static_cast<int>(block_planes);
        banded.sets = static_cast<int>(sets);
        banded.warps_per_plane = static_cast<int>(warps);
      }
    }
  }
  plan.rows = static_cast<int>(rows);
  plan.strips = static_cast<int>(strips);

  set_areas(plan, params);
  banded.source_elements =
      params.batch * params.source_channels * params.h.source_size * params.w.source_size;
  banded.strips_inverse = divisor_inverse(plan.strips, planes * plan.strips);
  banded.channels_inverse = divisor_inverse(params.result_channels, planes);
  plan.shared_bytes += kBandZeros;
  plan.threads = 32 * plan.planes * banded.warps_per_plane;
  plan.blocks = divide_up(planes, plan.planes) * plan.strips * plan.tiles;
  return banded;
}

/// A weight gradient's stage of input and gradient, as blocks of the forward correlation; `sets`
/// are the parts in which a plane's rows are cut, so that all warps have work.
inline BandedPlan plan_banded_gradient(const DepthwiseParams& forward, int element_bytes,
                                       int multiprocessors) {
  using Policy = DepthwiseBandedPolicy;
  BandedPlan banded = plan_banded(forward, element_bytes, multiprocessors, Policy::kStageBytes,
                                  forward.result_channels);
  SlidingPlan& plan = banded.block;
  banded.warps_per_plane = std::max(1, Policy::kGradientWarps / plan.planes);
  const int64_t chunks = divide_up(plan.columns + 1, kBandDepth);
  banded.sets = static_cast<int>(divide_up(banded.warps_per_plane, chunks));
  plan.threads = 32 * plan.planes * banded.warps_per_plane;
  plan.shared_bytes -= kBandZeros;
  plan.shared_bytes =
      static_cast<int>(std::max<int64_t>(plan.shared_bytes + 128, Policy::kMinStageBytes));
  return banded;
}

/// Whether a correlation of contiguous tensors is one of EvenBandSlide: rows of whole pairs, and
/// every window of a result meets the image.
inline bool slides_evenly(const DepthwiseParams& params) {
  const auto meets = [](const DepthwiseAxis& axis) {
    return axis.padding >= 0 && axis.padding < axis.kernel_size &&
           axis.result_size - axis.padding <= axis.source_size;
  };
  return params.w.source_size % 2 == 0 && params.w.result_size % 2 == 0 && meets(params.h) &&
         meets(params.w);
}

/// Whether there are so many results that small and sliding kernels are slower than even slides.
inline bool has_results_for_even_slides(const DepthwiseParams& params, int element_bytes) {
  const int64_t planes = params.batch * params.result_channels;
  return planes * params.h.result_size * params.w.result_size >=
         DepthwiseBandedPolicy::min_even_results(element_bytes, planes);
}

/// Whether the banded kernels of either format are faster than the others.
/// @param even    EvenBandSlide does it
/// @param slides  the sliding kernel has an instance for it
inline bool banded_pays(const DepthwiseParams& params, int element_bytes, bool even, bool slides) {
  using Policy = DepthwiseBandedPolicy;
  const int64_t height = params.h.kernel_size, taps = height * params.w.kernel_size;
  if (height > Policy::kMaxHeight || params.w.kernel_size > kBandTaps ||
      params.w.result_size < Policy::kMinColumns || params.h.result_size < Policy::kMinColumns) {
    return false;
  }
  if (even && !slides && height > 1 && taps >= Policy::kMinTapsOfOthers) {
    return true;
  }
  return taps >= Policy::min_taps(element_bytes) ||
         (even && taps >= Policy::min_even_taps(element_bytes) &&
          height >= Policy::min_even_height(element_bytes) &&
          has_results_for_even_slides(params, element_bytes));
}

/// The same of the weight gradient's kernels.
inline bool banded_gradient_pays(const DepthwiseWeightGradientParams& params, int element_bytes) {
  using Policy = DepthwiseBandedPolicy;
  return params.h.kernel_size <= kBandTaps && params.w.kernel_size <= kBandTaps &&
         params.w.source_size % 2 == 0 && params.w.result_size % 2 == 0 &&
         params.h.kernel_size * params.w.kernel_size >= Policy::min_gradient_taps(element_bytes) &&
         params.w.result_size >= Policy::kMinGradientColumns;
}

}  // namespace kernelopt
