// Operands of the tensor-core weight gradients whose 16-bit rows start between two words: copies of
// them that asynchronous copies can read.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_weight_gradient_mma_plan.h"
#include "conv1d/weight_gradient_align_kernel.cuh"

#include <optional>

namespace kernelopt {

/// Whether every run of both operands starts on a word.
template <typename T>
bool starts_on_words(const Conv1dWeightGradientProblem& problem, GradientLayout layout) {
  return runs_start_on(4, problem.steady, problem.steady_strides, problem.steady_channels, layout,
                       sizeof(T)) &&
         runs_start_on(4, problem.shifted, problem.shifted_strides, problem.shifted_channels,
                       layout, sizeof(T));
}

/// Contiguous copies, with rows on 16-byte boundaries, of those operands whose rows do not start on
/// words; the problem's operands become the copies.
template <typename T>
class AlignedOperands {
 public:
  AlignedOperands(const char* op, Conv1dWeightGradientProblem& problem, GradientLayout layout,
                  const Tensor& like) {
    const auto align = [&](const void*& data, Strides1d& strides, int64_t channels,
                           int64_t length) -> std::optional<Tensor> {
      if (runs_start_on(4, data, strides, channels, layout, sizeof(T))) {
        return std::nullopt;
      }
      return copy(op, data, strides, problem.batch, problem.groups * channels, length, like);
    };
    steady_ = align(problem.steady, problem.steady_strides, problem.steady_channels,
                    problem.steady_length);
    shifted_ = align(problem.shifted, problem.shifted_strides, problem.shifted_channels,
                     problem.shifted_length);
  }

  /// Whether an operand was copied, by a kernel now in front in the stream.
  bool any() const { return steady_.has_value() || shifted_.has_value(); }

 private:
  std::optional<Tensor> steady_, shifted_;

  static Tensor copy(const char* op, const void*& data, Strides1d& strides, int64_t batch,
                     int64_t channels, int64_t length, const Tensor& like) {
    constexpr int64_t kElements = 16 / sizeof(T);
    constexpr int64_t kChunk = kAlignThreads * kAlignItems * 2;
    const int64_t rows = checked_mul(op, "the number of rows", batch, channels);
    const int64_t pitch = (length - 1) / kElements * kElements + kElements;
    const int64_t chunks = (length - 1) / kChunk + 1;
    const Tensor result =
        empty_contiguous(op, std::vector<int64_t>{rows, pitch}, like.scalar_type(), like);
    const unsigned blocks = grid_size(op, checked_mul(op, "the number of blocks", rows, chunks));
    align_rows_kernel<T><<<blocks, kAlignThreads, 0, current_stream(like)>>>(
        static_cast<const T*>(data), mutable_data<T>(result), strides, channels, length, pitch,
        static_cast<uint32_t>(chunks));
    KERNELOPT_CHECK_LAUNCH(op);
    data = result.const_data_ptr();
    strides = {channels * pitch, pitch, 1};
    return result;
  }
};

}  // namespace kernelopt
