// An Iteration of few dimensions and 32-bit offsets whose divisions are prepared on the host.
// Includes no torch header.
#pragma once

#include "elementwise/iteration.h"

namespace kernelopt {

constexpr int kFastDims = 4;  // nearly every plan has no more; a small struct makes a cheap launch
constexpr int kFewDims = 2;   // of a row or column added, and of most broadcasts
constexpr int64_t kFastLimit = int64_t{1} << 31;  // of indices and offsets

/// Quotients of numbers below 2^31 by a number known on the host, by a multiplication (Granlund and
/// Montgomery, 1994): n / d = (n + floor(n * multiplier / 2^32)) >> shift.
struct FastDivisor {
  uint32_t divisor;
  uint32_t multiplier;
  uint32_t shift;

  static FastDivisor of(uint32_t divisor) {
    uint32_t shift = 0;
    while ((uint64_t{1} << shift) < divisor) {
      ++shift;
    }
    const uint64_t excess = (uint64_t{1} << shift) - divisor;
    return {divisor, static_cast<uint32_t>((excess << 32) / divisor + 1), shift};
  }

  KERNELOPT_HOST_DEVICE uint32_t quotient(uint32_t n) const {
#if defined(__CUDA_ARCH__)
    const uint32_t high = __umulhi(n, multiplier);
#else
    const uint32_t high = static_cast<uint32_t>(uint64_t{n} * multiplier >> 32);
#endif
    return (n + high) >> shift;
  }
};

/// As Iteration. One of kFewDims has as many, whose last ones may be of size 1: no branches.
template <int kOperands, int kDims>
struct FastIteration {
  uint32_t numel;
  int dims;
  FastDivisor sizes[kDims];
  uint32_t strides[kOperands][kDims];

  /// Offsets, in elements, of every operand at a linear index.
  /// @return the index along the innermost dimension
  KERNELOPT_HOST_DEVICE uint32_t offsets(uint32_t linear, uint32_t (&result)[kOperands]) const {
    for (int operand = 0; operand < kOperands; ++operand) {
      result[operand] = 0;
    }
    uint32_t innermost = 0;
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
    for (int dim = 0; dim < kDims; ++dim) {
      if (kDims == kFewDims || dim < dims) {
        // What is left is the outermost index: no division.
        const uint32_t quotient =
            dim + 1 < (kDims == kFewDims ? kDims : dims) ? sizes[dim].quotient(linear) : 0;
        const uint32_t index = linear - quotient * sizes[dim].divisor;
        innermost = dim == 0 ? index : innermost;
        for (int operand = 0; operand < kOperands; ++operand) {
          result[operand] += index * strides[operand][dim];
        }
        linear = quotient;
      }
    }
    return innermost;
  }
};

}  // namespace kernelopt
