// A 1-D convolution, either way round, as the warpgroup kernel sees it, and how its launch is cut.
// Passed to kernels by value. Includes no torch header.
#pragma once

#include "common/mma.cuh"
#include "common/tensor_map.h"
#include "conv1d/conv1d_problem.h"

#include <cstdint>

namespace kernelopt {

/// The problem as one correlation. Output positions are taken in runs of `residues`: the q-th run
/// of `positions` holds q * residues ... q * residues + residues - 1, and tap j of `taps` reads
/// input position q * input_step + input_first + j * tap_step for all of them.
///   Not transposed: residues is 1, the taps are the weight's.
///   Transposed: residues is the stride; tap k of the weight reaches the one residue r with
///   r = k * dilation - padding modulo stride, from the input position
///   q - floor((k * dilation - padding) / stride). So the residues of a run are output channels of
///   one correlation at unit step, with weights that are zero where a residue has no such tap.
///   Skewed: residue r of the q-th run is that of run q + skews[r] of the output, so that the taps
///   of all residues reach the same input positions.
///   Spread: stride and dilation are 2, so that all taps reach the same one of two residues. Then
///   that is the only one, and the other output of a run is the activation of the bias.
struct Conv1dCorrelation {
  int residues;
  int positions;
  int taps;
  int input_step, input_first, tap_step;
  int spread = 1;        // outputs of a residue, 2 where only one of two has products
  int spread_first = 0;  // which one

  KERNELOPT_HOST_DEVICE int run_outputs() const { return residues * spread; }
  /// The place of a row's first sum in its slab, where the outputs begin at a place.
  KERNELOPT_HOST_DEVICE int sum_place(int output_place) const {
    return (output_place + spread_first) >> (spread - 1);
  }
};

/// What the kernel is told. A slot is a column of the product: 16 of them, a pass of the epilogue,
/// hold all residues of pass_channels output channels.
/// `problem` has run_shift less padding, and as many outputs more before its first, than the one
/// that is computed: those are not stored.
struct Conv1dWgmmaParams {
  Conv1dProblem problem;
  int run_shift;
  Conv1dCorrelation correlation;
  uint8_t skews[16];  // of the residues
  int skew_outputs;   // the outputs before a run that the largest skew leaves incomplete, or 0
  // Of the input [batch][channel][position], where windows are copied as boxes, one for each
  // warpgroup or segment.
  CUtensorMap input_map;
  int box_bytes;               // of one, or 0
  int box_step;                // runs from a warpgroup's box to the next one's, or 0
  int warpgroup_bytes;         // of a window's row, or boxes, from one warpgroup to the next
  const void* input_end;       // one past the last element that the input's strides reach
  const uint4* packed_weight;  // [group][n block][chunk][tap][part][k / 8][slot][k % 8]
  int n_blocks;                // blocks of slots, of one group
  int block_passes;            // of a block, 0 where they are all that its slots have room for
  int pass_channels;           // 16 / residues
  int channel_chunks;          // of 16 input channels
  int taps_per_step;
  int64_t all_tiles;
  int tiles;  // of one batch entry
  // A tile may be made of segments, 64 runs each of any batch entry: `segments` of a tile, or 1
  // where it is whole, and of a batch entry.
  int segments, entry_segments;
  int segment_bytes;   // of a window row, or of all rows where an image is copied at once
  bool copies_images;  // a segment is a whole image, with its channels side by side
  int warpgroup_step;  // runs from one warpgroup's tile to the next, 128 or fewer where tiles
                       // overlap
  bool ragged;         // tiles do not, though rows begin inside 16 bytes: two share a vector
  int stages, stage_channels;
  int window_pitch, window_bytes;  // of one row of a stage, and of all
  int step_weight_bytes;           // of a stage, 0 where the weights are resident
  int resident_bytes;              // of all weights of a block, 0 where they are not
  bool packs_weights;              // a block packs them itself
  int split_channels;              // input channels of a split, whole stages
  float* split_sums;               // [split][batch][channel][split_pitch], null where not split
  int split_pitch;                 // of a row, out_length rounded up to whole vectors
  int slabs;                       // of a warpgroup
  int slab_pitch, slab_bytes;      // of a row in words, of a slab in bytes
};

/// What the plans of the warpgroup kernels have in common: a launch's slots of a block, memory and
/// grid. `fits` is false where the kernel cannot take the problem, or another is faster.
struct Conv1dWgmmaLaunch {
  bool fits = false;
  int block_slots = 0;  // 32, 64, 128 or 256
  int shared_bytes = 0;
  int64_t packed_bytes = 0;
  int64_t sums_bytes = 0;                       // of the splits' sums, 0 where not split
  unsigned grid_x = 0, grid_y = 0, splits = 1;  // splits: of the input channels
};

constexpr int kPackedAtOnce = 4;  // taps of which a thread that packs reads the weights at once

struct Conv1dWgmmaShape {
  static constexpr int kWarpgroups = 2;  // that multiply; two more load and store
  static constexpr int kThreads = (kWarpgroups + 2) * 128;
  // Registers a thread: of 128 that a block of 512 threads has on average.
  static constexpr int kProductRegisters = 200, kLoadRegisters = 40, kStoreRegisters = 72;
  static constexpr int kLoaders = 4;  // warps of the loading warpgroup
  static constexpr int kTilesM = 2;   // 64-row tiles of a warpgroup
  static constexpr int kSegmentRuns = 64, kSegments = kWarpgroups * kTilesM;  // of a tile
  static constexpr int kWarpgroupM = kTilesM * 64;  // positions of a warpgroup
  static constexpr int kStageChannels = 32;         // rows of a stage at most, one a loading lane
  static constexpr int kChunkChannels = 16;         // the k of one product
  static constexpr int kPassColumns = 16;           // slots that pass through a slab at a time
  static constexpr int kStoreThreads = 64;          // of a warpgroup
  static constexpr int kMaxStages = 8, kMaxSlabs = 8;  // slabs: of a warpgroup
  static constexpr int kBarriers = 1 + 2 * (kMaxStages + kWarpgroups * kMaxSlabs);
  static constexpr int kBarrierBytes = (kBarriers * 8 + 15) / 16 * 16;
};

/// Words from a channel's row of a slab to the next: room for a part that begins anywhere in 16
/// bytes, and the pitch with which the writes of a warp fall into different banks. Residues of an
/// even number are written in pairs.
template <typename T>
constexpr int slab_row_pitch(int residues) {
  const int rest = residues % 2 == 0 ? (residues == 4 ? 16 : 8) : sizeof(T) == 4 ? 4 : 20;
  return Conv1dWgmmaShape::kWarpgroupM * residues + rest;
}

}  // namespace kernelopt
