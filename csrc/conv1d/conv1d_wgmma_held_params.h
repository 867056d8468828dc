// A 1-D convolution as conv1d_wgmma_held_kernel sees it. Passed to kernels by value. Includes no
// torch header.
#pragma once

#include "conv1d/conv1d_wgmma_shared_params.h"

namespace kernelopt {

struct Conv1dWgmmaHeldShape : Conv1dWgmmaShape {
  static constexpr int kSlots = 64;           // of a warpgroup, the m of its products
  static constexpr int kSteps = 12;           // of which the weights are held
  static constexpr int kMaxStageChunks = 4;   // of channels of a stage
  static constexpr int kPartPositions = 128;  // the n of the products
  static constexpr int kSlabs = kWarpgroups * 4, kSlabRows = 16;  // channels of a product warp
  static constexpr int kMaxStages = 8, kMaxOperandStages = 8;
  static constexpr int kBarriers = 1 + kWarpgroups + 2 * (kMaxStages + kMaxOperandStages + kSlabs);
  static constexpr int kBarrierBytes = (kBarriers * 8 + 15) / 16 * 16;
  // A byte for each product warp of a tile, by the tile's number in its block modulo kFlagTiles.
  static constexpr int kFlagTiles = 256, kFlagBytes = kFlagTiles * kWarpgroups * 4;
};

/// `warpgroup_step` is half of the way from a tile to the next, `resident_bytes` are of the weights
/// that are not held in registers, `tile_runs` are of a part of a tile.
struct Conv1dWgmmaHeldParams : Conv1dWgmmaSharedParams {
  static constexpr int kMaxSteps = 48;
  int steps;                 // products of a tile, a chunk and a tap each
  int stage_steps;           // of a stage, of which every one has as many
  int held_steps;            // of which the weights are in registers: the first
  int first_resident_stage;  // the first step of the stages without such
  // Of a step, from the operand stage's start to the operand of its chunk and tap, in 16 bytes.
  uint16_t step_places[kMaxSteps];
  // The two warpgroups have half of the slots each of every tile; else all slots of every second
  // part of a tile.
  bool splits_slots;

  /// Of a block.
  KERNELOPT_HOST_DEVICE int block_slots() const {
    return splits_slots ? 2 * Conv1dWgmmaHeldShape::kSlots : Conv1dWgmmaHeldShape::kSlots;
  }
};

/// What depends on the type. A tile of 16 bits is multiplied in two parts: products of 256
/// positions take more registers than the compiler has for blocks of 512 threads, and rows of 128
/// take longer to store than half of those of 256.
template <typename T>
struct Conv1dWgmmaHeldTile {
  using Shape = Conv1dWgmmaHeldShape;
  static constexpr bool kTwoOperands = MmaTraits<T>::kParts == 2;
  static constexpr int kParts = kTwoOperands ? 1 : 2;
  static constexpr int kPositions = kParts * Shape::kPartPositions;
  // Beside the warp that loads. fp32 has the two parts of an operand to make.
  static constexpr int kOperandWarps = kTwoOperands ? 5 : 3, kStoreWarps = kTwoOperands ? 2 : 4;
  static constexpr int kThreads = (Shape::kWarpgroups * 4 + 1 + kOperandWarps + kStoreWarps) * 32;
  // Of 128 registers that a thread has on average.
  static constexpr int kProductRegisters = kTwoOperands ? 200 : 168;
  static constexpr int kOtherRegisters = 256 - kProductRegisters;
  // Elements from a channel's row of a slab to the next: room for a part that begins anywhere in 16
  // bytes, and rows that a warp writes at once in different banks.
  static constexpr int kSlabPitch = kPositions + 8;
  static constexpr int kSlabElements = Shape::kSlabRows * kSlabPitch;
};

}  // namespace kernelopt
