// The banded kernel's slides where rows of source and result are whole pairs and every window meets
// the image: all slides of a block are as high, results leave as pairs, and rows are tested for the
// image's bounds in a slide's first and last steps alone.
#pragma once

#include "common/matrix_load.cuh"
#include "common/pairs16.cuh"
#include "depthwise/depthwise_banded_operand.cuh"
#include "depthwise/depthwise_sliding_block.cuh"

namespace kernelopt {

/// Where the results of a slide of a block begin.
struct BandTile {
  int row, column;
};
__device__ __forceinline__ BandTile band_tile(const BandedPlan& banded, int slide) {
  const SlidingPlan& plan = banded.block;
  const int group = plan.threads_per_row == 1
                        ? slide
                        : static_cast<int>(__umulhi(slide, banded.row_tiles_inverse));
  return {group * plan.rows_per_thread, (slide - group * plan.threads_per_row) * kBandColumns};
}
/// The same where all slides are as high and none has its tile outside the block: those beyond its
/// last row or column share tiles with others.
/// @param rows  of a slide
__device__ __forceinline__ BandTile shared_band_tile(const BandedPlan& banded,
                                                     const SlidingBlock& block, int rows,
                                                     int slide) {
  const BandTile tile = band_tile(banded, slide);
  return {min(tile.row, block.rows - rows),
          min(tile.column, (block.columns - 1) / kBandColumns * kBandColumns)};
}

/// How a block's warps slide.
enum class BandSlide {
  kAny,     // rows at any address
  kPairs,   // source rows of whole pairs
  kEven,    // the same of EvenBandSlide's
  kMatrix,  // of those, windows at multiples of 16 bytes and no columns of padding
};

/// The 16 windows of a warp as an operand: a lane gives the address of 16 bytes, a row of one of
/// its four blocks.
template <typename T>
__device__ __forceinline__ void load_matrix(BandPair<T> (&window)[4], uint32_t address) {
  static_assert(MmaTraits<T>::kParts == 1);
  uint32_t words[4];
  load_blocks(words, address);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    window[i].parts[0] = words[i];
  }
}

/// One warp's kBandSlides slides, each over `rows` result rows.
template <typename T, int kHeight, bool kMatrix>
struct EvenBandSlide {
  static constexpr int kAddresses = kMatrix ? 1 : 2;

  // Of the block.
  int rows;  // of every slide
  int source_rows, source_pitch, result_pitch;
  int top, bottom;        // from which step to which all slides are inside the image
  uint32_t source_begin;  // of the first slide's first window
  uint32_t result_begin;  // of the block's first result
  uint32_t zeros;
  int source_row_begin;  // of the first slide
  int source_column_begin, source_column_end, shifted_x;

  // Of a set of slides.
  int row[2], column[2];  // of the lane's results
  bool stores[2];
  uint32_t to[2];
  uint32_t from[kAddresses];  // of the windows' next row
  int source_row[kAddresses];
  uint32_t mask[2][2];

  float not_finite;  // NaN once a result was not finite
  uint32_t pairs_not_finite;

  /// @param source  where a window at row 0 of the block's source and column x begins
  /// @param shift   by how much windows begin earlier
  /// @param result  the warp's plane of results
  /// @param zero    where zeros begin
  __device__ __forceinline__ void begin_block(const DepthwiseParams& params,
                                              const BandedPlan& banded, const SlidingBlock& block,
                                              uint32_t source, int x, int shift, uint32_t result,
                                              uint32_t zero) {
    const SlidingPlan& plan = banded.block;
    rows = min(plan.rows_per_thread, block.rows);
    source_rows = block.source_row_end - block.source_row_begin;
    source_pitch = plan.source_pitch;
    result_pitch = plan.result_pitch;
    source_row_begin = block.row - static_cast<int>(params.h.padding) - block.source_row_begin;
    top = -source_row_begin;
    bottom = source_rows - source_row_begin - (block.rows - rows);
    shifted_x = x - shift;
    source_column_begin = block.source_column_begin;
    source_column_end = block.source_column_end;
    source_begin = source + static_cast<uint32_t>(source_row_begin) * source_pitch -
                   shift * static_cast<int>(sizeof(T));
    result_begin = result;
    zeros = zero + (kMatrix ? 0 : lane_pair() * static_cast<int>(sizeof(T)));
  }

  static __device__ __forceinline__ int lane_pair() {
    return 2 * (static_cast<int>(threadIdx.x) % 4);
  }

  /// Slides beyond the block's are some of its own once more, and write the same.
  __device__ __forceinline__ void place(int set, const BandedPlan& banded,
                                        const SlidingBlock& block) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const BandTile tile =
          shared_band_tile(banded, block, rows, set * kBandSlides + 8 * s + lane / 4);
      row[s] = tile.row;
      column[s] = tile.column + lane_pair();
      stores[s] = column[s] < block.columns;
      to[s] = result_begin + row[s] * result_pitch + column[s] * static_cast<int>(sizeof(T));
      if constexpr (!kMatrix) {
        source_row[s] = source_row_begin + row[s];
        from[s] = source_begin + row[s] * source_pitch + column[s] * static_cast<int>(sizeof(T));
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          mask[s][k] =
              pair_mask(shifted_x + column[s] + 8 * k, source_column_begin, source_column_end);
        }
      }
    }
    if constexpr (kMatrix) {
      const BandTile tile = shared_band_tile(banded, block, rows, set * kBandSlides + lane % 16);
      source_row[0] = source_row_begin + tile.row;
      from[0] = source_begin + tile.row * source_pitch +
                (tile.column + lane / 16 * 8) * static_cast<int>(sizeof(T));
    }
    // While the source is on its way.
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      asm volatile("" : "+r"(to[s]));
      if constexpr (!kMatrix) {
        asm volatile("" : "+r"(mask[s][0]), "+r"(mask[s][1]));
      }
    }
#pragma unroll
    for (int s = 0; s < kAddresses; ++s) {
      asm volatile("" : "+r"(from[s]), "+r"(source_row[s]));
    }
  }

  /// @tparam kTests  whether the row may lie outside the image
  template <bool kTests>
  __device__ __forceinline__ void load(BandPair<T> (&window)[4], int step) {
    uint32_t at[kAddresses];
#pragma unroll
    for (int s = 0; s < kAddresses; ++s) {
      at[s] = from[s];
      from[s] += source_pitch;
      if constexpr (kTests) {
        const bool inside =
            static_cast<unsigned>(source_row[s] + step) < static_cast<unsigned>(source_rows);
        at[s] = inside ? at[s] : zeros;
      }
    }
    if constexpr (kMatrix) {
      load_matrix<T>(window, at[0]);
    } else {
#pragma unroll
      for (int s = 0; s < 2; ++s) {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          window[s + 2 * k] = load_source_pair<T, true>(at[s] + 8 * sizeof(T) * k);
        }
      }
    }
  }

  __device__ __forceinline__ void limit(BandPair<T> (&window)[4]) const {
    if constexpr (!kMatrix) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int part = 0; part < MmaTraits<T>::kParts; ++part) {
          window[i].parts[part] &= mask[i % 2][i / 2];
        }
      }
    }
  }

  template <bool kActivates>
  __device__ __forceinline__ void finish(const float (&sums)[4], Activation activation) {
    float values[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      values[c] = sums[c];
    }
    constexpr bool kTestsPairs = sizeof(T) == 2 && !kActivates;
    if constexpr (!kTestsPairs) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        not_finite = fmaf(values[c], 0.0f, not_finite);
      }
    }
    if constexpr (kActivates) {
      activate_results<T>(values, activation);
    }
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      if constexpr (sizeof(T) == 2) {
        const uint32_t pair = pack_pair<T>(values[2 * s], values[2 * s + 1]);
        if constexpr (kTestsPairs) {
          probe_pair<T>(pairs_not_finite, pair);
        }
        if (stores[s]) {
          asm volatile("st.shared.u32 [%0], %1;" ::"r"(to[s]), "r"(pair) : "memory");
        }
      } else {
        if (stores[s]) {
          store_shared_pair<T>(to[s], values[2 * s], values[2 * s + 1]);
        }
      }
      to[s] += result_pitch;
    }
  }

  /// False where a result was not finite.
  template <bool kActivates>
  __device__ __forceinline__ bool run(const Band<T, kHeight>& band, float first,
                                      Activation activation) {
    not_finite = 0.0f;
    pairs_not_finite = 0;
    float sums[kHeight][4];
    float start[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      start[c] = first;
      asm volatile("" : "+f"(start[c]));  // registers of their own, not copies for every product
    }
    BandPair<T> window[4];
    load<true>(window, 0);
    begin<1>(sums, window, band, start);
    const auto steps = [&](auto tests, int& step, int end) {
#pragma unroll(decltype(tests)::value ? 1 : 2)
      for (; step < end; ++step) {
        BandPair<T> next[4];
        load<decltype(tests)::value>(next, step + 1);
        limit(window);
        multiply_band_rows<T>(sums, window, band, start);
        finish<kActivates>(sums[kHeight - 1], activation);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          window[i] = next[i];
        }
      }
    };
    int step = kHeight - 1;
    const int end = step + rows;
    steps(std::true_type{}, step, min(end, top - 1));
    steps(std::false_type{}, step, min(end, bottom - 1));
    steps(std::true_type{}, step, end);
    return not_finite == 0.0f && (pairs_not_finite & 0x7fff7fffu) == 0;
  }

 private:
  /// Steps that end no result.
  template <int kStep>
  __device__ __forceinline__ void begin(float (&sums)[kHeight][4], BandPair<T> (&window)[4],
                                        const Band<T, kHeight>& band, const float (&start)[4]) {
    if constexpr (kStep < kHeight) {
      BandPair<T> next[4];
      load<true>(next, kStep);
      limit(window);
      multiply_band_rows<T, kHeight, kStep>(sums, window, band, start);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        window[i] = next[i];
      }
      begin<kStep + 1>(sums, window, band, start);
    }
  }
};

}  // namespace kernelopt
