// How a block of a weight gradient walks over what it sums.
#pragma once

#include "depthwise/depthwise_sliding_block.cuh"

namespace kernelopt {

/// The place of a block's walk over images, strips and tiles.
struct WeightGradientCursor {
  int n;
  int strip;
  int tile;

  __device__ __forceinline__ WeightGradientCursor(const SlidingPlan& plan, int item) {
    const int line = divide(item, plan.tiles);
    tile = item - line * plan.tiles;
    n = divide(line, plan.strips);
    strip = line - n * plan.strips;
  }
  __device__ __forceinline__ void advance(const SlidingPlan& plan) {
    if (++tile == plan.tiles) {
      tile = 0;
      if (++strip == plan.strips) {
        strip = 0;
        ++n;
      }
    }
  }
};

}  // namespace kernelopt
