// The weight gradient of contiguous tensors with a kernel size, a stride and dilation 1 known at
// compile time:
//   partial[share, f, i, j] = sum over the share's n, y, x of
//       grad_z[n, f, y, x] * input[n, f / multiplier, y * S - pad_h + i, x * S - pad_w + j]
// A block owns a share and the filters of one SlidingPlan block, and walks over images, strips and
// tiles: input and gradient of the next are on their way to shared memory meanwhile. A thread owns
// kVec columns of some rows and slides down as in the forward kernel; it keeps the rows of the
// gradient that an input row meets, and the sums of all taps. share_sum_kernel adds the shares.
#pragma once

#include "common/row_window.cuh"
#include "depthwise/depthwise_sliding_block.cuh"
#include "depthwise/depthwise_weight_gradient_share.cuh"

namespace kernelopt {

/// The taps' sums of a thread, and the gradient rows that the current input row meets, latest
/// first.
template <int kHeight, int kWidth, int kStride, int kColumns>
struct SlidingTapSums {
  static constexpr int kRows = (kHeight - 1) / kStride + 1;

  float sums[kHeight][kWidth];
  float grads[kRows][kColumns];

  __device__ __forceinline__ void push(const float* grad) {
#pragma unroll
    for (int row = kRows - 1; row >= 0; --row) {
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        grads[row][column] = row == 0 ? grad[column] : grads[row - 1][column];
      }
    }
  }

  /// Adds input row kPhase of a step.
  /// @param count    of the thread's gradient rows
  /// @param columns  of them, beyond which nothing is multiplied: Inf times 0 would be NaN
  template <int kPhase>
  __device__ __forceinline__ void add(const float* values, int step, int count, int columns) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const int tap_row = row * kStride + kPhase;
      if (tap_row < kHeight && step >= row && step - row < count) {
        if (columns >= kColumns) {
#pragma unroll
          for (int column = 0; column < kColumns; ++column) {
            add_column(row, tap_row, column, values);
          }
        } else {
#pragma unroll
          for (int column = 0; column < kColumns; ++column) {
            if (column < columns) {
              add_column(row, tap_row, column, values);
            }
          }
        }
      }
    }
  }

 private:
  __device__ __forceinline__ void add_column(int row, int tap_row, int column,
                                             const float* values) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      sums[tap_row][j] += grads[row][column] * values[column * kStride + j];
    }
  }
};

template <typename T, int kHeight, int kWidth, int kStride>
__global__ void __launch_bounds__(DepthwiseSlidingPolicy::kThreads)
    depthwise_weight_gradient_sliding_kernel(
        const __grid_constant__ DepthwiseWeightGradientParams params,
        const __grid_constant__ SlidingPlan plan,  // shared_bytes: of a stage
        const T* __restrict__ grad_z,              // [N, filters, h, w]
        const T* __restrict__ input,               // [N, filters / multiplier, h, w]
        float* __restrict__ partial) {             // [shares, filters, kHeight, kWidth]
  constexpr int kVec = sliding_vector_bytes(sizeof(T), kHeight * kWidth) / sizeof(T);
  constexpr int kTaps = kHeight * kWidth;
  constexpr int kReach = (kVec - 1) * kStride + kWidth;
  constexpr int kElement = sizeof(T);
  using Sums = SlidingTapSums<kHeight, kWidth, kStride, kVec>;
  extern __shared__ __align__(128) unsigned char shared[];

  const int multiplier = static_cast<int>(params.multiplier);
  const GradientShare share(params, plan);
  GradientStages<T> stages(params, plan, share, grad_z, input, shared);

  const SlidingThread thread(plan, kVec);
  Sums sums;
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    sums.sums[tap / kWidth][tap % kWidth] = 0.0f;
  }
  for (int index = 0; index < share.count; ++index) {
    const SlidingBlock block = stages.next();
    unsigned char* const stage = stages.stage(index);
    const int rows = min(plan.rows_per_thread, block.rows - thread.row);
    const int columns = block.columns - thread.column;
    if (thread.plane < share.planes && rows > 0 && columns > 0) {
      const CopyPieces input_pieces = block.source_pieces(input, params.h, params.w, plan, stage);
      const CopyPieces grad_pieces = block.result_pieces(grad_z, params.h, params.w, plan, stage);
      const SlidingStart start(block, thread, params.h, params.w, plan, multiplier, kReach,
                               kElement, input_pieces, stage);
      RowWindow<T, kReach> window;
      window.set_mask(start.x, static_cast<int>(params.w.source_size));
      RowWindow<T, kVec> grad;
      int y = start.y, offset = start.offset;
      int grad_offset = static_cast<int>(grad_pieces.shared - stage) +
                        (thread.plane * block.rows + thread.row) * plan.result_pitch +
                        thread.column * kElement;
      for (int step = 0; step < rows + Sums::kRows - 1; ++step) {
        if (step < rows) {
          grad.template load<false>(stage, grad_offset);
          grad_offset += plan.result_pitch;
        }
        sums.push(grad.values);
        const auto slide = [&](auto phase) {
          constexpr int kPhase = decltype(phase)::value;
          if (y >= block.source_row_begin && y < block.source_row_end) {
            window.load(stage, offset);
            sums.template add<kPhase>(window.values, step, rows, columns);
          }
          ++y;
          offset += plan.source_pitch;
        };
        slide(std::integral_constant<int, 0>{});
        if constexpr (kStride == 2) {
          slide(std::integral_constant<int, 1>{});
        }
      }
    }
    __syncthreads();  // before the stage is loaded again
  }

  stages.end();
  store_tap_sums<false, false, kHeight, kWidth>(params, plan, share, grad_z, input, sums.sums,
                                                shared, partial);
}

}  // namespace kernelopt
