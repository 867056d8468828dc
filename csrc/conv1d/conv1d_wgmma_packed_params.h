// A 1-D convolution, either way round, as conv1d_wgmma_packed_kernel sees it: a product of two
// packed operands. Passed to kernels by value. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_joined_params.h"

namespace kernelopt {

/// The input is packed to rows of 128 bytes, the channels of a block at one position:
///   [group][channel block][residue][batch entry * entry_runs + row][channel]
/// Row r of an entry holds input position r * input_step + residue + input_first, zeros where there
/// is none, so that run q reads tap j in row q + j * tap_step / input_step of the residue
/// j * tap_step % input_step. The zeros before an entry's first position are also those behind the
/// last one of the entry before. fp32 lies as its high bf16 parts, then its low ones.
/// The weights are packed a channel block and tap at a time, as [part][k / 8][slot][k % 8].
struct Conv1dWgmmaPackedParams : Conv1dWgmmaJoinedParams {
  uint4* packed_input;
  int channel_blocks;  // of a group
  int split_blocks;    // of them that a block of the grid sums over
  int tap_period;      // taps from one of a residue to its next
  int rows;            // of the packed input, of one channel block and residue
  bool shares_window;  // among the taps of a channel block and residue; else each has its own
  int weight_stages;
};

struct Conv1dWgmmaPackedShape {
  static constexpr int kThreads = Conv1dWgmmaJoinedShape::kThreads + 32;  // a warp loads
  static constexpr int kBlockBytes = 128;                                 // of a row
  static constexpr int kBlockElements = kBlockBytes / 2;                  // of 16 bits
  static constexpr int kMaxBoxRows = 256;                                 // of a tensor map's box
  static constexpr int kMaxWindows = 4, kMaxWeightStages = 8;
  static constexpr int kBarrierBytes = 2 * (kMaxWindows + kMaxWeightStages) * 8;
};

/// Chunks of 16 channels in a block of channels.
template <typename T>
constexpr int kPackedChunks = Conv1dWgmmaPackedShape::kBlockElements /
                              (Conv1dWgmmaShape::kChunkChannels * MmaTraits<T>::kParts);

}  // namespace kernelopt
