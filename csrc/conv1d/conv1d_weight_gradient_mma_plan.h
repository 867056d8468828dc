// How a weight gradient is cut for the tensor cores: the window's sequences, shares, shared memory.
// Includes no torch header.
#pragma once

#include "conv1d/weight_gradient_mma_params.h"

#include <algorithm>
#include <limits>

namespace kernelopt {

/// Whether every row of a tensor, `offset` elements on, starts with an aligned pair.
template <typename T>
bool rows_are_pairs(const T* data, const Strides1d& strides, int64_t offset) {
  return (reinterpret_cast<uintptr_t>(data) / sizeof(T) + offset) % 2 == 0 &&
         strides.batch % 2 == 0 && strides.channel % 2 == 0;
}

template <typename T>
WeightGradientMmaParams<T> weight_gradient_params(const Conv1dWeightGradientProblem& problem) {
  WeightGradientMmaParams<T> p{};
  p.steady = static_cast<const T*>(problem.steady);
  p.shifted = static_cast<const T*>(problem.shifted);
  p.steady_batch_stride = problem.steady_strides.batch;
  p.steady_channel_stride = problem.steady_strides.channel;
  p.shifted_batch_stride = problem.shifted_strides.batch;
  p.shifted_channel_stride = problem.shifted_strides.channel;
  p.numel = problem.numel();
  p.steady_leads = !rows_are_pairs(p.steady, problem.steady_strides, 0);
  p.shifted_leads = !rows_are_pairs(p.shifted, problem.shifted_strides, problem.padding);
  p.batch = static_cast<int>(problem.batch);
  p.groups = static_cast<int>(problem.groups);
  p.steady_channels = static_cast<int>(problem.steady_channels);
  p.shifted_channels = static_cast<int>(problem.shifted_channels);
  p.steady_length = static_cast<int>(problem.steady_length);
  p.shifted_length = static_cast<int>(problem.shifted_length);
  p.kernel_size = static_cast<int>(problem.kernel_size);
  p.stride = static_cast<int>(problem.stride);
  p.padding = static_cast<int>(problem.padding);
  p.dilation = static_cast<int>(problem.dilation);
  return p;
}

struct WeightGradientMmaPlan {
  bool fits = false;
  bool sliding = false;  // the window at stride 1, in one piece
  int shared_bytes = 0;
  int64_t shares = 0;  // of the grid; each writes kWarpsK partial gradients
  int64_t blocks = 0;
};

/// The sequences of pairs that a block's taps read. Taps whose distances are equal modulo twice the
/// stride read the same sequence at different words; taps too far apart get one each.
template <typename T, typename Policy>
bool plan_window(WeightGradientMmaParams<T>& p, int max_sliding_words) {
  constexpr int kWords = kGradientPositions<T> / 2;
  const int64_t period = int64_t{2} * p.stride;
  const int taps = std::min(Policy::kTaps, p.kernel_size);
  int64_t most = 0;  // words that a tap reads a sequence further on
  p.sequences = 0;
  for (int tap = 0; tap < taps; ++tap) {
    const int64_t distance = int64_t{tap} * p.dilation;
    const int first = static_cast<int>(distance % period);
    most = std::max(most, distance / period);
    p.tap_word[tap] = 0;
    while (p.tap_word[tap] < p.sequences && p.sequence_first[p.tap_word[tap]] != first) {
      ++p.tap_word[tap];
    }
    if (p.tap_word[tap] == p.sequences) {
      p.sequence_first[p.sequences++] = first;
    }
  }
  const int64_t words = kWords + most;
  const bool sliding = p.stride == 1 && words <= max_sliding_words;
  if (sliding || words * p.sequences <= kWords * Policy::kTaps) {
    p.sequence_words = static_cast<int>(words);
    for (int tap = 0; tap < taps; ++tap) {
      const int64_t distance = int64_t{tap} * p.dilation;
      p.tap_word[tap] = p.tap_word[tap] * p.sequence_words + static_cast<int>(distance / period);
    }
  } else {
    p.sequences = taps;
    p.sequence_words = kWords;
    for (int tap = 0; tap < taps; ++tap) {
      p.sequence_first[tap] = tap * p.dilation;
      p.tap_word[tap] = tap * kWords;
    }
  }
  // Taps beyond the last are computed like it and not stored.
  std::fill(p.tap_word + taps, p.tap_word + WeightGradientLimits::kMaxTaps, p.tap_word[taps - 1]);
  return sliding;
}

/// The number of shares with which the last multiprocessor is ready first: all blocks of a wave
/// take as long as the longest share.
inline int64_t choose_gradient_shares(int64_t tiles, int64_t steps, int multiprocessors) {
  const int64_t most =
      std::clamp<int64_t>(steps / WeightGradientLimits::kMinStepsPerShare, 1, multiprocessors);
  int64_t best = 1, best_time = std::numeric_limits<int64_t>::max();
  for (int64_t shares = 1; shares <= most; ++shares) {
    const int64_t waves = (tiles * shares - 1) / multiprocessors + 1;
    const int64_t time = waves * ((steps - 1) / shares + 1 + WeightGradientLimits::kShareOverhead);
    if (time < best_time) {
      best_time = time;
      best = shares;
    }
  }
  const int64_t steps_per_share = (steps - 1) / best + 1;
  return (steps - 1) / steps_per_share + 1;
}

/// Fills in the launch part of `p` for a policy.
template <typename T, typename Policy>
WeightGradientMmaPlan plan_weight_gradient_mma(WeightGradientMmaParams<T>& p, int max_sliding_words,
                                               int max_shared_bytes, int multiprocessors) {
  WeightGradientMmaPlan plan;
  const int parts = sizeof(T) == 4 ? 2 : 1;
  plan.sliding = plan_window<T, Policy>(p, max_sliding_words);
  p.part_words = p.sequences * p.sequence_words;
  p.window_pitch = (parts * p.part_words + 3) / 8 * 8 + 4;
  const int stage_bytes = 4 * (Policy::kBlockSteady * 32 + Policy::kBlockShifted * p.window_pitch);
  constexpr int kBarrierBytes = 1024;  // and what the runtime keeps
  p.stages =
      std::min(WeightGradientLimits::kMaxStages, (max_shared_bytes - kBarrierBytes) / stage_bytes);
  plan.shared_bytes = p.stages * stage_bytes;
  p.steady_tiles = (p.steady_channels - 1) / Policy::kBlockSteady + 1;
  p.shifted_tiles = (p.shifted_channels - 1) / Policy::kBlockShifted + 1;
  p.tap_chunks = (p.kernel_size - 1) / Policy::kTaps + 1;
  p.row_steps = (p.steady_length - 1) / kGradientPositions<T> + 1;
  p.steps = int64_t{p.batch} * p.row_steps;
  p.flush_steps = WeightGradientLimits::kMaxProductsInRow /
                  (kGradientPositions<T> / 16 / Policy::kWarpsK * (parts == 2 ? 3 : 1));
  const double tiles =
      static_cast<double>(p.steady_tiles) * p.shifted_tiles * p.tap_chunks * p.groups;
  constexpr double kMaxBlocks = 1 << 30;
  if (p.stages < 2 || tiles > kMaxBlocks) {
    return plan;
  }
  plan.shares = choose_gradient_shares(static_cast<int64_t>(tiles), p.steps, multiprocessors);
  p.steps_per_share = (p.steps - 1) / plan.shares + 1;
  plan.blocks = static_cast<int64_t>(tiles) * plan.shares;
  plan.fits = plan.blocks <= std::numeric_limits<int32_t>::max() &&
              p.steps_per_share <= std::numeric_limits<int32_t>::max();
  return plan;
}

}  // namespace kernelopt
