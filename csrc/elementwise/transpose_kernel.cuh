// Transposition of the matrices of a batch:
//   destination[n, c, r] = source[n, r, c]
// A block owns a square tile of one matrix. It passes through shared memory, so that reads and
// writes both run along rows. Includes no torch header.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace kernelopt {

/// @tparam T  an unsigned integer of the elements' size
template <typename T>
struct TransposeShape {
  static constexpr int kTile = sizeof(T) == 2 ? 64 : 32;  // elements; rows of 64 bytes or more
  static constexpr int kThreads = 256;
};

template <typename T>
__global__ void __launch_bounds__(TransposeShape<T>::kThreads)
    transpose_kernel(const T* __restrict__ source /* [batch, rows, columns] */,
                     T* __restrict__ destination /* [batch, columns, rows] */, int64_t rows,
                     int64_t columns, unsigned row_tiles, unsigned column_tiles) {
  constexpr int kTile = TransposeShape<T>::kTile;
  constexpr int kStep = TransposeShape<T>::kThreads / kTile;
  // One 4-byte bank more in a row: neighbours of a column lie in different banks.
  __shared__ T tile[kTile][kTile + (sizeof(T) == 2 ? 2 : 1)];
  const unsigned column_tile = blockIdx.x % column_tiles;
  const unsigned row_tile = blockIdx.x / column_tiles % row_tiles;
  const int64_t matrix = blockIdx.x / column_tiles / row_tiles * (rows * columns);
  const int64_t first_row = int64_t{row_tile} * kTile, first_column = int64_t{column_tile} * kTile;
  const int x = threadIdx.x % kTile, y = threadIdx.x / kTile;
#pragma unroll
  for (int i = y; i < kTile; i += kStep) {
    if (first_row + i < rows && first_column + x < columns) {
      tile[i][x] = source[matrix + (first_row + i) * columns + first_column + x];
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = y; i < kTile; i += kStep) {
    if (first_column + i < columns && first_row + x < rows) {
      destination[matrix + (first_column + i) * rows + first_row + x] = tile[x][i];
    }
  }
}

}  // namespace kernelopt
