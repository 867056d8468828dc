// How the gradient of a ReLU and its sums over pixels are cut. Includes no torch header.
#pragma once

#include "common/math.h"

#include <algorithm>
#include <cstdint>

namespace kernelopt {

struct ReluGradientShape {
  static constexpr int kThreads = 256;
  static constexpr int kUnroll = 4;     // vectors of a thread on their way
  static constexpr int kMaxLanes = 32;  // channels_last: vectors of a pixel that a block has
};

/// Dense images, in vectors of `vec` channels (channels_last) or pixels (contiguous).
struct ReluGradientPlan {
  int vec;
  int64_t channels;
  int64_t plane;         // contiguous: pixels of an image
  int64_t run_items;     // contiguous: vectors that a plane touches
  int64_t items;         // contiguous: vectors of a channel; channels_last: pixels
  int64_t share_length;  // of the items
  int lanes;             // channels_last: threads side by side along a pixel
  int64_t blocks;        // a share
  int64_t shares;
};

/// @param vec  elements of 16 bytes, if all tensors lie on them
inline ReluGradientPlan plan_relu_gradient(int64_t batch, int64_t channels, int64_t plane,
                                           bool channels_last, int vec, int multiprocessors) {
  using Shape = ReluGradientShape;
  // Elements a block sums up at least, so that the shares' sums cost little; blocks that keep a
  // multiprocessor busy.
  constexpr int64_t kMinElements = 8192, kBlocksPerMultiprocessor = 8;
  ReluGradientPlan plan{};
  plan.channels = channels;
  // Planes that begin between two vectors share these with their neighbours; the pixels there are
  // read one by one. That code takes longer to arrive than small tensors take: 1x576x14x14 in fp32
  // on an H100 0.0083 ms, in bf16, element by element, 0.0063; 64x960x7x7 0.0252 and 0.0244, but
  // 32x64x147x147 0.206 and 0.299.
  constexpr int64_t kMinPlaneVectors = 16, kMinVectorElements = 1 << 18;
  const bool wide = channels_last ? channels % vec == 0
                                  : plane >= kMinPlaneVectors * vec &&
                                        batch * channels * plane >= kMinVectorElements;
  plan.vec = wide ? vec : 1;
  int64_t block_elements = plan.vec;  // of an item
  if (channels_last) {
    const int64_t vectors = channels / plan.vec;
    plan.lanes = static_cast<int>(std::min<int64_t>(vectors, Shape::kMaxLanes));
    plan.blocks = divide_up(vectors, plan.lanes);
    plan.items = batch * plane;
    block_elements *= plan.lanes;
  } else {
    plan.blocks = channels;
    plan.plane = plane;
    plan.run_items =
        plane % plan.vec == 0 ? plane / plan.vec : (plane + plan.vec - 2) / plan.vec + 1;
    plan.items = batch * plan.run_items;
  }
  const int64_t useful = std::max<int64_t>(plan.items * block_elements / kMinElements, 1);
  const int64_t wanted = divide_up(multiprocessors * kBlocksPerMultiprocessor, plan.blocks);
  plan.share_length = divide_up(plan.items, std::min({useful, wanted, int64_t{65535}}));
  plan.shares = divide_up(plan.items, plan.share_length);
  return plan;
}

}  // namespace kernelopt
