// How an element-wise op walks its operands: broadcast shapes merged into as few dimensions as
// possible. Plain structs that are passed to kernels by value. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cstdint>

namespace kernelopt {

constexpr int kMaxDims = 64;  // torch's own limit

/// An index space of at most `kDims` dimensions, innermost first, and each operand's stride in
/// elements along each. Operand 0 is the output; a broadcast dimension has stride 0.
template <int kOperands, int kDims = kMaxDims>
struct Iteration {
  int64_t numel;
  int dims;
  int64_t sizes[kDims];
  int64_t strides[kOperands][kDims];

  /// An operand is one dense run of memory in the output's order.
  bool dense(int operand) const {
    int64_t stride = 1;
    for (int dim = 0; dim < dims; ++dim) {
      if (strides[operand][dim] != stride) {
        return false;
      }
      stride *= sizes[dim];
    }
    return true;
  }

  /// Every operand is.
  bool contiguous() const {
    for (int operand = 0; operand < kOperands; ++operand) {
      if (!dense(operand)) {
        return false;
      }
    }
    return true;
  }

  /// Offsets, in elements, of every operand at a linear index.
  template <typename Index>
  KERNELOPT_HOST_DEVICE void offsets(Index linear, int64_t (&result)[kOperands]) const {
    for (int operand = 0; operand < kOperands; ++operand) {
      result[operand] = 0;
    }
    for (int dim = 0; dim < dims; ++dim) {
      const Index size = static_cast<Index>(sizes[dim]);
      const Index quotient = linear / size;
      const int64_t index = static_cast<int64_t>(linear - quotient * size);
      for (int operand = 0; operand < kOperands; ++operand) {
        result[operand] += index * strides[operand][dim];
      }
      linear = quotient;
    }
  }
};

/// A sum over some dimensions of a tensor, as two index spaces over its strides: the kept
/// dimensions (their linear index is that of the contiguous result) and the reduced ones, both
/// innermost first.
struct Reduction {
  Iteration<1> kept;
  Iteration<1> reduced;
};

}  // namespace kernelopt
