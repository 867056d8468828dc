// The end of a tile of the product over padded columns: a warp turns its accumulators in shared
// memory to rows of the result, which begin on any element and may belong to several images.
// Includes no torch header.
#pragma once

#include "common/activation16.cuh"
#include "common/cluster.cuh"
#include "common/pairs16.cuh"
#include "common/wgmma.cuh"
#include "separable/separable_columns_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The sum of a result in plain fp32, for those that the split in parts made NaN or Inf.
template <typename T>
__device__ __noinline__ float multiply_columns_exactly(const SeparableColumnsParams& p, int channel,
                                                       int64_t column) {
  const __nv_bfloat16* high = static_cast<const __nv_bfloat16*>(p.columns) + column;
  const __nv_bfloat16* low = high + int64_t{p.problem.channels} * p.total;
  const T* weight =
      static_cast<const T*>(p.problem.pointwise_weight) + int64_t{channel} * p.problem.channels;
  float sum = 0;
#pragma unroll 1
  for (int k = 0; k < p.problem.channels; ++k) {
    // The parts of the largest finite values add up to more than these.
    constexpr float kLargest = 3.4028234663852886e38f;
    const float low_part = to_accumulate(*low);
    float value = to_accumulate(*high) + low_part;
    value = isfinite(low_part) ? fminf(fmaxf(value, -kLargest), kLargest) : value;
    sum = fmaf(value, to_accumulate(weight[k]), sum);
    high += p.total;
    low += p.total;
  }
  return sum;
}

/// Writes a warp's accumulators of 16 channels of 64 columns, or of those that are left, with
/// biases, as rows of kTurnPitch.
/// @param biases  of the thread's two rows
template <int kFirst, int kRegisters>
__device__ __forceinline__ void turn_columns(const float (&accumulators)[kRegisters],
                                             const float (&biases)[2], float* turn) {
  using Shape = SeparableColumnsShape;
  constexpr int kCount = kRegisters * 2 - kFirst < 64 ? (kRegisters * 2 - kFirst) / 8 : 8;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int from = (kFirst / 8 + i) * 4 + half * 2;
      float* place = turn + (lane / 4 + half * 8) * Shape::kTurnPitch + i * 8 + lane % 4 * 2;
      *reinterpret_cast<float2*>(place) =
          make_float2(accumulators[from] + biases[half], accumulators[from + 1] + biases[half]);
    }
  }
  __syncwarp();
}

/// Reads kCount rows of kWidth values; with kShares the sums of what a cluster's blocks have there.
template <bool kShares, int kCount, int kWidth>
__device__ __forceinline__ void load_turned(const float* place, int shares,
                                            float (&values)[kCount][kWidth]) {
  constexpr int kPitch = SeparableColumnsShape::kTurnPitch;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if constexpr (kShares) {
      values[i][0] = values[i][kWidth - 1] = 0.0f;
    } else if constexpr (kWidth == 2) {
      const float2 pair = *reinterpret_cast<const float2*>(place + i * kPitch);
      values[i][0] = pair.x;
      values[i][1] = pair.y;
    } else {
      values[i][0] = place[i * kPitch];
    }
  }
  for (int share = 0; kShares && share < shares; ++share) {
    const uint32_t there = cluster_address(shared_address(place), share);
    float part[kCount][kWidth];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        part[i][j] = cluster_load(there + (i * kPitch + j) * 4);
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        values[i][j] += part[i][j];
      }
    }
  }
}

__device__ __forceinline__ void store_if(void* place, uint32_t bits, bool condition) {
  if (condition) {
    asm volatile("st.global.b32 [%0], %1;" ::"l"(place), "r"(bits) : "memory");
  }
}
__device__ __forceinline__ void store_if(void* place, uint16_t bits, bool condition) {
  if (condition) {
    asm volatile("st.global.b16 [%0], %1;" ::"l"(place), "h"(bits) : "memory");
  }
}

/// Stores a lane's columns of a row; of 16-bit results two neighbouring ones. Where a row begins
/// between two words of memory, the second column and the next lane's first one are a word.
/// @tparam kColumns  64, or the first 32 or 16 of them
template <typename T, int kColumns>
struct ColumnsStore {
  static constexpr int kWidth = sizeof(T) == 4 ? 1 : 2;
  T* result;  // the lane's first column of the next row
  int64_t plane;
  int inside;   // columns from the lane's first one on that belong to its image
  bool begins;  // no lane before has columns of the image
  // Whether the lane has a word, or half of one, where a row begins on a word or between two.
  bool whole[2], single[2];

  /// @param place   of the lane's first column among 64
  /// @param column  the first of the 64
  __device__ __forceinline__ ColumnsStore(const SeparableColumnsParams& p, int channel, int column,
                                          int place)
      : plane(p.plane) {
    const int image = static_cast<int>(p.pitches.quotient(column + place));
    const int pixel = column + place - image * p.pitch;
    result = static_cast<T*>(p.problem.output) +
             (int64_t{image} * p.problem.out_channels + channel) * p.plane + pixel;
    inside = image < p.problem.batch && place < kColumns ? p.plane - pixel : 0;
    if constexpr (kWidth == 2) {
      begins = inside > 0 && (pixel == 0 || place == 0);
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        whole[odd] = inside > odd + 1 && (odd == 0 || place + 2 < kColumns);
        single[odd] = inside > odd && !whole[odd];
      }
    }
  }

  /// All lanes call it; the next row follows.
  __device__ __forceinline__ void store(const float (&values)[kWidth], bool valid) {
    if constexpr (kWidth == 1) {
      store_if(result, __float_as_uint(values[0]), valid & (inside > 0));
    } else {
      const uint32_t word = pack_pair<T>(values[0], values[1]);
      const uint32_t next = __shfl_down_sync(0xffffffffu, word, 1);
      const bool odd = reinterpret_cast<uintptr_t>(result) % 4 != 0;
      const uint32_t shifted = odd ? __funnelshift_r(word, next, 16) : word;
      T* const target = result + (odd ? 1 : 0);
      store_if(target, shifted, valid & (odd ? whole[1] : whole[0]));
      store_if(target, static_cast<uint16_t>(shifted), valid & (odd ? single[1] : single[0]));
      store_if(result, static_cast<uint16_t>(word), valid & odd & begins);
    }
    result += plane;
  }
};

/// Stores 16 channels of 64 columns out of shared memory.
/// @tparam kShares  a cluster's blocks have shares of the sums, and store some of the channels each
/// @tparam kColumns  64, or the first 32 or 16 of them
/// @param channel   the first
/// @param column    the first, a multiple of 32
template <typename T, bool kShares, int kColumns = SeparableColumnsShape::kPanel>
__device__ __forceinline__ void store_columns(const SeparableColumnsParams& p, const float* turn,
                                              int channel, int column) {
  using Shape = SeparableColumnsShape;
  using Store = ColumnsStore<T, kColumns>;
  constexpr int kWidth = Store::kWidth;
  constexpr int kRows = kShares ? 16 / Shape::kMaxShares : 16 / kWidth;  // that are loaded at once
  const int own = kShares ? 16 / p.shares : 16;
  const int first = kShares ? static_cast<int>(blockIdx.x) % p.shares * own : 0;
  const int end = min(first + own, p.problem.out_channels - channel);
  const Activation activation = p.problem.activation;
  const bool simple = activation == Activation::kNone || activation == Activation::kRelu;
  const float least = activation == Activation::kRelu ? 0.0f : -INFINITY;
#pragma unroll
  for (int part = 0; part < (kWidth == 2 ? 1 : (kColumns + 31) / 32); ++part) {
    const int place = static_cast<int>(threadIdx.x) % 32 * kWidth + part * 32;
    Store to(p, channel + first, column, place);
#pragma unroll 1
    for (int row = first; row < end; row += kRows) {
      float values[kRows][kWidth], probe = 0, second_probe = 0;
      load_turned<kShares>(turn + row * Shape::kTurnPitch + place, p.shares, values);
      if constexpr (MmaTraits<T>::kParts == 2) {
#pragma unroll
        for (int i = 0; i < kRows; i += 2) {
          probe = fmaf(values[i][0], 0.0f, probe);
          second_probe = fmaf(values[i + 1][0], 0.0f, second_probe);
        }
      }
      if (simple && __all_sync(0xffffffffu, probe + second_probe == 0.0f)) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
#pragma unroll
          for (int j = 0; j < kWidth; ++j) {
            values[i][j] = values[i][j] < least ? least : values[i][j];
          }
          to.store(values[i], row + i < end);
        }
        continue;
      }
#pragma unroll 1
      for (int i = 0; i < kRows; ++i) {
        float value[1][kWidth];
        load_turned<kShares>(turn + (row + i) * Shape::kTurnPitch + place, p.shares, value);
        if constexpr (MmaTraits<T>::kParts == 2) {
          if (!isfinite(value[0][0]) && to.inside > 0 && row + i < end) {
            const T* bias = static_cast<const T*>(p.problem.pointwise_bias);
            value[0][0] = multiply_columns_exactly<T>(p, channel + row + i, column + place) +
                          (bias == nullptr ? 0.0f : to_accumulate(bias[channel + row + i]));
          }
        }
        with_activation(activation, [&](auto kind) {
#pragma unroll
          for (int j = 0; j < kWidth; ++j) {
            value[0][j] = ActivationFor<T, decltype(kind)>::forward(value[0][j]);
          }
        });
        to.store(value[0], row + i < end);
      }
    }
  }
  __syncwarp();
}

#endif

}  // namespace kernelopt
