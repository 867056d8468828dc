// How the channels_last sliding kernel cuts a correlation in blocks. Includes no torch header.
#pragma once

#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

#include <algorithm>

namespace kernelopt {

/// A block owns `vectors` channel vectors of `groups` items; an item is a strip of `rows` rows of
/// as many columns as a thread owns.
struct ChannelsLastPlan {
  int vectors;
  int channel_blocks;
  int groups;
  int column_groups;  // over a row
  int strips;         // over a plane
  int rows;
  int64_t items;
  int threads;
  int shared_bytes;
  int64_t blocks;
};

template <typename Shape, typename Policy = DepthwiseChannelsLastPolicy>
ChannelsLastPlan plan_channels_last(const DepthwiseParams& params, int element_bytes,
                                    int multiprocessors) {
  const auto up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  ChannelsLastPlan plan{};
  const int64_t vectors = params.result_channels / Shape::kVec;
  plan.channel_blocks = static_cast<int>(up(vectors, Policy::kMaxVectors));
  plan.vectors = static_cast<int>(up(vectors, plan.channel_blocks));
  plan.channel_blocks = static_cast<int>(up(vectors, plan.vectors));
  plan.groups = Policy::kThreads / plan.vectors;
  plan.column_groups = static_cast<int>(up(params.w.result_size, Shape::kColumns));
  const int64_t height = params.h.result_size;
  const int64_t row_target =
      Shape::kKernelHeight > 3 ? Policy::kTallRowsPerStrip : Policy::kRowsPerStrip;
  const int64_t wanted = up(int64_t{multiprocessors} * Policy::kBlocksPerMultiprocessor *
                                plan.groups,
                            params.batch * plan.column_groups * plan.channel_blocks);
  const int64_t strips =
      std::max(up(height, row_target), std::min(wanted, up(height, Policy::kMinRowsPerStrip)));
  plan.rows = static_cast<int>(up(height, strips));
  plan.strips = static_cast<int>(up(height, plan.rows));
  plan.items = params.batch * plan.strips * plan.column_groups;
  plan.threads = (plan.groups * plan.vectors + 31) / 32 * 32;
  plan.shared_bytes = Shape::kTapsInRegisters ? 0
                                              : Shape::kKernelHeight * Shape::kKernelWidth *
                                                    plan.vectors * Shape::kVec * element_bytes;
  plan.blocks = up(plan.items, plan.groups) * plan.channel_blocks;
  return plan;
}

}  // namespace kernelopt
