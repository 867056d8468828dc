// The end of a tile of the warpgroup kernel: bias, activation and rounding of the accumulators, and
// their stores. A thread holds two neighbouring columns of every eight; threads exchange them for
// 16 bytes of a row each. Includes no torch header.
#pragma once

#include "common/activation16.cuh"
#include "common/vector_store.cuh"
#include "common/wgmma.cuh"
#include "separable/channel_gemm_wgmma_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The columns of a group that is stored at once: four eights.
constexpr int kGroupColumns = 32;

/// Stores a thread's values of a row, columns 8 * i / 2 + lane % 4 * 2 + i % 2 of a group, with
/// those of the three threads beside it. All threads of the warp call it.
/// @param row      the group's first column in the result; may lie outside it where `columns` <= 0
/// @param columns  the group's columns inside the result, a multiple of a vector's
template <typename T>
__device__ __forceinline__ void store_vectors(T* row, int columns, const float (&values)[8]) {
  const int quad = threadIdx.x % 4;
  const bool odd = quad % 2 != 0;
  constexpr unsigned kWarp = 0xffffffffu;
  if constexpr (sizeof(T) == 2) {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const T pair[2] = {from_accumulate<T>(values[2 * i]), from_accumulate<T>(values[2 * i + 1])};
      words[i] = *reinterpret_cast<const uint16_t*>(&pair[0]) |
                 static_cast<uint32_t>(*reinterpret_cast<const uint16_t*>(&pair[1])) << 16;
    }
    // A 4 x 4 transposition: half of the words change places with the next thread, then with the
    // one after it.
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const uint32_t got = __shfl_xor_sync(kWarp, odd ? words[i] : words[i + 1], 1);
      const uint32_t kept = odd ? words[i + 1] : words[i];
      words[i] = odd ? got : kept;
      words[i + 1] = odd ? kept : got;
    }
    const bool high = quad >= 2;
    const uint32_t first = __shfl_xor_sync(kWarp, high ? words[0] : words[2], 2);
    const uint32_t second = __shfl_xor_sync(kWarp, high ? words[1] : words[3], 2);
    if (quad * 8 < columns) {
      store_vector(row + quad * 8, make_uint4(high ? first : words[0], high ? second : words[1],
                                              high ? words[2] : first, high ? words[3] : second));
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
      const float first = __shfl_xor_sync(kWarp, odd ? values[i] : values[i + 2], 1);
      const float second = __shfl_xor_sync(kWarp, odd ? values[i + 1] : values[i + 3], 1);
      const int column = i * 4 + quad % 2 * 8 + quad / 2 * 4;
      if (column < columns) {
        store_vector(row + column, make_uint4(__float_as_uint(odd ? first : values[i]),
                                              __float_as_uint(odd ? second : values[i + 1]),
                                              __float_as_uint(odd ? values[i + 2] : first),
                                              __float_as_uint(odd ? values[i + 3] : second)));
      }
    }
  }
}

/// Copies group `group` of kCount from kFirst on, of the accumulators' columns, tiles and halves,
/// by a tree of branches: with one comparison a group every group's copies were issued.
template <int kFirst, int kCount, int kTilesM, int kRegisters>
__device__ __forceinline__ void pick_group(const float (&accumulators)[kTilesM][kRegisters],
                                           int group, float (&values)[8]) {
  if constexpr (kCount == 1) {
    constexpr int kHalf = kFirst % 2, kTile = kFirst / 2 % kTilesM;
    constexpr int kColumns = kFirst / 2 / kTilesM;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i] = accumulators[kTile][(kColumns * 4 + i / 2) * 4 + kHalf * 2 + i % 2];
    }
  } else if (group < kFirst + kCount / 2) {
    pick_group<kFirst, kCount / 2>(accumulators, group, values);
  } else {
    pick_group<kFirst + kCount / 2, kCount - kCount / 2>(accumulators, group, values);
  }
}

/// The sum of a result in plain fp32, for those that the split in parts made NaN or Inf: Inf times
/// a part that is 0 is NaN, and the product of two rounded high parts can overflow where that of
/// the values does not.
template <typename T>
__device__ __forceinline__ float multiply_exactly(const ChannelGemmWgmmaParams& p, int64_t row,
                                                  int column) {
  const T* left = static_cast<const T*>(p.left) + row * p.k;
  const T* right = static_cast<const T*>(p.right) + column * p.right_n_stride;
  float sum = 0;
#pragma unroll 1
  for (int k = 0; k < p.k; ++k) {
    sum = fmaf(to_accumulate(left[k]), to_accumulate(*right), sum);
    right += p.right_k_stride;
  }
  return sum;
}

/// Stores the accumulators of kTilesM x 64 rows.
/// @param row      of the thread's first accumulator; the others are 8 and 64 after it
/// @param column   the block's first
/// @param biases   of the block's columns
template <typename T, int kTilesM, int kRegisters>
__device__ __forceinline__ void store_channel_tile(const ChannelGemmWgmmaParams& p,
                                                   float (&accumulators)[kTilesM][kRegisters],
                                                   int64_t row, int column, const float* biases) {
  constexpr int kColumnGroups = kRegisters / 16;
  const int quad = threadIdx.x % 4;
  bool finite = true;
  if constexpr (MmaTraits<T>::kParts == 2) {
    float probe = 0;
#pragma unroll
    for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) {
        probe = fmaf(accumulators[m][i], 0.0f, probe);
      }
    }
    finite = __all_sync(0xffffffffu, probe == 0.0f);
  }
  const int columns = p.n - column;
  T* result = static_cast<T*>(p.result) + row * p.n + column;
  const int64_t eight_rows = int64_t{8} * p.n;
  if (finite && p.vectors &&
      (p.activation == Activation::kNone || p.activation == Activation::kRelu)) {
    const float least = p.activation == Activation::kRelu ? 0.0f : -INFINITY;
#pragma unroll
    for (int group = 0; group < kColumnGroups; ++group) {
      float2 bias[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        bias[i] =
            *reinterpret_cast<const float2*>(biases + group * kGroupColumns + i * 8 + quad * 2);
      }
#pragma unroll
      for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float values[8];
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            const float z = accumulators[m][(group * 4 + i / 2) * 4 + half * 2 + i % 2] +
                            (i % 2 == 0 ? bias[i / 2].x : bias[i / 2].y);
            values[i] = z < least ? least : z;
          }
          const int64_t distance = m * 64 + half * 8;
          store_vectors(result + (m * 8 + half) * eight_rows + group * kGroupColumns,
                        row + distance < p.m ? columns - group * kGroupColumns : 0, values);
        }
      }
    }
    return;
  }
  // One body for all groups, so that the code stays small: only the choice of accumulators is
  // unrolled.
#pragma unroll 1
  for (int group = 0; group < kColumnGroups * kTilesM * 2; ++group) {
    float values[8];
    pick_group<0, kColumnGroups * kTilesM * 2>(accumulators, group, values);
    const int half = group % 2, m = group / 2 % kTilesM;
    const int first = group / 2 / kTilesM * kGroupColumns;
    const int64_t distance = m * 64 + half * 8;
    const int inside = row + distance < p.m ? columns - first : 0;
    if constexpr (MmaTraits<T>::kParts == 2) {
      if (!finite) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const int place = i / 2 * 8 + quad * 2 + i % 2;
          if (place < inside && !isfinite(values[i])) {
            values[i] = multiply_exactly<T>(p, row + distance, column + first + place);
          }
        }
      }
    }
    const float* bias = biases + first + quad * 2;
    with_activation(p.activation, [&](auto kind) {
      using ActivationType = ActivationFor<T, decltype(kind)>;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        values[i] = ActivationType::forward(values[i] + bias[i / 2 * 8 + i % 2]);
      }
    });
    T* target = result + (m * 8 + half) * eight_rows + first;
    if (p.vectors) {
      store_vectors(target, inside, values);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int place = i / 2 * 8 + quad * 2 + i % 2;
        if (place < inside) {
          target[place] = from_accumulate<T>(values[i]);
        }
      }
    }
  }
}

#endif

}  // namespace kernelopt
