// A position in a two-digit reduction index, such as (channel, tap) or (batch entry, length), that
// moves in equal steps: one division at the start, none in the loop. Includes no torch header.
#pragma once

#include <cstdint>

namespace kernelopt {

/// index = high * radix + low, 0 <= low < radix; offset = high * high_stride + low * low_stride.
/// Index holds the digits.
template <typename Index>
struct ReductionCursor {
  Index high;
  Index low;
  int64_t offset;

  __device__ __forceinline__ ReductionCursor(int64_t start, Index step, Index radix,
                                             int64_t high_stride, int64_t low_stride)
      : high(static_cast<Index>(start / radix)),
        low(static_cast<Index>(start % radix)),
        offset(high * high_stride + low * low_stride),
        radix_(radix),
        low_step_(step % radix),
        high_step_(step / radix),
        step_offset_(high_step_ * high_stride + low_step_ * low_stride),
        carry_offset_(high_stride - radix * low_stride) {}

  __device__ __forceinline__ void advance() {
    low += low_step_;
    high += high_step_;
    offset += step_offset_;
    if (low >= radix_) {
      low -= radix_;
      ++high;
      offset += carry_offset_;
    }
  }

 private:
  Index radix_;
  Index low_step_;
  Index high_step_;
  int64_t step_offset_;
  int64_t carry_offset_;
};

}  // namespace kernelopt
