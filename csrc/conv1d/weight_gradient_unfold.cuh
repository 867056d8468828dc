// Weight gradients of few shifted channels as gradients of a single tap.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/weight_gradient_unfold_kernel.cuh"

namespace kernelopt {

/// Makes of every tap of a shifted channel a channel of its own; `problem` is the one that is left,
/// whose gradient has the same order.
template <typename T>
class UnfoldedTaps {
 public:
  UnfoldedTaps(const char* op, const Conv1dWeightGradientProblem& original, const Tensor& like)
      : problem(original) {
    const int64_t length = original.steady_length;
    const int64_t channels = original.shifted_channels * original.kernel_size;
    const int64_t rows =
        checked_mul(op, "the number of rows", original.batch,
                    checked_mul(op, "the number of rows", original.groups, channels));
    // Dense rows where these begin on words; else rows on 16-byte boundaries.
    constexpr int64_t kElements = 16 / sizeof(T);
    const bool words = length * static_cast<int64_t>(sizeof(T)) % 4 == 0;
    const int64_t pitch = words ? length : (length - 1) / kElements * kElements + kElements;
    const int64_t chunks = (length - 1) / (kUnfoldThreads * kUnfoldItems) + 1;
    unfolded_ = empty_contiguous(op, std::vector<int64_t>{rows, pitch}, like.scalar_type(), like);
    const unsigned blocks = grid_size(op, checked_mul(op, "the number of blocks", rows, chunks));
    unfold_taps_kernel<T><<<blocks, kUnfoldThreads, 0, current_stream(like)>>>(
        original, mutable_data<T>(unfolded_), pitch, static_cast<uint32_t>(chunks));
    KERNELOPT_CHECK_LAUNCH(op);
    problem.shifted = unfolded_.const_data_ptr();
    problem.shifted_channels = channels;
    problem.shifted_strides = {original.groups * channels * pitch, pitch, 1};
    problem.shifted_length = length;
    problem.kernel_size = problem.stride = problem.dilation = 1;
    problem.padding = 0;
    problem.operands_ready = false;
    problem.original = &original;
  }

  Conv1dWeightGradientProblem problem;

 private:
  Tensor unfolded_;
};

}  // namespace kernelopt
