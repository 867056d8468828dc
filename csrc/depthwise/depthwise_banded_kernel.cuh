// A depthwise correlation of contiguous tensors at stride and dilation 1 on tensor cores:
//   result[n, r, y, x] = act(bias[r] + sum over i, j of weight[r, i, j] *
//                            source[n, r / multiplier, y - pad_h + i, x - pad_w + j])
// A row of taps times a row of the source is a product with a banded matrix: 8 neighbouring results
// are 16 source columns times B[k][n] = weight[r, i, k - n]. The 16 rows of a product are 16
// windows of one plane, which slide down it: a source row is loaded once and added to the sums of
// every result row that it is part of. Blocks and their memory are those of the sliding kernel.
// A result that is not finite is computed again, for the band's zeros may have met Inf or NaN.
#pragma once

#include "depthwise/depthwise_banded_even_slide.cuh"

namespace kernelopt {

/// Computes a lane's results of a set of slides again, straight from memory. What it needs to know
/// it finds out anew, for the slides have no registers to spare.
/// @tparam kEven  of EvenBandSlide, which may share rows: those alone that are not finite
template <bool kEven, typename T>
__device__ __forceinline__ void repeat_not_finite(const DepthwiseParams& params,
                                                  const BandedPlan& banded, const T* source,
                                                  const T* weight, const T* bias, T* result,
                                                  unsigned char* shared, Activation activation,
                                                  int set) {
  const SlidingPlan& plan = banded.block;
  unsigned index, thread;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(index));
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  const SlidingBlock block =
      SlidingBlock::of_correlation(params, plan, index, banded.strips_inverse);
  const int plane = divide(static_cast<int>(thread) / 32, banded.warps_per_plane);
  const int lane = static_cast<int>(thread) % 32;
  const int channel = static_cast<int>(static_cast<unsigned>(block.plane + plane) %
                                       static_cast<unsigned>(params.result_channels));
  const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
  const T* const taps = weight + channel * params.h.kernel_size * params.w.kernel_size;
  const T* const image =
      source + int64_t{divide(block.plane + plane, static_cast<int>(params.multiplier))} *
                   params.h.source_size * params.w.source_size;
  const CopyPieces pieces = block.result_pieces(result, params.h, params.w, plan, shared);
#pragma unroll 1
  for (int item = 0; item < 4 * plan.rows_per_thread; ++item) {
    const int slide = set * kBandSlides + 8 * (item / 2 % 2) + lane / 4, ended = item / 4;
    const int rows = min(plan.rows_per_thread, block.rows);
    const BandTile tile =
        kEven ? shared_band_tile(banded, block, rows, slide) : band_tile(banded, slide);
    const int row = tile.row + ended, column = tile.column + 2 * (lane % 4) + item % 2;
    if (row < block.rows && column < block.columns) {
      T* const place =
          reinterpret_cast<T*>(pieces.shared + (plane * block.rows + row) * plan.result_pitch) +
          column;
      if (!kEven || to_accumulate(*place) * 0.0f != 0.0f) {
        const float value = exact_result(
            params, image, 1, taps, start, block.row + row - static_cast<int>(params.h.padding),
            block.column + column - static_cast<int>(params.w.padding));
        *place = from_accumulate<T>(apply_activation(activation, value));
      }
    }
  }
}

template <typename T, int kHeight, BandSlide kSlide>
__global__ void __launch_bounds__(DepthwiseBandedPolicy::kThreads,
                                  DepthwiseBandedPolicy::min_blocks(sizeof(T), kHeight))
    depthwise_banded_kernel(const __grid_constant__ DepthwiseParams params,
                            const __grid_constant__ BandedPlan banded,
                            const T* __restrict__ source,  // [N, source_channels, h, w]
                            const T* __restrict__ weight,  // [result_channels, KH, KW]
                            const T* __restrict__ bias,    // [result_channels] or null
                            T* __restrict__ result,        // [N, result_channels, h, w]
                            Activation activation) {
#if KERNELOPT_HAS_MMA
  constexpr int kElement = sizeof(T);
  constexpr bool kEven = kSlide != BandSlide::kAny;
  constexpr int kParts = MmaTraits<T>::kParts;
  const SlidingPlan& plan = banded.block;
  extern __shared__ __align__(128) unsigned char all_shared[];
  unsigned char* const shared = all_shared + kBandZeros;
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(shared);

  const int multiplier = static_cast<int>(params.multiplier);
  const SlidingBlock block =
      SlidingBlock::of_correlation(params, plan, blockIdx.x, banded.strips_inverse);
  if (banded.image_stride > 0) {
    const int channels = static_cast<int>(params.result_channels);
    const int image = divide(block.plane, channels, banded.channels_inverse);
    result += (block.plane - image * channels) * banded.channel_stride +
              int64_t{image} * banded.image_stride -
              block.plane * (params.h.result_size * params.w.result_size);
  }
  const CopyPieces source_pieces =
      block.start_source_load(source, params, plan, shared, barrier, banded.source_elements);
  grid_dependency_launch();
  for (int i = threadIdx.x; i < kBandZeros / 4; i += blockDim.x) {
    reinterpret_cast<uint32_t*>(all_shared)[i] = 0;
  }

  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int lane_row = lane / 4, lane_pair = 2 * (lane % 4);
  const int plane = plan.planes == 1 ? 0 : divide(warp, banded.warps_per_plane);
  const bool active = plane < block.planes;
  // Windows of fp32 or 16-bit pairs begin at even addresses.
  const int source_plane = divide(block.plane + plane, multiplier) - block.source_plane;
  const int x0 = block.column - static_cast<int>(params.w.padding);
  const int plane_offset = static_cast<int>(source_pieces.shared - shared) +
                           source_plane * block.source_plane_rows() * plan.source_pitch +
                           (x0 - block.source_column_begin) * kElement;
  const int shift = kEven ? plane_offset / kElement & 1 : 0;

  Band<T, kHeight> band;
  float start[4] = {};
  const T* taps = weight;
  if (active) {
    const int index = block.plane + plane, channels = static_cast<int>(params.result_channels);
    const int channel = index - divide(index, channels, banded.channels_inverse) * channels;
    start[0] = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
    start[1] = start[2] = start[3] = start[0];
    taps += int64_t{channel} *
            (static_cast<int>(params.h.kernel_size) * static_cast<int>(params.w.kernel_size));
    load_band(band, taps, params, lane_pair - lane_row - shift);
  }

  const CopyPieces result_pieces = block.result_pieces(result, params.h, params.w, plan, shared);
  const int first_set = warp - plane * banded.warps_per_plane;
  const bool activates = static_cast<int>(activation) != static_cast<int>(Activation::kNone);
  if constexpr (kSlide == BandSlide::kEven || kSlide == BandSlide::kMatrix) {
    EvenBandSlide<T, kHeight, kSlide == BandSlide::kMatrix> slide;
    slide.begin_block(params, banded, block, shared_address(shared) + plane_offset, x0, shift,
                      shared_address(result_pieces.shared) + plane * block.rows * plan.result_pitch,
                      shared_address(all_shared));
    slide.place(first_set, banded, block);
    if (kSlide == BandSlide::kMatrix && threadIdx.x < 4) {
      // What the last window reads behind the source: finite.
      reinterpret_cast<uint32_t*>(source_pieces.shared + source_pieces.bytes)[threadIdx.x] = 0;
    }
    finish_loads<0>(barrier, 0);
    if constexpr (kParts == 2) {
      split_pieces<kEven>(source_pieces);
      __syncthreads();
    }
    for (int set = first_set; active && set < banded.sets;) {
      const bool finite = activates ? slide.template run<true>(band, start[0], activation)
                                    : slide.template run<false>(band, start[0], activation);
      if (!finite) {
        repeat_not_finite<true>(params, banded, source, weight, bias, result, shared, activation,
                                set);
      }
      set += banded.warps_per_plane;
      if (set < banded.sets) {
        slide.place(set, banded, block);
      }
    }
    store_only_pieces<T>(result_pieces);
    return;
  }
  finish_loads<0>(barrier, 0);
  if constexpr (kParts == 2) {
    split_pieces<kEven>(source_pieces);
    __syncthreads();
  }
  if (active) {
    const uint32_t zeros = shared_address(all_shared) + lane_pair * kElement;
    const int source_rows = block.source_row_end - block.source_row_begin;
    for (int set = first_set; set < banded.sets; set += banded.warps_per_plane) {
      int rows[2], row[2], column[2];
      float not_finite = 0.0f;  // NaN once a result was not finite
      int source_row[2];
      uint32_t address[2], mask[2][2], to[2];
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const int slide = set * kBandSlides + 8 * s + lane_row;
        const BandTile tile = band_tile(banded, slide);
        column[s] = tile.column + lane_pair;
        row[s] = tile.row;
        rows[s] = min(plan.rows_per_thread, block.rows - row[s]);
        const int x = x0 - shift + column[s];
        uint32_t any = 0;
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          mask[s][k] = pair_mask(x + 8 * k, block.source_column_begin, block.source_column_end);
          any |= mask[s][k];
        }
        source_row[s] =
            rows[s] > 0 && any != 0
                ? block.row + row[s] - static_cast<int>(params.h.padding) - block.source_row_begin
                : -kMaxIndex32;
        address[s] = shared_address(shared) + plane_offset +
                     static_cast<uint32_t>(source_row[s]) * plan.source_pitch +
                     (column[s] - shift) * kElement;
        to[s] = shared_address(result_pieces.shared) +
                (plane * block.rows + row[s]) * plan.result_pitch + column[s] * kElement;
        rows[s] = column[s] < block.columns ? rows[s] : 0;
      }
      // Pairs of results that can be stored as such.
      const bool pairs = (to[0] | plan.result_pitch) % (2 * kElement) == 0 &&
                         block.columns - max(column[0], column[1]) >= 2;
      float sums[kHeight][4];
#pragma unroll
      for (int i = 0; i < kHeight; ++i) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          sums[i][c] = start[c];
        }
      }
      const int end0 = rows[0] + kHeight - 1, end1 = rows[1] + kHeight - 1;
      const int steps = max(__reduce_max_sync(~0u, max(end0, end1)), 0);
      for (int step = 0; step < steps; ++step) {
        BandPair<T> window[4];
#pragma unroll
        for (int s = 0; s < 2; ++s) {
          const bool inside =
              static_cast<unsigned>(source_row[s] + step) < static_cast<unsigned>(source_rows);
          const uint32_t from = inside ? address[s] : zeros;
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            BandPair<T> pair = load_source_pair<T, kEven>(from + 8 * kElement * k);
#pragma unroll
            for (int part = 0; part < kParts; ++part) {
              pair.parts[part] &= mask[s][k];
            }
            window[s + 2 * k] = pair;
          }
          address[s] += plan.source_pitch;
        }
        multiply_band_rows<T>(sums, window, band, start);
        if (step < kHeight - 1) {
          continue;
        }
        float values[4];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          values[c] = sums[kHeight - 1][c];
          not_finite = fmaf(values[c], 0.0f, not_finite);
        }
        if (activates) {
          asm volatile("");  // keeps the test a branch of its own
          activate_results<T>(values, activation);
        }
        if (pairs) {
          if (step < end0) {
            store_shared_pair<T>(to[0], values[0], values[1]);
          }
          if (step < end1) {
            store_shared_pair<T>(to[1], values[2], values[3]);
          }
        } else {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            if (step < (c < 2 ? end0 : end1) && column[c / 2] + c % 2 < block.columns) {
              store_shared<T>(to[c / 2] + c % 2 * kElement, values[c]);
            }
          }
        }
        to[0] += plan.result_pitch;
        to[1] += plan.result_pitch;
      }
      if (not_finite != 0.0f) {
        repeat_not_finite<false>(params, banded, source, weight, bias, result, shared, activation,
                                 set);
      }
    }
  }
  store_only_pieces<T>(result_pieces);
#endif
}

}  // namespace kernelopt
