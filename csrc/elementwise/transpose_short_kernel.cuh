// Transposition of the matrices of a batch of which one side is short, in vectors of 16 bytes:
//   flat[n, l, s] = rows[n, s, l], or the reverse
// A block owns some l of one matrix with all their s: one run of memory in `flat`, whatever the
// alignment of a single l. It lies in shared memory in that order; threads gather or scatter the
// vectors of `rows` there. Includes no torch header.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace kernelopt {

struct TransposeShortParams {
  const void* source;
  void* destination;
  int64_t length;  // of l, a multiple of a vector's elements
  int width;       // of s
  int tile;        // elements of l a block
  unsigned tiles;
};

struct TransposeShortShape {
  static constexpr int kThreads = 256;
  static constexpr int kMaxWidth = 256;
  static constexpr int kLineBytes = 128;
  /// Elements of l: whole lines, several where the other side is very short.
  static constexpr int tile(int64_t width, int element_bytes) {
    return static_cast<int>(kLineBytes / element_bytes * std::clamp<int64_t>(64 / width, 1, 8));
  }
};

/// @tparam T        an unsigned integer of the elements' size
/// @tparam kToRows  from `flat` to `rows`
template <typename T, bool kToRows>
__global__ void __launch_bounds__(TransposeShortShape::kThreads)
    transpose_short_kernel(const __grid_constant__ TransposeShortParams p) {
  constexpr int kThreads = TransposeShortShape::kThreads;
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  extern __shared__ uint4 flat_tile[];
  T* elements = reinterpret_cast<T*>(flat_tile);
  const int64_t matrix = blockIdx.x / p.tiles * (p.length * p.width);
  const int64_t first = int64_t{blockIdx.x % p.tiles} * p.tile;
  const int length = static_cast<int>(min(p.length - first, int64_t{p.tile}));
  const int vectors = length / kVector * p.width;
  const int64_t flat = matrix + first * p.width;

  // Calls `function(vector of rows, element of the tile)` for this thread's vectors. Neighbours
  // have the two halves of a sector, then the next s, whose elements lie in neighbouring banks.
  const auto for_rows = [&](auto&& function) {
    const int pairs = (length / kVector + 1) / 2 * 2;
    for (int item = threadIdx.x; item < pairs * p.width; item += kThreads) {
      const int s = item / 2 % p.width;
      const int l = (item / 2 / p.width * 2 + item % 2) * kVector;
      if (l < length) {
        function(matrix + s * p.length + first + l, l * p.width + s);
      }
    }
  };
  if constexpr (kToRows) {
    const uint4* source = reinterpret_cast<const uint4*>(static_cast<const T*>(p.source) + flat);
#pragma unroll 4
    for (int i = threadIdx.x; i < vectors; i += kThreads) {
      flat_tile[i] = source[i];
    }
    __syncthreads();
    for_rows([&](int64_t row, int element) {
      alignas(16) T values[kVector];
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        values[i] = elements[element + i * p.width];
      }
      *reinterpret_cast<uint4*>(static_cast<T*>(p.destination) + row) =
          *reinterpret_cast<const uint4*>(values);
    });
  } else {
    for_rows([&](int64_t row, int element) {
      alignas(16) T values[kVector];
      *reinterpret_cast<uint4*>(values) =
          *reinterpret_cast<const uint4*>(static_cast<const T*>(p.source) + row);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        elements[element + i * p.width] = values[i];
      }
    });
    __syncthreads();
    uint4* destination = reinterpret_cast<uint4*>(static_cast<T*>(p.destination) + flat);
    for (int i = threadIdx.x; i < vectors; i += kThreads) {
      destination[i] = flat_tile[i];
    }
  }
}

}  // namespace kernelopt
