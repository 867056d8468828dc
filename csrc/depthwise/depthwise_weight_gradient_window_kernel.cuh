// The weight gradient of contiguous tensors at stride and dilation 1:
//   partial[share, f, i, j] = sum over the share's n, y, x of
//       grad_z[n, f, y, x] * input[n, f / multiplier, y - pad_h + i, x - pad_w + j]
// A block walks as depthwise_weight_gradient_sliding_kernel does. A thread owns kVec columns of
// some gradient rows and keeps its windows of the input rows that one meets, in registers that take
// turns. Nothing is tested where it multiplies: what lies outside the image or the block is zero. A
// zero that has met Inf or NaN makes a sum that is not finite, and those are computed again.
//
// With the input and the gradient changed round, rows of the gradient are the windows and rows of
// the input the thread's own: the same sums, of flipped taps. A window times the flipped taps is
// then the input gradient of the thread's columns, so that one kernel computes both (kBoth).
#pragma once

#include "depthwise/depthwise_aligned_slide.cuh"
#include "depthwise/depthwise_sliding_block.cuh"
#include "depthwise/depthwise_weight_gradient_share.cuh"
#include "depthwise/depthwise_window_policy.h"

#include <utility>

namespace kernelopt {

/// Zeros in shared memory for rows outside the image: what windows read, from some bytes before
/// their first element on.
constexpr int kWindowZeros = 128, kWindowZerosLead = 48;

/// A thread's windows of input rows.
/// @tparam kLead  columns of padding where windows lie at aligned addresses, else -1
template <typename T, int kWidth, int kVec, int kLead>
struct GradientWindow {
  static constexpr int kReach = kVec + kWidth - 1;
  static constexpr int kPerWord = 4 / static_cast<int>(sizeof(T));
  // The thread's own columns, of the image, and the words beside them, those behind in units of as
  // many as the own.
  static constexpr int kOwn = kVec / kPerWord;
  static constexpr int kLeft = kLead == 0 ? 0 : (kLead * static_cast<int>(sizeof(T)) + 3) / 4;
  static constexpr int kRight = ((kWidth - 1 - kLead) * static_cast<int>(sizeof(T)) + 3) / 4;
  static constexpr int kUnits = (kRight + kOwn - 1) / kOwn;
  static constexpr int kBefore = kLeft == 3 ? 4 : kLeft;
  static constexpr int kWords = kBefore + kOwn * (1 + kUnits);
  static_assert(kBefore <= kOwn);

  bool first;                // columns before the own are outside the image
  bool outside[kUnits + 1];  // those of a unit behind are

  /// @param column  of the image, where the window begins
  __device__ __forceinline__ void set(int column, int width) {
    first = column < 0;
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      outside[unit] = column + kLead + (unit + 1) * kVec >= width;
    }
  }
  /// @param row  where the window begins
  __device__ __forceinline__ void load(const unsigned char* row, float (&values)[kReach]) const {
    const unsigned char* const own = row + kLead * static_cast<int>(sizeof(T));
    uint32_t raw[kWords];
    load_words<kBefore>(raw, own - 4 * kBefore);
#pragma unroll
    for (int unit = 0; unit <= kUnits; ++unit) {
      constexpr int kRest = kRight - (kUnits - 1) * kOwn;
      constexpr int kLast = kUnits == 0 || kRest > 2 ? kOwn : kRest;
      uint32_t* const words = raw + kBefore + unit * kOwn;
      if (unit < kUnits) {
        load_words<kOwn>(words, own + unit * kOwn * 4);
      } else {
        load_words<kLast>(words, own + unit * kOwn * 4);
      }
    }
#pragma unroll
    for (int i = 0; i < kReach; ++i) {
      const int element = i - kLead, behind = element - kVec;
      const int place = kBefore * kPerWord + element;
      float value;
      if constexpr (kPerWord == 1) {
        value = __uint_as_float(raw[place]);
      } else {
        const float2 pair = unpack_pair<T>(raw[place / 2]);
        value = place % 2 == 0 ? pair.x : pair.y;
      }
      const bool none = element < 0 ? first : behind >= 0 ? outside[behind / kVec] : false;
      values[i] = none ? 0.0f : value;
    }
  }
};
template <typename T, int kWidth, int kVec>
struct GradientWindow<T, kWidth, kVec, -1> {
  static constexpr int kReach = kVec + kWidth - 1;
  RowWindow<T, kReach> window;

  __device__ __forceinline__ void set(int first, int width) { window.set_mask(first, width); }
  __device__ __forceinline__ void load(const unsigned char* row, float (&values)[kReach]) {
    const int phase = address_modulo_16(row);
    window.load(row - phase, phase);
#pragma unroll
    for (int i = 0; i < kReach; ++i) {
      values[i] = window.values[i];
    }
  }
};

/// Stores 8 or 16 bytes of results at an address that is a multiple of as many.
template <typename T, int kCount>
__device__ __forceinline__ void store_result_row(T* to, const float (&results)[kCount]) {
  constexpr int kPerWord = 4 / static_cast<int>(sizeof(T)), kWords = kCount / kPerWord;
  static_assert(kWords == 2 || kWords == 4);
  uint32_t words[kWords];
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    if constexpr (kPerWord == 1) {
      words[i] = __float_as_uint(results[i]);
    } else {
      words[i] = pack_pair<T>(results[2 * i], results[2 * i + 1]);
    }
  }
  if constexpr (kWords == 4) {
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  } else {
    *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
  }
}

/// Calls `function` with the constants from 0 to kCount - 1.
template <int... kIndex, typename Function>
__device__ __forceinline__ bool with_indices(std::integer_sequence<int, kIndex...>,
                                             Function&& function) {
  return function(std::integral_constant<int, kIndex>{}...);
}

/// The input gradient of a block's share for filters whose taps are not all finite, straight from
/// memory, by all threads.
/// @param params, plan, share  of the correlation of `source` that it is
template <int kHeight, int kWidth, typename T>
__device__ __forceinline__ void exact_correlation(const DepthwiseWeightGradientParams& params,
                                                  const SlidingPlan& plan,
                                                  const GradientShare& share, const T* source,
                                                  const T* weight, T* result) {
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
#pragma unroll 1
  for (int plane = 0; plane < share.planes; ++plane) {
    const T* const taps = weight + (share.filter + plane) * kHeight * kWidth;
    bool finite = true;
#pragma unroll 1
    for (int tap = 0; tap < kHeight * kWidth; ++tap) {
      finite = finite && to_accumulate(taps[tap]) * 0.0f == 0.0f;
    }
    if (finite) {
      continue;
    }
    WeightGradientCursor at(plan, share.begin);
#pragma unroll 1
    for (int index = 0; index < share.count; ++index) {
      const int64_t image_plane = int64_t{at.n} * params.filters + share.filter + plane;
      const SlidingBlock block(params.h, params.w, plan, 1, 0, 1, at.strip, at.tile);
      const T* const image = source + image_plane * height * width;
#pragma unroll 1
      for (int place = threadIdx.x; place < block.rows * block.columns; place += blockDim.x) {
        const int row = block.row + place / block.columns;
        const int column = block.column + place % block.columns;
        float sum = 0.0f;
#pragma unroll 1
        for (int tap = 0; tap < kHeight * kWidth; ++tap) {
          const int y = row - static_cast<int>(params.h.padding) + tap / kWidth;
          const int x = column - static_cast<int>(params.w.padding) + tap % kWidth;
          if (y >= 0 && y < height && x >= 0 && x < width) {
            sum += to_accumulate(taps[kHeight * kWidth - 1 - tap]) *
                   to_accumulate(image[int64_t{y} * width + x]);
          }
        }
        result[(image_plane * params.h.result_size + row) * params.w.result_size + column] =
            from_accumulate<T>(sum);
      }
      at.advance(plan);
    }
  }
}

/// @tparam kLead  as GradientWindow's
/// @tparam kBoth  the input gradient as well. Then `own` is the input and `source` the gradient.
template <typename T, int kHeight, int kWidth, int kLead, bool kBoth>
__global__ void __launch_bounds__(WindowGradientPolicy<kHeight, kWidth, kBoth>::kThreads,
                                  WindowGradientPolicy<kHeight, kWidth, kBoth>::kBlocks)
    depthwise_weight_gradient_window_kernel(
        const __grid_constant__ DepthwiseWeightGradientParams params,
        const __grid_constant__ SlidingPlan plan,  // shared_bytes: of a stage
        const T* __restrict__ own,                 // grad_z: [N, filters, h, w]
        const T* __restrict__ source,              // input: [N, filters / multiplier, h, w]
        const T* __restrict__ weight,              // [filters, kHeight, kWidth]
        float* __restrict__ partial,               // [shares, filters, kHeight, kWidth]
        T* __restrict__ result) {                  // the input gradient, of rows of whole vectors
  constexpr int kVec = sliding_vector_bytes(sizeof(T), kHeight * kWidth) / sizeof(T);
  constexpr int kReach = kVec + kWidth - 1;
  constexpr int kElement = static_cast<int>(sizeof(T));
  extern __shared__ __align__(128) unsigned char shared[];

  const int multiplier = static_cast<int>(params.multiplier);
  const GradientShare share(params, plan);
  GradientStages<T> stages(params, plan, share, own, source, shared + kWindowZeros);
  for (int i = threadIdx.x; i < kWindowZeros / 4; i += blockDim.x) {
    reinterpret_cast<uint32_t*>(shared)[i] = 0;
  }

  const SlidingThread thread(plan, kVec);
  GradientWindow<T, kWidth, kVec, kLead> window;
  RowWindow<T, kVec> own_row;
  bool has_columns = false;  // these know the thread's, the same in all items of a tile
  float sums[kHeight][kWidth] = {};
  float taps[kHeight][kWidth];  // of the input gradient
  bool finite = true;
  if constexpr (kBoth) {
    const int filter = share.filter + min(thread.plane, share.planes - 1);
#pragma unroll
    for (int tap = 0; tap < kHeight * kWidth; ++tap) {
      const float value = to_accumulate(weight[(filter + 1) * kHeight * kWidth - 1 - tap]);
      taps[tap / kWidth][tap % kWidth] = value;
      finite = finite && value * 0.0f == 0.0f;
    }
  }
  for (int index = 0; index < share.count; ++index) {
    const SlidingBlock block = stages.next();
    unsigned char* const stage = stages.stage(index);
    const int rows = min(plan.rows_per_thread, block.rows - thread.row);
    const int columns = block.columns - thread.column;
    if (thread.plane < share.planes && rows > 0 && columns > 0) {
      const CopyPieces source_pieces = block.source_pieces(source, params.h, params.w, plan, stage);
      const CopyPieces own_pieces = block.result_pieces(own, params.h, params.w, plan, stage);
      const SlidingStart start(block, thread, params.h, params.w, plan, multiplier, kReach,
                               kElement, source_pieces, stage);
      if (!has_columns || plan.tiles > 1) {
        has_columns = true;
        window.set(start.x, static_cast<int>(params.w.source_size));
        own_row.set_mask(thread.column, block.columns);
      }
      const unsigned char* const zeros =
          shared + kWindowZerosLead - (kLead < 0 ? 0 : kLead * kElement);
      const unsigned char* from = stage + start.offset;
      int y = start.y;
      T* to = result;
      if constexpr (kBoth) {
        const int64_t row =
            int64_t{block.plane + thread.plane} * params.h.result_size + block.row + thread.row;
        to += row * params.w.result_size + block.column + thread.column;
      }
      int own_offset = static_cast<int>(own_pieces.shared - stage) +
                       (thread.plane * block.rows + thread.row) * plan.result_pitch +
                       thread.column * kElement;
      float values[kHeight][kReach];
      const auto load_row = [&](float (&row)[kReach]) {
        const bool inside = y >= block.source_row_begin && y < block.source_row_end;
        window.load(inside ? from : zeros, row);
        from += plan.source_pitch;
        ++y;
      };
      /// Adds a gradient row; the input row of tap row 0 is values[kFirst].
      const auto add_row = [&](auto first) {
        constexpr int kFirst = decltype(first)::value;
        load_row(values[(kFirst + kHeight - 1) % kHeight]);
        own_row.load(stage, own_offset);
        own_offset += plan.result_pitch;
        float results[kVec];
#pragma unroll
        for (int column = 0; column < kVec; ++column) {
          results[column] = 0.0f;
#pragma unroll
          for (int i = 0; i < kHeight; ++i) {
#pragma unroll
            for (int j = 0; j < kWidth; ++j) {
              const float value = values[(kFirst + i) % kHeight][column + j];
              sums[i][j] += own_row.values[column] * value;
              if constexpr (kBoth) {
                results[column] += taps[i][j] * value;
              }
            }
          }
        }
        if constexpr (kBoth) {
          store_result_row<T>(to, results);
          to += params.w.result_size;
        }
      };
#pragma unroll
      for (int i = 0; i < kHeight - 1; ++i) {
        load_row(values[i]);
      }
      int left = rows;
      const auto add_rows = [&](auto... first) {
        // Row after row, until none is left.
        return ((add_row(first), --left > 0) && ...);
      };
      while (with_indices(std::make_integer_sequence<int, kHeight>{}, add_rows)) {
      }
    }
    __syncthreads();  // before the stage is loaded again
  }

  stages.end();
  store_tap_sums<true, kBoth, kHeight, kWidth>(params, plan, share, own, source, sums, shared,
                                               partial);
  if constexpr (kBoth) {
    // Zeros may have met taps that are Inf or NaN.
    if (!__syncthreads_and(finite)) {
      exact_correlation<kHeight, kWidth>(params, plan, share, source, weight, result);
    }
  }
}

}  // namespace kernelopt
