// A depthwise correlation along rows: with x = position * stride - padding,
//   output[r, position] = act(bias[c] + sum over j of weight[c, j] * input[r / multiplier, x + j *
//   d])
// r a row of [batch, channels], c its channel. A block owns some whole rows or a tile of one (see
// Conv1dSlidingPlan), whose inputs are one contiguous piece of memory, and so are its outputs; both
// are staged in shared memory. A thread computes 16 bytes of outputs at a time, from windows of the
// row in registers. Any length, padding, dilation and alignment; positions below 2^30.
#pragma once

#include "common/padded_sum.cuh"
#include "common/row_window.cuh"
#include "common/single_piece_copy.cuh"
#include "conv1d/conv1d_sliding_plan.h"

namespace kernelopt {

/// Adds the products of kCount neighbouring taps with their window of the row.
/// @param offset  of the window in `shared`, in bytes
/// @param first   the window's first position in its row of `length` inputs
template <typename T, int kStride, int kCount, int kVec>
__device__ __forceinline__ void add_taps(float (&sums)[kVec], const float* taps,
                                         const unsigned char* shared, int offset, int first,
                                         int length) {
  constexpr int kReach = (kVec - 1) * kStride + kCount;
  if (first <= -kReach || first >= length) {
    return;
  }
  RowWindow<T, kReach> window;
  if (first >= 0 && first + kReach <= length) {
    window.template load<false>(shared, offset);
  } else {
    window.set_mask(first, length);
    window.load(shared, offset);
  }
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sums[i] += taps[j] * window.values[i * kStride + j];
    }
  }
}

/// The taps of a channel where their number is known only at run time.
template <typename T>
struct TapReader {
  const T* weight;
  int last;  // index of the last tap where the kernel is flipped, else -1
  template <int kCount>
  __device__ __forceinline__ void read(float (&taps)[kCount], int j) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      taps[i] = to_accumulate(weight[last < 0 ? j + i : last - j - i]);
    }
  }
};

/// Adds the taps [j, kernel_size), fewer than kLimit, of a kernel without dilation.
template <typename T, int kStride, int kLimit, int kVec>
__device__ __forceinline__ void add_last_taps(float (&sums)[kVec], const TapReader<T>& reader,
                                              int j, int kernel_size, const unsigned char* shared,
                                              int offset, int first, int length) {
  if constexpr (kLimit > 1) {
    constexpr int kHalf = kLimit / 2;
    if ((kernel_size - j) & kHalf) {
      float taps[kHalf];
      reader.read(taps, j);
      add_taps<T, kStride, kHalf>(sums, taps, shared, offset + j * static_cast<int>(sizeof(T)),
                                  first + j, length);
      j += kHalf;
    }
    add_last_taps<T, kStride, kHalf>(sums, reader, j, kernel_size, shared, offset, first, length);
  }
}

/// @tparam kTaps  the kernel size, without dilation; 0: any kernel size and dilation
template <typename T, int kTaps, int kStride>
__global__ void __launch_bounds__(Conv1dSlidingPolicy::kThreads)
    conv1d_sliding_kernel(const __grid_constant__ Conv1dProblem problem,
                          const __grid_constant__ Conv1dSliding row,
                          const __grid_constant__ Conv1dSlidingPlan plan) {
  constexpr int kVec = 16 / sizeof(T);
  constexpr int kElement = sizeof(T);
  constexpr int kChunk = 8;  // taps added at a time where their number is not known
  extern __shared__ __align__(128) unsigned char shared[];
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(shared);

  const int block_row =
      plan.tiles == 1 ? static_cast<int>(blockIdx.x) : static_cast<int>(blockIdx.x) / plan.tiles;
  const int begin = (static_cast<int>(blockIdx.x) - block_row * plan.tiles) * plan.columns;
  const int columns = min(plan.columns, row.out_length - begin);
  const int first_row = block_row * plan.rows;
  const int rows = min(plan.rows, row.rows - first_row);

  // Inputs: whole rows, or of one row what the tile's windows touch.
  const auto in_row_of = [&](int r) { return row.multiplier == 1 ? r : r / row.multiplier; };
  const int in_row = in_row_of(first_row);
  const int in_rows = in_row_of(first_row + rows - 1) - in_row + 1;
  int in_begin = 0, in_end = row.in_length;
  if (plan.rows == 1) {
    const int first = begin * kStride - row.padding;
    const int end = first + (columns - 1) * kStride + (row.kernel_size - 1) * row.dilation + 1;
    in_begin = min(max(first, 0), row.in_length);
    in_end = min(max(end, in_begin), row.in_length);
  }
  const auto row_offset = [](const Strides1d& strides, int index, int channels) {
    const int n = index / channels;
    return n * strides.batch + (index - n * channels) * strides.channel;
  };
  const T* input = static_cast<const T*>(problem.input);
  const T* from = input + row_offset(problem.input_strides, in_row, row.in_channels) + in_begin;
  CopyPieces piece{};
  piece.global = reinterpret_cast<char*>(const_cast<T*>(from));
  piece.shared = shared + kConv1dSlidingMargin + place_in_area(from);
  piece.bytes = (plan.rows == 1 ? in_end - in_begin : in_rows * row.in_length) * kElement;
  piece.count = piece.bytes > 0 ? 1 : 0;
  start_only_load<T>(piece, reinterpret_cast<const char*>(input),
                     reinterpret_cast<const char*>(input + row.in_extent), barrier);

  T* to = static_cast<T*>(problem.output) +
          row_offset(problem.output_strides, first_row, row.channels) + begin;
  CopyPieces result{};
  result.global = reinterpret_cast<char*>(to);
  result.shared = shared + plan.result_offset + place_in_area(to);
  result.bytes = (plan.rows == 1 ? columns : rows * row.out_length) * kElement;
  result.count = 1;

  const int my_row = static_cast<int>(threadIdx.x) >> plan.lanes_log2;
  const int lane = static_cast<int>(threadIdx.x) - (my_row << plan.lanes_log2);
  const bool active = my_row < rows;
  float taps[kTaps > 0 ? kTaps : 1];
  float start = 0.0f;
  bool finite_taps = true;
  TapReader<T> reader{};
  if (active) {
    const int channel = (first_row + my_row) / row.lines % row.channels;
    reader.weight = static_cast<const T*>(problem.weight) + int64_t{channel} * row.kernel_size;
    reader.last = row.flipped ? row.kernel_size - 1 : -1;
    if constexpr (kTaps > 0) {
      reader.read(taps, 0);
    }
    float zero = 0.0f;
    if constexpr (kTaps > 0) {
#pragma unroll
      for (int j = 0; j < kTaps; ++j) {
        zero += taps[j] * 0.0f;
      }
    } else {
      for (int j = 0; j < row.kernel_size; ++j) {
        zero += to_accumulate(reader.weight[j]) * 0.0f;
      }
    }
    finite_taps = zero == 0.0f;
    start = problem.bias == nullptr ? 0.0f
                                    : to_accumulate(static_cast<const T*>(problem.bias)[channel]);
  }
  finish_loads<0>(barrier, 0);

  if (active) {
    const int in_offset = (in_row_of(first_row + my_row) - in_row) * row.in_length * kElement +
                          static_cast<int>(piece.shared - shared);
    unsigned char* const out = result.shared + my_row * row.out_length * kElement;
    for (int column = lane * kVec; column < columns; column += kVec << plan.lanes_log2) {
      const int first = (begin + column) * kStride - row.padding;
      const int offset = in_offset + (first - in_begin) * kElement;
      float sums[kVec];
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        sums[i] = start;
      }
      const int end = first + (kVec - 1) * kStride + (row.kernel_size - 1) * row.dilation + 1;
      if (!finite_taps && (first < 0 || end > row.in_length)) {
        const int step = row.flipped ? -1 : 1;
        PaddedTaps<T> padded{reader.weight + max(reader.last, 0), 0, step, 0, 1};
        for (int i = 0; i < min(kVec, columns - column); ++i) {
          padded.limit(first + i * kStride, row.in_length, row.kernel_size, row.dilation,
                       padded.column_begin, padded.column_end);
          const float sum = padded.sum(start, shared + offset + i * kStride * kElement, 0,
                                       row.dilation * kElement);
          reinterpret_cast<T*>(out)[column + i] =
              from_accumulate<T>(apply_activation(problem.activation, sum));
        }
        continue;
      }
      if constexpr (kTaps > 0) {
        add_taps<T, kStride, kTaps>(sums, taps, shared, offset, first, row.in_length);
      } else if (row.dilation == 1) {
        int j = 0;
        for (; j + kChunk <= row.kernel_size; j += kChunk) {
          float chunk[kChunk];
          reader.read(chunk, j);
          add_taps<T, kStride, kChunk>(sums, chunk, shared, offset + j * kElement, first + j,
                                       row.in_length);
        }
        add_last_taps<T, kStride, kChunk>(sums, reader, j, row.kernel_size, shared, offset, first,
                                          row.in_length);
      } else {
        for (int j = 0; j < row.kernel_size; ++j) {
          float tap[1];
          reader.read(tap, j);
          add_taps<T, kStride, 1>(sums, tap, shared, offset + j * row.dilation * kElement,
                                  first + j * row.dilation, row.in_length);
        }
      }
      with_activation(problem.activation, [&](auto kind) {
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          sums[i] = decltype(kind)::forward(sums[i]);
        }
      });
      store_results<T>(out + column * kElement, sums, columns - column);
    }
  }
  grid_dependency_launch();  // not before: the next kernel's blocks would be unevenly spread
  store_only_pieces<T>(result);
}

}  // namespace kernelopt
