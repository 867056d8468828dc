// The banded kernel's correlation (depthwise_banded_kernel.cuh) for channels_last tensors with one
// filter a channel. A block turns its source, pixels of neighbouring channels, into a plane a
// channel in shared memory, zeros where it reaches outside the image; a warp multiplies the windows
// of one channel after the other by its band. Results lie where the source row that ended them did,
// and are turned back into pixels. Needs pixels of whole 16-byte units, aligned to them;
// coordinates below 2^30.
#pragma once

#include "common/grid_dependency.cuh"
#include "depthwise/depthwise_banded_channels_last_plan.h"
#include "depthwise/depthwise_banded_operand.cuh"

namespace kernelopt {

/// A block's place: the image, and its first channel, result row and column.
struct BandedPixels {
  int n, channel, row, column;

  __device__ __forceinline__ BandedPixels(const BandedChannelsLastPlan& plan, int channels) {
    int rest = static_cast<int>(blockIdx.x) / plan.channel_blocks;
    channel = (static_cast<int>(blockIdx.x) - rest * plan.channel_blocks) * channels;
    const int line = rest / plan.column_blocks;
    column = (rest - line * plan.column_blocks) * plan.tiles * kBandColumns;
    n = line / plan.strips;
    row = (line - n * plan.strips) * plan.rows;
  }
};

__device__ __forceinline__ int quotient(int value, int divisor, uint32_t inverse) {
  return divisor == 1 ? value : static_cast<int>(__umulhi(value, inverse));
}

/// Word i of two pixels' units as a pair of columns: 16-bit channels 2i and 2i + 1, or channel i of
/// fp32, split.
template <typename T>
__device__ __forceinline__ void store_columns(uint32_t plane, int plane_bytes, int i,
                                              uint32_t first, uint32_t second) {
  if constexpr (sizeof(T) == 4) {
    const SplitPair split = split_bf16_unlimited(__uint_as_float(first), __uint_as_float(second));
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(plane + i * plane_bytes), "r"(split.high),
                 "r"(split.low)
                 : "memory");
  } else {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(plane + 2 * i * plane_bytes),
                 "r"(__byte_perm(first, second, 0x5410))
                 : "memory");
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(plane + (2 * i + 1) * plane_bytes),
                 "r"(__byte_perm(first, second, 0x7632))
                 : "memory");
  }
}

/// The way back.
template <typename T>
__device__ __forceinline__ void load_columns(uint32_t plane, int plane_bytes, int i,
                                             uint32_t& first, uint32_t& second) {
  if constexpr (sizeof(T) == 4) {
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];"
                 : "=r"(first), "=r"(second)
                 : "r"(plane + i * plane_bytes)
                 : "memory");
  } else {
    uint32_t low, high;
    asm volatile("ld.shared.u32 %0, [%1];"
                 : "=r"(low)
                 : "r"(plane + 2 * i * plane_bytes)
                 : "memory");
    asm volatile("ld.shared.u32 %0, [%1];"
                 : "=r"(high)
                 : "r"(plane + (2 * i + 1) * plane_bytes)
                 : "memory");
    first = __byte_perm(low, high, 0x5410);
    second = __byte_perm(low, high, 0x7632);
  }
}

template <typename T, int kHeight>
__global__ void __launch_bounds__(DepthwiseBandedPolicy::kChannelsLastThreads,
                                  DepthwiseBandedPolicy::kChannelsLastBlocks)
    depthwise_banded_channels_last_kernel(const __grid_constant__ DepthwiseParams params,
                                          const __grid_constant__ BandedChannelsLastPlan plan,
                                          const T* __restrict__ source,  // [N, h, w, channels]
                                          const T* __restrict__ weight,  // [channels, KH, KW]
                                          const T* __restrict__ bias,    // [channels] or null
                                          T* __restrict__ result,        // [N, h, w, channels]
                                          Activation activation) {
#if KERNELOPT_HAS_MMA
  constexpr int kElement = sizeof(T);
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kUnit = 16 / kElement;  // channels
  constexpr int kChannels = kBandUnits * kUnit;
  constexpr int kWarps = DepthwiseBandedPolicy::kChannelsLastThreads / 32;
  constexpr int kPairBytes = 2 * kElement;
  constexpr int kBatch = 4;  // of loads that are under way at once
  extern __shared__ __align__(128) unsigned char shared[];

  const BandedPixels block(plan, kChannels);
  const int channels = static_cast<int>(params.result_channels);
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int result_width = static_cast<int>(params.w.result_size);
  const int rows = min(plan.rows, static_cast<int>(params.h.result_size) - block.row);
  const int columns = min(plan.tiles * kBandColumns, result_width - block.column);
  const int first_y = block.row - static_cast<int>(params.h.padding);
  const int first_x = block.column - static_cast<int>(params.w.padding);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const T* const image = source + int64_t{block.n} * height * width * channels;

  // A warp moves kBandPairs pairs of columns of all units at a time, a lane two pixels of a unit.
  const int lane_unit = lane / kBandPairs * kUnit;
  const bool unit_valid = block.channel + lane_unit < channels;
  const uint32_t lane_plane = shared_address(shared) + lane_unit * plan.plane_bytes;
  const int pair_groups = (plan.pairs + kBandPairs - 1) / kBandPairs;
  const auto pair_of = [&](int item, int& row) {
    row = quotient(item, pair_groups, plan.pair_groups_inverse);
    return (item - row * pair_groups) * kBandPairs + lane % kBandPairs;
  };
  const int items = plan.source_rows * pair_groups;
  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
  for (int item = warp; item < items; item += kBatch * kWarps) {
    uint4 first[kBatch], second[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      int row;
      const int pair = pair_of(item + k * kWarps, row);
      const int y = first_y + row, x = first_x + 2 * pair;
      const bool inside = unit_valid && item + k * kWarps < items && y >= 0 && y < height;
      const T* const from = image + (int64_t{y} * width + x) * channels + block.channel + lane_unit;
      first[k] = second[k] = make_uint4(0, 0, 0, 0);
      if (inside && x >= 0 && x < width) {
        first[k] = *reinterpret_cast<const uint4*>(from);
      }
      if (inside && x + 1 >= 0 && x + 1 < width) {
        second[k] = *reinterpret_cast<const uint4*>(from + channels);
      }
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      int row;
      const int pair = pair_of(item + k * kWarps, row);
      if (pair < plan.pairs && item + k * kWarps < items) {
        const uint32_t to = lane_plane + row * plan.pitch + pair * kPairBytes;
        store_columns<T>(to, plan.plane_bytes, 0, first[k].x, second[k].x);
        store_columns<T>(to, plan.plane_bytes, 1, first[k].y, second[k].y);
        store_columns<T>(to, plan.plane_bytes, 2, first[k].z, second[k].z);
        store_columns<T>(to, plan.plane_bytes, 3, first[k].w, second[k].w);
      }
    }
  }
  __syncthreads();

  const int lane_row = lane / 4, lane_pair = 2 * (lane % 4);
  const bool activates = static_cast<int>(activation) != static_cast<int>(Activation::kNone);
  uint32_t offset[2];
  int row[2], column[2];
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const int slide = 8 * s + lane_row;
    const int group = quotient(slide, plan.tiles, plan.tiles_inverse);
    column[s] = (slide - group * plan.tiles) * kBandColumns + lane_pair;
    row[s] = group * plan.slide;
    // Slides beyond the last one read the first one's window and have no results.
    row[s] = row[s] + plan.slide + kHeight - 1 <= plan.source_rows ? row[s] : kMaxIndex32;
    offset[s] =
        row[s] < kMaxIndex32 ? row[s] * plan.pitch + column[s] * kElement : lane_pair * kElement;
  }
  for (int c = warp; c < kChannels && block.channel + c < channels; c += kWarps) {
    const int channel = block.channel + c;
    const T* const filter = weight + channel * params.h.kernel_size * params.w.kernel_size;
    Band<T, kHeight> band;
    load_band(band, filter, params, lane_pair - lane_row);
    float start[4];
    start[0] = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
    start[1] = start[2] = start[3] = start[0];
    float sums[kHeight][4];
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        sums[i][e] = start[e];
      }
    }
    uint32_t at[2];
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      at[s] = shared_address(shared) + c * plan.plane_bytes + offset[s];
    }
    float not_finite = 0.0f;  // NaN once a result was not finite
    for (int step = 0; step < plan.slide + kHeight - 1; ++step) {
      BandPair<T> window[4];
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        window[s] = load_source_pair<T, true>(at[s]);
        window[s + 2] = load_source_pair<T, true>(at[s] + 8 * kElement);
        if constexpr (kParts == 2) {
          // Copies to registers that are neighbours, once. Without, every product has its own.
#pragma unroll
          for (int part = 0; part < kParts; ++part) {
            window[s].parts[part] &= plan.all_bits;
            window[s + 2].parts[part] &= plan.all_bits;
          }
        }
      }
      multiply_band_rows<T>(sums, window, band, start);
      if (step >= kHeight - 1) {
        float values[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          values[e] = sums[kHeight - 1][e];
          not_finite = fmaf(values[e], 0.0f, not_finite);
        }
        if (activates) {
          asm volatile("");  // keeps the test a branch of its own
          activate_results<T>(values, activation);
        }
        // Every slide has read this row for the last time.
        store_shared_pair<T>(at[0], values[0], values[1]);
        if (row[1] < kMaxIndex32) {
          store_shared_pair<T>(at[1], values[2], values[3]);
        }
      }
      at[0] += plan.pitch;
      at[1] += plan.pitch;
    }
    if (not_finite != 0.0f) {
#pragma unroll 1
      for (int item = 0; item < 4 * plan.slide; ++item) {
        const int s = item / 2 % 2;
        const int result_row = (s == 0 ? row[0] : row[1]) + item / 4;
        const int result_column = (s == 0 ? column[0] : column[1]) + item % 2;
        if (result_row < rows && result_column < columns) {
          const float value = exact_result(params, image + channel, channels, filter, start[0],
                                           first_y + result_row, first_x + result_column);
          store_shared<T>(shared_address(shared) + c * plan.plane_bytes +
                              (result_row + kHeight - 1) * plan.pitch + result_column * kElement,
                          apply_activation(activation, value));
        }
      }
    }
  }
  __syncthreads();

  const int result_pairs = plan.tiles * (kBandColumns / 2);
  const int result_groups = (result_pairs + kBandPairs - 1) / kBandPairs;
  T* const to_image = result + int64_t{block.n} * params.h.result_size * result_width * channels;
  for (int item = warp; item < rows * result_groups; item += kWarps) {
    const int result_row = item / result_groups;
    const int pair = (item - result_row * result_groups) * kBandPairs + lane % kBandPairs;
    if (!unit_valid || 2 * pair >= columns) {
      continue;
    }
    const uint32_t from = lane_plane + (result_row + kHeight - 1) * plan.pitch + pair * kPairBytes;
    uint4 first, second;
    load_columns<T>(from, plan.plane_bytes, 0, first.x, second.x);
    load_columns<T>(from, plan.plane_bytes, 1, first.y, second.y);
    load_columns<T>(from, plan.plane_bytes, 2, first.z, second.z);
    load_columns<T>(from, plan.plane_bytes, 3, first.w, second.w);
    T* const to =
        to_image +
        (int64_t{block.row + result_row} * result_width + block.column + 2 * pair) * channels +
        block.channel + lane_unit;
    *reinterpret_cast<uint4*>(to) = first;
    if (2 * pair + 1 < columns) {
      *reinterpret_cast<uint4*>(to + channels) = second;
    }
  }
#endif
}

}  // namespace kernelopt
