// What the warpgroup kernel of the pointwise product in channels_last is told, and its shape.
// Includes no torch header.
#pragma once

#include "common/math.h"

#include <cstdint>

namespace kernelopt {

struct ChannelGemmWgmmaShape {
  static constexpr int kWarpgroups = 2;  // that multiply; one more loads
  static constexpr int kThreads = (kWarpgroups + 1) * 128;
  // 56 + 2 * 224 registers a thread of each warpgroup fit the multiprocessor's 512.
  static constexpr int kLoadRegisters = 56;
  static constexpr int kProductRegisters = 224;
  // Of a row in shared memory: 64 channels in 16 bit, 32 in fp32.
  static constexpr int kChunkBytes = 128;
  static constexpr int kMaxTilesM = 2;  // of 64 rows, a warpgroup
  // Stages that are under way while one is handed over. Two more stages keep the loads going: one
  // that is multiplied, and the one before it, which is released when its successor's products run.
  static constexpr int pending_stages(int tiles_m, bool together) {
    return tiles_m == 1 ? (together ? 3 : 6) : (together ? 2 : 3);
  }
  static constexpr int kSpareStages = 2;
};

struct ChannelGemmWgmmaParams {
  const void* left;    // [m, k], contiguous
  const void* right;   // the weight; element (n, k) at n * right_n_stride + k * right_k_stride
  const void* packed;  // the weight as the packing kernel wrote it; null: `right` is copied as left
  const void* bias;    // [n] or null
  void* result;        // [m, n], contiguous
  int64_t m;
  int n;
  int k;
  int64_t right_n_stride;
  int64_t right_k_stride;
  int row_tiles;
  int chunks;  // of k
  int stages;
  bool resident;  // the block's weights stay in shared memory
  bool together;  // the warpgroups multiply the halves of a tile; else tiles in turn
  int piece;      // bytes that a copy of `left` moves: 16, 4 or 2
  bool vectors;   // rows of the result begin on 16 bytes
  int spread;     // PackOrder::kImages: of spread_channel()
  int* taken;  // per block of channels, tiles that were taken: set to 0 with the packing; or null
  Activation activation;
};

}  // namespace kernelopt
