// Results at the edges of a source whose taps are not all finite. The fast kernels read zeros
// outside the source; times Inf or NaN that is NaN, where a tap outside the source should take no
// part. Includes no torch header.
#pragma once

#include "common/cuda.cuh"

namespace kernelopt {

/// The taps [row_begin, row_end) x [column_begin, column_end) of a kernel that meet the source; tap
/// (i, j) is taps[i * row_stride + j * column_stride].
template <typename T>
struct PaddedTaps {
  const T* taps;
  int64_t row_stride, column_stride;
  int row_begin, row_end;
  int column_begin, column_end;

  /// Limits the taps along an axis to those inside [0, size) of the source.
  /// @param first  where tap 0 lies
  static __device__ __forceinline__ void limit(int first, int size, int kernel_size, int dilation,
                                               int& begin, int& end) {
    begin = first < 0 ? min((-first + dilation - 1) / dilation, kernel_size) : 0;
    end = first < size ? min((size - first + dilation - 1) / dilation, kernel_size) : 0;
  }

  /// Adds their products with the source in shared memory.
  /// @param window  where tap (0, 0) meets it; pitches in bytes from tap to tap
  __device__ __forceinline__ float sum(float start, const unsigned char* window, int row_pitch,
                                       int column_pitch) const {
    float result = start;
#pragma unroll 1
    for (int i = row_begin; i < row_end; ++i) {
#pragma unroll 1
      for (int j = column_begin; j < column_end; ++j) {
        const T value = *reinterpret_cast<const T*>(window + i * row_pitch + j * column_pitch);
        result += to_accumulate(taps[i * row_stride + j * column_stride]) * to_accumulate(value);
      }
    }
    return result;
  }
};

}  // namespace kernelopt
