// A 1-D convolution as conv1d_wgmma_held_kernel sees it. Passed to kernels by value. Includes no
// torch header.
#pragma once

#include "conv1d/conv1d_wgmma_shared_params.h"

namespace kernelopt {

struct Conv1dWgmmaHeldShape : Conv1dWgmmaShape {
  static constexpr int kSlots = 64;    // of a warpgroup, the m of its products
  static constexpr int kSteps = 12;    // of which the weights are held
  static constexpr int kSlabRows = 8;  // channels on their way from registers to memory
  static constexpr int kMaxStages = 8, kMaxOperandStages = 8;
  static constexpr int kBarriers = 1 + kWarpgroups + 2 * (kMaxStages + kMaxOperandStages);
  static constexpr int kBarrierBytes = (kBarriers * 8 + 15) / 16 * 16;
  // A byte for each product warp of a tile, by the tile's number in its block modulo kFlagTiles.
  static constexpr int kFlagTiles = 256, kFlagBytes = kFlagTiles * kWarpgroups * 4;
};

/// `warpgroup_step` is half of the way from a tile to the next, `resident_bytes` are of the weights
/// that are not held in registers.
struct Conv1dWgmmaHeldParams : Conv1dWgmmaSharedParams {
  static constexpr int kMaxSteps = 48;
  int steps;        // products of a tile, a chunk and a tap each
  int stage_steps;  // of a stage
  // Of a step, from the operand stage's start to the operand of its chunk and tap, in 16 bytes.
  uint16_t step_places[kMaxSteps];
  // The two warpgroups have half of the slots each of every tile; else all slots of every second
  // tile.
  bool splits_slots;

  /// Of a block.
  KERNELOPT_HOST_DEVICE int block_slots() const {
    return splits_slots ? 2 * Conv1dWgmmaHeldShape::kSlots : Conv1dWgmmaHeldShape::kSlots;
  }
};

/// What depends on the type: the two parts of fp32 take the registers of half of a tile's sums, and
/// products of 256 positions more registers than the compiler has for blocks of 512 threads.
template <typename T>
struct Conv1dWgmmaHeldTile {
  static constexpr bool kTwoParts = MmaTraits<T>::kParts == 2;
  static constexpr int kPositions = kTwoParts ? 128 : 256;  // the n of the products
  static constexpr int kOperandWarps = kTwoParts ? 7 : 3;   // beside the one that loads
  static constexpr int kThreads = (Conv1dWgmmaHeldShape::kWarpgroups * 4 + 1 + kOperandWarps) * 32;
  // Of 128 or 168 registers that a thread has on average.
  static constexpr int kProductRegisters = kTwoParts ? 200 : 224, kOperandRegisters = 56;
  // Elements from a channel's row of a slab to the next: room for a part that begins anywhere in 16
  // bytes, and rows that a warp writes at once in different banks.
  static constexpr int kSlabPitch = kPositions + 8;
};

}  // namespace kernelopt
