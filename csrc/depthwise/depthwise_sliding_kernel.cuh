// A depthwise correlation of contiguous tensors with a kernel size, a stride and dilation 1 known
// at compile time:
//   result[n, r, y, x] = act(bias[r] + sum over i, j of weight[r, i, j] *
//                            source[n, r / multiplier, y * S - pad_h + i, x * S - pad_w + j])
// A block owns whole planes or a strip of one (see SlidingPlan): its source is one contiguous piece
// of memory, or one a row where rows are cut, and so is its result; both are staged in shared
// memory. A thread owns kVec columns of some rows and slides down: the source row it loads is added
// to every result row it is part of. Any size, padding and alignment; coordinates below 2^30.
#pragma once

#include "common/padded_sum.cuh"
#include "common/row_window.cuh"
#include "depthwise/depthwise_aligned_slide.cuh"
#include "depthwise/depthwise_sliding_block.cuh"

namespace kernelopt {

/// @tparam kLead  the plan's aligned_lead where AlignedSlide is to do the sliding, else -1
template <typename T, int kHeight, int kWidth, int kStride, int kLead = -1>
__global__ void __launch_bounds__(DepthwiseSlidingPolicy::kThreads)
    depthwise_sliding_kernel(const __grid_constant__ DepthwiseParams params,
                             const __grid_constant__ SlidingPlan plan,
                             const T* __restrict__ source,  // [N, source_channels, h, w]
                             const T* __restrict__ weight,  // [result_channels, kHeight, kWidth]
                             const T* __restrict__ bias,    // [result_channels] or null
                             T* __restrict__ result,        // [N, result_channels, h, w]
                             Activation activation) {
  constexpr int kVec = sliding_vector_bytes(sizeof(T), kHeight * kWidth) / sizeof(T);
  constexpr int kTaps = kHeight * kWidth;
  constexpr int kElement = sizeof(T);
  using Sums = SlidingSums<kHeight, kWidth, kStride, kVec>;
  extern __shared__ __align__(128) unsigned char shared[];
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(shared);

  const int multiplier = static_cast<int>(params.multiplier);
  const SlidingBlock block = SlidingBlock::of_correlation(params, plan);
  const CopyPieces source_pieces = block.start_source_load(source, params, plan, shared, barrier);

  const SlidingThread thread(plan, kVec);
  int rows = min(plan.rows_per_thread, block.rows - thread.row);
  const bool active = thread.plane < block.planes && rows > 0 && thread.column < block.columns;

  Sums sums;
  const T* taps = weight;
  if (active) {
    const int channel = static_cast<int>(static_cast<unsigned>(block.plane + thread.plane) %
                                         static_cast<unsigned>(params.result_channels));
    sums.start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
    taps += int64_t{channel} * kTaps;
    if (params.flipped) {
      if constexpr (kLead >= 0) {
        asm volatile("");  // a branch, not loads of either order under a predicate
      }
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
        sums.taps[tap / kWidth][tap % kWidth] = to_accumulate(taps[kTaps - 1 - tap]);
      }
    } else {
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
        sums.taps[tap / kWidth][tap % kWidth] = to_accumulate(taps[tap]);
      }
    }
  }

  const CopyPieces result_pieces = block.result_pieces(result, params.h, params.w, plan, shared);
  // What a thread can know of its windows while the source is on its way.
  constexpr int kReach = (kVec - 1) * kStride + kWidth;
  const SlidingStart start(block, thread, params.h, params.w, plan, multiplier, kReach, kElement,
                           source_pieces, shared);
  RowWindow<T, kReach> window;
  if constexpr (kLead < 0) {
    window.set_mask(start.x, static_cast<int>(params.w.source_size));
  }
  unsigned char* to = result_pieces.shared +
                      (thread.plane * block.rows + thread.row) * plan.result_pitch +
                      thread.column * kElement;
  const bool inside =
      kLead == 0 || (start.x >= 0 && start.x + kReach <= static_cast<int>(params.w.source_size));
  finish_loads<0>(barrier, 0);
  if (active) {
    int y = start.y, offset = start.offset;
    const int count = block.columns - thread.column;
    const bool activates = activation != Activation::kNone;
    if (!inside && !sums.finite_taps()) {
      const int step = params.flipped ? -1 : 1;
      PaddedTaps<T> padded{taps + (params.flipped ? kTaps - 1 : 0), step * kWidth, step};
      for (int i = 0; i < rows * min(count, kVec); ++i) {
        const int row = i % rows, column = i / rows;
        padded.limit(y + row * kStride, static_cast<int>(params.h.source_size), kHeight, 1,
                     padded.row_begin, padded.row_end);
        padded.limit(start.x + column * kStride, static_cast<int>(params.w.source_size), kWidth, 1,
                     padded.column_begin, padded.column_end);
        const float sum = padded.sum(
            sums.start, shared + offset + (row * plan.source_pitch + column * kElement) * kStride,
            plan.source_pitch, kElement);
        reinterpret_cast<T*>(to + row * plan.result_pitch)[column] =
            from_accumulate<T>(apply_activation(activation, sum));
      }
      rows = 0;
    }
    uint32_t to_shared = shared_address(to);  // of `to` alone there would be three cursors
    const auto finish_row = [&] {
      float values[kVec];
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        values[i] = sums.ended()[i];
      }
      if (activates) {
        asm volatile("");  // keeps the test a branch of its own
        with_activation(activation, [&](auto kind) {
#pragma unroll
          for (int i = 0; i < kVec; ++i) {
            values[i] = decltype(kind)::forward(values[i]);
          }
        });
      }
      if constexpr (kLead == 0 && kElement == 4) {
        store_quad(to_shared, values, count);
      } else if constexpr (kLead >= 0) {
        store_aligned_results<T>(to, values, count);
      } else {
        store_results<T>(to, values, count);
      }
      to += plan.result_pitch;
      to_shared += plan.result_pitch;
    };
    if constexpr (kLead >= 0) {
      AlignedSlide<T, kHeight, kWidth, kVec, kLead> slide;
      slide.row = shared + offset + kLead * kElement;
      slide.pitch = plan.source_pitch;
      slide.first = start.x < 0;
      slide.last = start.x + kReach > static_cast<int>(params.w.source_size);
      slide.run(sums, y, block.source_row_begin, block.source_row_end, rows, finish_row);
    } else {
      sums.reset();
      for (int step = 0; step < rows + Sums::kRows - 1; ++step) {
        const auto slide = [&](auto phase) {
          constexpr int kPhase = decltype(phase)::value;
          if (y >= block.source_row_begin && y < block.source_row_end) {
            window.load(shared, offset);
            sums.template add<kPhase>(window.values, step, rows);
          } else {
            asm volatile("");  // keeps the compiler from preparing these moves for every row
            sums.template skip<kPhase>();
          }
          ++y;
          offset += plan.source_pitch;
        };
        slide(std::integral_constant<int, 0>{});
        if constexpr (kStride == 2) {
          slide(std::integral_constant<int, 1>{});
        }
        if (step >= Sums::kRows - 1) {
          finish_row();
        }
      }
    }
  }
  // Not before: blocks of the next kernel that wait beside these would be unevenly spread over the
  // multiprocessors, 12.9 instead of 11.2 us for 32x512x14x14, 3x3, in bfloat16.
  grid_dependency_launch();
  store_only_pieces<T>(result_pieces);
}

}  // namespace kernelopt
