// How a correlation is cut for the tensor cores: block tiles, taps a step, what stays in shared
// memory. Includes no torch header.
#pragma once

#include "conv1d/correlation_params.h"

#include <algorithm>
#include <limits>

namespace kernelopt {

/// Shared memory, workspace and grid of one launch; `fits` is false where the kernel cannot take
/// it.
struct CorrelationMmaPlan {
  bool fits = false;
  int shared_bytes = 0;
  int64_t packed_bytes = 0;
  unsigned grid_x = 0, grid_y = 0;
};

/// The most memory for packed weights; its 16-byte vectors are counted in 32 bits.
constexpr int64_t kMaxPackedBytes = int64_t{1} << 30;

/// Fills in the launch part of `p` for a policy, given the device's shared memory a block.
template <typename T, typename Policy>
CorrelationMmaPlan plan_correlation_mma(CorrelationParams<T>& p, int max_shared_bytes,
                                        int multiprocessors) {
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kBlockTiles = Policy::kBlockM / 16;
  constexpr int64_t kTapBytes = int64_t{kBlockTiles} * kParts * 512;
  constexpr int kSlabBytes = Policy::kSlabRows * Policy::kSlabPitch * 4;
  CorrelationMmaPlan plan;
  p.channel_chunks = (p.in_channels + kChunkChannels - 1) / kChunkChannels;
  p.m_blocks = (p.out_channels + Policy::kBlockM - 1) / Policy::kBlockM;
  p.n_tiles = (p.positions + Policy::kBlockN - 1) / Policy::kBlockN;
  const int64_t budget = max_shared_bytes / Policy::kBlocksPerMultiprocessor - 1024 - kSlabBytes;

  // The last position read, padded tiles included, must fit 32 bits.
  const int64_t reach = int64_t{p.n_tiles} * Policy::kBlockN * p.input_step +
                        int64_t{p.taps} * p.tap_step + std::abs(int64_t{p.input_first});
  const int64_t grid_y = int64_t{p.groups} * p.m_blocks;
  plan.packed_bytes = grid_y * p.channel_chunks * p.taps * kTapBytes;
  if (plan.packed_bytes > kMaxPackedBytes) {
    return plan;
  }
  if (reach > std::numeric_limits<int32_t>::max() || grid_y > 65535) {
    return plan;
  }
  // As many taps a step as fit: a wider window serves more products.
  for (int taps = p.taps; taps >= 1; taps = taps == 1 ? 0 : (taps + 1) / 2) {
    const int64_t length =
        int64_t{Policy::kBlockN - 1} * p.input_step + int64_t{taps - 1} * p.tap_step + 1;
    const int64_t words = length * sizeof(T) / 4 + 2;
    // 8 modulo 32 words: the four pair rows that a fragment reads lie in different banks.
    const int64_t packed_pitch = (length + 23) / 32 * 32 + 8;
    const int64_t windows =
        (Policy::kStages * kChunkChannels * words + kParts * kChunkChannels / 2 * packed_pitch) * 4;
    const int64_t resident = p.channel_chunks * p.taps * kTapBytes;
    const int64_t streamed = Policy::kStages * taps * kTapBytes;
    const bool keep = windows + resident <= budget;
    const int64_t bytes = windows + (keep ? resident : streamed);
    if (bytes > budget) {
      continue;
    }
    p.taps_per_step = taps;
    p.window_pitch = static_cast<int>(words);
    p.packed_pitch = static_cast<int>(packed_pitch);
    p.resident_weights = keep;
    plan.fits = true;
    plan.shared_bytes = static_cast<int>(bytes) + kSlabBytes;
    const int64_t tiles = int64_t{p.batch} * p.n_tiles;
    const int64_t resident_blocks = int64_t{multiprocessors} * Policy::kBlocksPerMultiprocessor;
    plan.grid_x = static_cast<unsigned>(
        std::clamp<int64_t>((resident_blocks + grid_y - 1) / grid_y, 1, tiles));
    plan.grid_y = static_cast<unsigned>(grid_y);
    break;
  }
  return plan;
}

}  // namespace kernelopt
