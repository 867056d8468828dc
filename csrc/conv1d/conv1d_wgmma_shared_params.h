// A 1-D convolution as conv1d_wgmma_shared_kernel sees it. Passed to kernels by value. Includes no
// torch header.
#pragma once

#include "conv1d/conv1d_wgmma_params.h"

namespace kernelopt {

/// `stages`, `window_pitch` and `window_bytes` are those of the raw windows. The operand's
/// positions lie sorted by their residues modulo the input step, so that a tap reads successive
/// ones.
struct Conv1dWgmmaSharedParams : Conv1dWgmmaParams {
  bool aligned_rows;  // all input rows have the same place in 16 bytes
  // Of the input in an element of input_map, whose boxes are the windows; 0: they are copied piece
  // by piece.
  int map_elements;
  bool aligned_output;  // all output rows begin on 16 bytes
  bool even_output;     // all output rows begin on 4 bytes, and runs are one output
  bool takes_turns;     // one warpgroup multiplies while the other finishes
  // Where tiles overlap, those of a block's two warpgroups need not: the second one begins where
  // the first one ends, and the vectors that they share are put together in their slabs.
  bool adjoins;
  int second_run;                     // from the first warpgroup's tile to the second's
  int tile_runs;                      // positions of a tile
  int residue_pitch;                  // positions from a residue's to the next residue's
  int operand_stages, operand_pitch;  // positions from eight channels to the next
  int operand_bytes;                  // of a stage without weights
};

struct Conv1dWgmmaSharedShape : Conv1dWgmmaShape {
  // Of 128 registers that a thread of a block of 512 has on average.
  static constexpr int kProductRegisters = 168, kLoadRegisters = 88, kStoreRegisters = 88;
  static constexpr int kOperandWarps = 3;   // beside the one that loads
  static constexpr int kPassChannels = 16;  // that pass through a slab at a time
  static constexpr int kMaxStages = 8;      // of raw windows
  static constexpr int kMaxOperandStages = 4, kMaxSlabs = 4;
  static constexpr int kBarriers =
      1 + kWarpgroups + 2 * (kMaxStages + kMaxOperandStages + kWarpgroups * kMaxSlabs);
  static constexpr int kBarrierBytes = (kBarriers * 8 + 15) / 16 * 16;
  static constexpr int kFlagBytes = kWarpgroups * kMaxSlabs * 4;
};

/// How results are written to a slab. Blocks: 16-bit rows begin on 16 bytes, and 8 x 8 results are
/// written at once. Pairs: rows begin on two elements, and two successive results of a row are
/// written at once. Single: one result at a time, or two residues.
enum class SlabLayout { kBlocks, kPairs, kSingle };

/// Where the operand has a position of a window.
template <bool kStrided>
struct OperandPlaces {
  int step, pitch;
  uint32_t reciprocal;
  __device__ __forceinline__ explicit OperandPlaces(const Conv1dWgmmaSharedParams& p)
      : step(p.correlation.input_step),
        pitch(p.residue_pitch),
        reciprocal(kStrided ? (1u << 16) / p.correlation.input_step + 1 : 0) {}
  /// @param position  below 2^16 / step, for which the reciprocal is exact
  __device__ __forceinline__ int operator[](int position) const {
    if (!kStrided) {
      return position;
    }
    const int quotient = static_cast<int>(static_cast<uint32_t>(position) * reciprocal >> 16);
    return quotient + (position - quotient * step) * pitch;
  }
};

/// 64-row tiles of a warpgroup, and its products under way, of 128 slots at most: one below the
/// other, or with 256 slots side by side.
constexpr int warpgroup_tiles_m(int slots) { return slots > 128 ? 1 : slots > 64 ? 2 : 4; }
constexpr int warpgroup_products(int slots) { return slots > 64 ? 2 : 4; }

/// Elements of 16 bits from a channel's row of a slab to the next: room for a part that begins
/// anywhere in 16 bytes, and the pitch with which the writes of a warp, 8 runs of 4 pairs of slots,
/// fall into different banks.
constexpr int shared_slab_pitch(int positions, int residues) { return (positions + 8) * residues; }

/// Slabs of a warpgroup where every tile fills and empties each of them an even number of times, so
/// that a pass finds its slab and its barriers' phase without counting; else 0, and the plan says
/// how many.
constexpr int fixed_slabs(int slots, int residues) { return slots >= 128 && residues == 1 ? 4 : 0; }

}  // namespace kernelopt
