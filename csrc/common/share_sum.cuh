// The second stage of a two-stage reduction.
#pragma once

#include "common/device.h"
#include "common/share_sum_kernel.cuh"
#include "common/tensor.h"

#include <limits>
#include <type_traits>

namespace kernelopt {

/// Where the first stage of a reduction to `count` values of type T puts its shares' sums: an
/// uninitialized [shares, count] tensor in the accumulate type of T.
template <typename T>
Tensor empty_shares(const char* op, int64_t shares, int64_t count, const Tensor& like) {
  constexpr bool kDouble = std::is_same_v<AccumulateType<T>, double>;
  return empty_contiguous(op, std::vector<int64_t>{shares, count},
                          kDouble ? ScalarType::Double : ScalarType::Float, like);
}

/// result = the sum of the shares; `result` contiguous with `count` elements, at least 1.
template <typename T>
void launch_share_sum(const char* op, const Tensor& partial, const Tensor& result,
                      cudaStream_t stream) {
  const int64_t shares = partial.size(0), count = partial.size(1);
  const int64_t blocks = divide_up(count, kShareSumColumns);
  KERNELOPT_CHECK(blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 blocks of sums, got ", blocks);
  constexpr int kThreads = kShareSumParts * kShareSumColumns;
  KERNELOPT_CUDA_CHECK(op, launch_dependent(share_sum_kernel<T, AccumulateType<T>>,
                                            dim3(static_cast<unsigned>(blocks)), kThreads, 0,
                                            stream, const_data<AccumulateType<T>>(partial),
                                            mutable_data<T>(result), shares, count));
}

}  // namespace kernelopt
