// A transposed 1-D convolution as conv1d_wgmma_joined_kernel sees it: its batch entries joined to
// one row. Passed to kernels by value. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_params.h"

namespace kernelopt {

/// The runs of all batch entries lie one after the other, `entry_runs` to an entry, of which those
/// behind its last output are never stored. So tiles are full, however short the entries are.
struct Conv1dWgmmaJoinedParams : Conv1dWgmmaParams {
  int entry_runs;
  int window_lead;     // elements of a window before the one that the first run's first tap reads
  int copy_elements;   // of the input that are copied at once
  int window_copies;   // of a window's row
  int store_elements;  // outputs that are stored at once
  int sums_lead;       // words from a row's start to its first sum, so that vectors are aligned
  int sums_pitch;      // words from a channel's row of sums to the next
  int biases_offset;   // bytes of shared memory before the biases
};

struct Conv1dWgmmaJoinedShape {
  static constexpr int kWarpgroups = 2;
  static constexpr int kThreads = kWarpgroups * 128;
  static constexpr int kRuns = kWarpgroups * 64;  // of a tile
  static constexpr int kStages = 3;
  static constexpr int kStoreElements = 4;
};

}  // namespace kernelopt
