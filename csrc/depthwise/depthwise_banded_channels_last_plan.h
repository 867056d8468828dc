// How the channels_last banded kernel cuts a correlation in blocks. Includes no torch header.
#pragma once

#include "depthwise/depthwise_banded_plan.h"

namespace kernelopt {

/// A block owns kBandUnits units of 16 bytes of channels, and of each channel `tiles` tiles of
/// kBandColumns columns by `rows` rows: at most kBandSlides slides, one product of a warp.
struct BandedChannelsLastPlan {
  int tiles;
  uint32_t tiles_inverse;  // 2^32 over it, where it is more than one
  int slide;               // rows of a slide
  int rows;
  int source_rows;  // in shared memory
  int pairs;        // of columns of a source row in shared memory
  uint32_t pair_groups_inverse;
  int pitch;        // bytes from row to row
  int plane_bytes;  // from channel to channel
  int channel_blocks;
  int column_blocks;
  int strips;
  int shared_bytes;
  uint32_t all_bits;  // set: the compiler does not know that
  int64_t blocks;
};

constexpr int kBandUnits = 4;
constexpr int kBandPairs = 8;  // pairs of columns a warp loads at a time

inline uint32_t inverse_of(int64_t divisor) {
  return static_cast<uint32_t>((int64_t{1} << 32) / divisor + 1);
}

/// @param kernel_height  of the kernel's instance, at least that of `params`
/// @param shared_budget  bytes of shared memory that a block should not pass
/// @return `blocks` is 0 where not even one row fits the shared memory
template <typename Policy = DepthwiseBandedPolicy>
BandedChannelsLastPlan plan_banded_channels_last(const DepthwiseParams& params, int element_bytes,
                                                 int kernel_height, int multiprocessors,
                                                 int64_t shared_budget) {
  const int64_t height = params.h.result_size, width = params.w.result_size;
  const int64_t channels = int64_t{kBandUnits} * 16 / element_bytes;
  const int64_t pair_bytes = 2 * element_bytes;
  const int64_t channel_blocks = divide_up(params.result_channels, channels);
  const int64_t all_tiles = divide_up(width, kBandColumns);

  BandedChannelsLastPlan best{};
  double best_score = 0;
  for (int64_t most_tiles = std::min<int64_t>(all_tiles, kBandSlides); most_tiles > 0;
       --most_tiles) {
    const int64_t column_blocks = divide_up(all_tiles, most_tiles);
    const int64_t tiles = divide_up(all_tiles, column_blocks);
    if (tiles != most_tiles) {
      continue;  // as many blocks with fewer tiles
    }
    const int64_t groups = kBandSlides / tiles;
    // A window is kBandDepth columns wide, of which the last tile's reach beyond its results.
    const int64_t pairs = (tiles + 1) * kBandColumns / 2;
    int64_t strips = 0;
    for (int64_t slide = 1; slide <= Policy::kMaxSlide && strips != 1; ++slide) {
      const int64_t rows = std::min(groups * slide, height);
      if (divide_up(height, rows) == strips) {
        continue;  // as many blocks with longer slides
      }
      strips = divide_up(height, rows);
      const int64_t source_rows = divide_up(rows, slide) * slide + kernel_height - 1;
      // Rows of neighbouring slides begin where the tiles of a row end in the banks, if possible.
      int64_t pitch = pairs;
      for (int64_t candidate = pairs; candidate < pairs + 8; ++candidate) {
        if ((slide * candidate - tiles * kBandColumns / 2) * pair_bytes % 128 == 0) {
          pitch = candidate;
          break;
        }
      }
      // Channels that a warp loads at once fall in different banks.
      int64_t plane_words = source_rows * pitch * pair_bytes / 4;
      while (element_bytes == 2 ? plane_words % 2 != 1 : plane_words % 8 != 4) {
        ++plane_words;
      }
      const int64_t shared_bytes = channels * plane_words * 4;
      if (shared_bytes > shared_budget) {
        break;
      }
      const int64_t blocks = params.batch * strips * column_blocks * channel_blocks;
      // Work of a block: its loads, and the steps of its slides.
      const double work = source_rows * pairs * Policy::kLoadCost +
                          (slide + kernel_height - 1) * Policy::kStepCost + Policy::kChannelCost;
      const double filled = std::min(1.0, static_cast<double>(blocks) / (2.0 * multiprocessors));
      const double resident = std::min<double>(4, Policy::kMultiprocessorBytes / shared_bytes) / 4;
      const double score = filled * (0.5 + 0.5 * resident) / (work * strips * column_blocks);
      if (score > best_score) {
        best_score = score;
        best.tiles = static_cast<int>(tiles);
        best.tiles_inverse = inverse_of(tiles);
        best.slide = static_cast<int>(slide);
        best.rows = static_cast<int>(rows);
        best.source_rows = static_cast<int>(source_rows);
        best.pairs = static_cast<int>(pairs);
        best.pair_groups_inverse = inverse_of(divide_up(pairs, kBandPairs));
        best.pitch = static_cast<int>(pitch * pair_bytes);
        best.plane_bytes = static_cast<int>(plane_words * 4);
        best.channel_blocks = static_cast<int>(channel_blocks);
        best.column_blocks = static_cast<int>(column_blocks);
        best.strips = static_cast<int>(strips);
        best.shared_bytes = static_cast<int>(shared_bytes);
        best.all_bits = ~0u;
        best.blocks = blocks;
      }
    }
  }
  return best;
}

}  // namespace kernelopt
