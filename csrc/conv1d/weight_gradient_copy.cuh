// How the tensor-core weight gradient brings runs of a tensor's memory into shared memory:
// asynchronous copies of 16 or 4 bytes, zeros at positions outside the tensor. A channel that is
// not in the tensor belongs to no result; what stands for it does not matter. Includes no torch
// header.
#pragma once

#include "common/mma.cuh"
#include "conv1d/weight_gradient_mma_params.h"

namespace kernelopt {

/// Brings the first `elements` of kBytes bytes, all of them asynchronously; the others become
/// zeros. Of a part, elements are read one by one: no byte beyond it.
template <typename T, int kBytes>
__device__ __forceinline__ void copy_part(uint32_t destination, const T* source, int elements) {
  constexpr int kElements = kBytes / static_cast<int>(sizeof(T));
  if (elements <= 0 || elements >= kElements) {
    copy_async<kBytes>(destination, source, elements > 0);
    return;
  }
#pragma unroll
  for (int i = 0; i < kElements; ++i) {
    if constexpr (sizeof(T) == 2) {
      const uint16_t bits =
          i < elements ? reinterpret_cast<const uint16_t*>(source)[i] : uint16_t{0};
      asm volatile("st.shared.u16 [%0], %1;\n" ::"r"(destination + i * 2), "h"(bits) : "memory");
    } else {
      const float value = i < elements ? source[i] : 0.0f;
      asm volatile("st.shared.f32 [%0], %1;\n" ::"r"(destination + i * 4), "f"(value) : "memory");
    }
  }
}

/// Starts the copies of a tile: `rows` rows from `first` on, from `position` on, a multiple of a
/// piece.
/// @param thread  of the kThreads that copy
/// @param place   called with a row and a piece: where it goes, a shared address
template <typename T, int kBytes, int kThreads, typename Place>
__device__ __forceinline__ void copy_pieces(const GradientCopy& copy, int thread, const T* first,
                                            int rows, int position, Place&& place) {
  constexpr int kElements = kBytes / static_cast<int>(sizeof(T));
  const int count = rows * copy.pieces;
  const bool inside = position >= 0 && position + copy.pieces * kElements <= copy.length;
#pragma unroll 4
  for (int index = thread; index < count; index += kThreads) {
    const int row = __umulhi(index, copy.divide_by_pieces);
    const int piece = index - row * copy.pieces;
    const int start = position + piece * kElements;
    const T* source = first + row * copy.channel_stride + start;
    if (inside) {
      copy_async<kBytes>(place(row, piece), source, true);
    } else {
      const int left = start < 0 ? 0 : copy.length - start;
      copy_part<T, kBytes>(place(row, piece), left > 0 ? source : first, left);
    }
  }
}

/// The same for rows of 128 bytes, as the other operand's are.
template <typename T, int kBytes, int kThreads, typename Place>
__device__ __forceinline__ void copy_steady_pieces(const GradientCopy& copy, const T* first,
                                                   int rows, int position, Place&& place) {
  constexpr int kElements = kBytes / static_cast<int>(sizeof(T));
  constexpr int kPieces = 128 / kBytes, kRowStep = kThreads / kPieces;
  static_assert(kRowStep % 8 == 0, "rows of one thread are permuted alike");
  const int piece = threadIdx.x % kPieces, first_row = threadIdx.x / kPieces;
  const int start = position + piece * kElements;
  const int left = copy.length - start;
  const T* source = first + first_row * copy.channel_stride + (left > 0 ? start : 0);
  uint32_t destination = place(first_row, piece);
#pragma unroll 4
  for (int row = first_row; row < rows; row += kRowStep) {
    copy_part<T, kBytes>(destination, source, left);
    source += kRowStep * copy.channel_stride;
    destination += kRowStep * 128;
  }
}

template <typename T, int kThreads, typename Place>
__device__ __forceinline__ void copy_steady(const GradientCopy& copy, const T* first, int rows,
                                            int position, Place&& place) {
  if (copy.wide) {
    copy_steady_pieces<T, 16, kThreads>(copy, first, rows, position, place);
  } else {
    copy_steady_pieces<T, 4, kThreads>(copy, first, rows, position, place);
  }
}

template <typename T, int kThreads, typename Place>
__device__ __forceinline__ void copy_rows(const GradientCopy& copy, int thread, const T* first,
                                          int rows, int position, Place&& place) {
  if (copy.wide) {
    copy_pieces<T, 16, kThreads>(copy, thread, first, rows, position, place);
  } else {
    copy_pieces<T, 4, kThreads>(copy, thread, first, rows, position, place);
  }
}

/// Starts the copies of a tile whose runs are the channels of kGradientPositions positions, `step`
/// apart from `position` on.
/// @param first     the tile's first channel
/// @param channels  from it on that are in the tensor's group
template <typename T, int kBytes, int kThreads, typename Place>
__device__ __forceinline__ void copy_position_pieces(const GradientCopy& copy, const T* first,
                                                     int channels, int position, int step,
                                                     Place&& place) {
  constexpr int kElements = kBytes / static_cast<int>(sizeof(T));
  const int count = kGradientPositions<T> * copy.pieces;
#pragma unroll 4
  for (int index = threadIdx.x; index < count; index += kThreads) {
    const int row = __umulhi(index, copy.divide_by_pieces);
    const int piece = index - row * copy.pieces;
    const int at = position + row * step;
    const int left = channels - piece * kElements;
    if (left > 0) {
      const bool inside = static_cast<unsigned>(at) < static_cast<unsigned>(copy.length);
      copy_part<T, kBytes>(place(row, piece),
                           inside ? first + at * copy.length_stride + piece * kElements : first,
                           inside ? left : 0);
    }
  }
}

template <typename T, int kThreads, typename Place>
__device__ __forceinline__ void copy_positions(const GradientCopy& copy, const T* first,
                                               int channels, int position, int step,
                                               Place&& place) {
  if (copy.wide) {
    copy_position_pieces<T, 16, kThreads>(copy, first, channels, position, step, place);
  } else {
    copy_position_pieces<T, 4, kThreads>(copy, first, channels, position, step, place);
  }
}

}  // namespace kernelopt
