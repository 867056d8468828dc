// Which kernel sums a reduction, in vectors of how many elements, in how many shares. Includes no
// torch header.
#pragma once

#include "elementwise/elementwise_policy.h"
#include "elementwise/iteration.h"

#include <algorithm>

namespace kernelopt {

constexpr int64_t kSumVecBytes = 16;

/// Which kernel sums, in vectors of how many elements, and the grid.
struct SumLaunch {
  bool rows;
  int vec;
  int lanes;          // columns: threads along the kept dimension
  int64_t run_items;  // rows: elements or vectors of a run
  int64_t items;      // of the reduced space
  int64_t blocks;     // a share
  int64_t shares;
};

/// Whether memory runs along the reduced dimensions first.
inline bool reduced_is_innermost(const Reduction& reduction) {
  if (reduction.kept.dims == 0 || reduction.reduced.dims == 0) {
    return reduction.kept.dims == 0;
  }
  return reduction.reduced.strides[0][0] < reduction.kept.strides[0][0];
}

/// Whether the kept elements are whole, aligned vectors of `vec`, wherever the reduced ones are.
inline bool kept_is_vectors(const void* source, int64_t element_bytes, const Reduction& reduction,
                            int vec) {
  const Iteration<1>&kept = reduction.kept, &reduced = reduction.reduced;
  bool aligned = kept.dims > 0 && kept.strides[0][0] == 1 && kept.sizes[0] % vec == 0 &&
                 reinterpret_cast<uintptr_t>(source) % (vec * element_bytes) == 0;
  for (int dim = 1; dim < kept.dims; ++dim) {
    aligned = aligned && kept.strides[0][dim] % vec == 0;
  }
  for (int dim = 0; dim < reduced.dims; ++dim) {
    aligned = aligned && reduced.strides[0][dim] % vec == 0;
  }
  return aligned;
}

/// Shares, `useful` at most, with which `blocks` a share fill the places that blocks have on the
/// device, with as few rounds of them as nearly do so.
inline int64_t sum_shares(int64_t blocks, int64_t useful, int64_t places) {
  int64_t best = 0;
  double best_filled = 0.0;
  for (int64_t round = 1; round <= SumPolicy::kMaxRounds; ++round) {
    const int64_t shares = std::clamp<int64_t>(round * places / blocks, 1, useful);
    const int64_t rounds = divide_up(blocks * shares, places);
    const double filled = static_cast<double>(blocks * shares) / (rounds * places);
    if (best == 0 || filled > best_filled + SumPolicy::kRoundGain) {
      best = shares;
      best_filled = filled;
    }
  }
  return best;
}

/// @param rows  whether the rows kernel is to sum
inline SumLaunch plan_sum(const void* source, int64_t element_bytes, const Reduction& reduction,
                          bool rows, int multiprocessors) {
  const Iteration<1>&kept = reduction.kept, &reduced = reduction.reduced;
  const int vec = static_cast<int>(kSumVecBytes / element_bytes);
  SumLaunch launch{rows, 1, 1, 1, reduced.numel, kept.numel, 1};
  int64_t block_items = 1;  // elements of a block's every reduced item
  if (rows) {
    // A sum over nothing has runs of one element, of which there are none.
    const int64_t length = reduced.dims > 0 ? std::max<int64_t>(reduced.sizes[0], 1) : 1;
    const bool runs = reduced.dims > 0 && reduced.strides[0][0] == 1;
    launch.vec = runs && length >= SumPolicy::kMinRunVectors * vec ? vec : 1;
    // A run that starts between two vectors touches one more.
    launch.run_items = launch.vec == 1 ? length : (length + vec - 2) / vec + 1;
    launch.items = reduced.numel / length * launch.run_items;
    block_items = launch.vec;
  } else {
    launch.vec = kept_is_vectors(source, element_bytes, reduction, vec) ? vec : 1;
    const int64_t vectors = divide_up(kept.numel, launch.vec);
    launch.blocks =
        divide_up(vectors, launch.vec == 1 ? SumPolicy::kMaxElementLanes : SumPolicy::kMaxLanes);
    launch.lanes = static_cast<int>(divide_up(vectors, launch.blocks));
    block_items = int64_t{launch.lanes} * launch.vec;
  }
  constexpr int64_t kMaxShares = 65535;  // gridDim.y
  const int64_t useful = std::clamp<int64_t>(
      launch.items / divide_up(SumPolicy::kMinItemsPerBlock, block_items), 1, kMaxShares);
  const int64_t places = int64_t{multiprocessors} * SumPolicy::kResidentBlocks;
  launch.shares = sum_shares(launch.blocks, useful, places);
  return launch;
}

}  // namespace kernelopt
