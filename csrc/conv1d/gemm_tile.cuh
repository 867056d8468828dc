// What the GEMM kernels of this family share: tiles in shared memory, who loads which element of
// them, and the product of two tiles in registers. Includes no torch header.
#pragma once

#include "common/cuda.cuh"

namespace kernelopt {

/// One stage of both operands in the accumulate type, [tile_k][tile_m] and [tile_k][tile_n]. The
/// rows' padding of 4 keeps the stores of load lanes (below) in different banks.
template <typename A, typename Tile>
struct GemmStage {
  alignas(4 * sizeof(A)) A left[Tile::kTileK][Tile::kTileM + 4];
  alignas(4 * sizeof(A)) A right[Tile::kTileK][Tile::kTileN + 4];
};

/// Who loads an operand whose memory runs along the reduction: a warp takes 8 neighbouring steps of
/// 4 rows, so it reads whole sectors and writes 32 banks. A thread owns one step and the rows
/// row, row + kRowStep, ...
template <int kRows, typename Tile>
struct LoadLanes {
  static constexpr int kWarpsAlongK = Tile::kTileK / 8;
  static constexpr int kRowStep = Tile::kThreads / Tile::kTileK;
  static constexpr int kItems = (kRows + kRowStep - 1) / kRowStep;
  // With fewer rows than lanes, the lanes beyond load nothing.
  static constexpr bool kAllLanes = kRows % kRowStep == 0;

  int step;
  int row;

  __device__ __forceinline__ LoadLanes()
      : step(threadIdx.x % 8 + threadIdx.x / 32 % kWarpsAlongK * 8),
        row(threadIdx.x / 8 % 4 + threadIdx.x / (32 * kWarpsAlongK) * 4) {}

  __device__ __forceinline__ bool owns(int item) const {
    return kAllLanes || row + item * kRowStep < kRows;
  }
};

/// The thread's 4 x 4 outputs: rows row..row+3, columns column..column+3 of the block's tile.
template <typename A, typename Tile>
struct GemmAccumulators {
  A values[4][4];
  int row;
  int column;

  __device__ __forceinline__ GemmAccumulators()
      : values{},
        row(threadIdx.x / Tile::kThreadsN * 4),
        column(threadIdx.x % Tile::kThreadsN * 4) {}

  __device__ __forceinline__ void multiply(const GemmStage<A, Tile>& stage) {
#pragma unroll
    for (int k = 0; k < Tile::kTileK; ++k) {
      const auto left = *reinterpret_cast<const Vec<A, 4>*>(&stage.left[k][row]);
      const auto right = *reinterpret_cast<const Vec<A, 4>*>(&stage.right[k][column]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          values[i][j] += left.values[i] * right.values[j];
        }
      }
    }
  }
};

}  // namespace kernelopt
