// Operands of the banded kernel's tensor-core products: taps as a band of a matrix, and windows of
// source rows in shared memory.
#pragma once

#include "common/activation16.cuh"
#include "common/mma.cuh"
#include "common/row_window.cuh"
#include "depthwise/depthwise_banded_plan.h"

namespace kernelopt {

/// Packed pairs of one register of an operand: of fp32 its high and its low parts.
template <typename T>
struct BandPair {
  uint32_t parts[MmaTraits<T>::kParts];
};

/// A tap as band_pair() takes it: of fp32 its high and low parts, else in the low half.
template <typename T>
__device__ __forceinline__ uint32_t tap_parts(T tap) {
  if constexpr (sizeof(T) == 4) {
    const SplitPair split = split_bf16_unlimited(tap, 0.0f);
    return split.high << 16 | (split.low & 0xffffu);
  } else {
    return *reinterpret_cast<const unsigned short*>(&tap);
  }
}

/// Taps `first` and `first + 1`, from -8 to 15, of a row of at most kBandTaps that holds a tap a
/// lane, and zeros in the lanes beyond: those are the taps outside the row.
template <typename T>
__device__ __forceinline__ BandPair<T> band_pair(uint32_t row, int first) {
  const uint32_t a = __shfl_sync(~0u, row, first & 31);
  const uint32_t b = __shfl_sync(~0u, row, (first + 1) & 31);
  BandPair<T> pair;
  pair.parts[0] = __byte_perm(a, b, sizeof(T) == 4 ? 0x7632 : 0x5410);
  if constexpr (sizeof(T) == 4) {
    pair.parts[1] = __byte_perm(a, b, 0x5410);
  }
  return pair;
}

/// A filter as matrices, one a row of taps: taps[i][k / 8] holds a lane's pairs of
/// B[k][n] = tap (i, k - n - shift), k a column of the window, n one of kBandColumns results.
template <typename T, int kHeight>
struct Band {
  BandPair<T> taps[kHeight][2];
};

/// @param filter  [kernel height, kernel width], of at most kHeight rows
/// @param first   the lane's k - n - shift in its first pair
template <typename T, int kHeight>
__device__ __forceinline__ void load_band(Band<T, kHeight>& band, const T* filter,
                                          const DepthwiseParams& params, int first) {
  const int height = static_cast<int>(params.h.kernel_size);
  const int width = static_cast<int>(params.w.kernel_size);
  const int step = params.flipped ? -1 : 1;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const T* const tap = filter + (params.flipped ? height * width - 1 : 0) + lane * step;
  T rows[kHeight];
#pragma unroll
  for (int i = 0; i < kHeight; ++i) {
    const bool valid = lane < width && i < height;
    rows[i] = valid ? tap[i * step * width] : from_accumulate<T>(0.0f);
  }
#pragma unroll
  for (int i = 0; i < kHeight; ++i) {
    const uint32_t row = tap_parts(rows[i]);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      band.taps[i][k] = band_pair<T>(row, 8 * k + first);
    }
  }
}

/// One result by the plain sum, straight from memory.
/// @param plane        of the source, `pixel_stride` elements from column to column
/// @param y, x         where tap (0, 0) meets it
template <typename T>
__device__ __forceinline__ float exact_result(const DepthwiseParams& params, const T* plane,
                                              int64_t pixel_stride, const T* taps, float start,
                                              int y, int x) {
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int kernel_width = static_cast<int>(params.w.kernel_size);
  const int kernel_height = static_cast<int>(params.h.kernel_size);
  const int last = params.flipped ? kernel_height * kernel_width - 1 : 0;
  float sum = start;
#pragma unroll 1
  for (int i = max(0, -y); i < min(kernel_height, height - y); ++i) {
#pragma unroll 1
    for (int j = max(0, -x); j < min(kernel_width, width - x); ++j) {
      const int tap = i * kernel_width + j;
      sum += to_accumulate(taps[params.flipped ? last - tap : tap]) *
             to_accumulate(plane[(int64_t{y + i} * width + x + j) * pixel_stride]);
    }
  }
  return sum;
}

/// Two neighbouring elements of a source row. fp32 has been split in place: where kEven, pairs of
/// elements at addresses that are multiples of 8 are pairs of high and of low parts, else each
/// element is its high and its low part.
/// @param address  of the first; a multiple of the pair's size where kEven
template <typename T, bool kEven>
__device__ __forceinline__ BandPair<T> load_source_pair(uint32_t address) {
  BandPair<T> pair;
  if constexpr (sizeof(T) == 4) {
    uint32_t first, second;
    if constexpr (kEven) {
      asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(first), "=r"(second) : "r"(address));
      pair.parts[0] = first;
      pair.parts[1] = second;
    } else {
      asm volatile("ld.shared.u32 %0, [%1];" : "=r"(first) : "r"(address));
      asm volatile("ld.shared.u32 %0, [%1];" : "=r"(second) : "r"(address + 4));
      pair.parts[0] = __byte_perm(first, second, 0x7632);
      pair.parts[1] = __byte_perm(first, second, 0x5410);
    }
  } else if constexpr (kEven) {
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(pair.parts[0]) : "r"(address));
  } else {
    uint32_t first, second;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(first) : "r"(address & ~3u));
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(second) : "r"((address & ~3u) + 4));
    pair.parts[0] = __funnelshift_r(first, second, (address & 2) * 8);
  }
  return pair;
}

/// Which of two neighbouring columns lie in [begin, end), as a mask of their packed pair.
__device__ __forceinline__ uint32_t pair_mask(int column, int begin, int end) {
  const unsigned count = end - begin;
  return (static_cast<unsigned>(column - begin) < count ? 0xffffu : 0) |
         (static_cast<unsigned>(column + 1 - begin) < count ? 0xffff0000u : 0);
}

template <typename T>
__device__ __forceinline__ void store_shared(uint32_t address, float value) {
  if constexpr (sizeof(T) == 4) {
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
  } else {
    const T rounded = from_accumulate<T>(value);
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(address),
                 "h"(*reinterpret_cast<const unsigned short*>(&rounded))
                 : "memory");
  }
}

/// @param address  a multiple of the pair's size
template <typename T>
__device__ __forceinline__ void store_shared_pair(uint32_t address, float first, float second) {
  if constexpr (sizeof(T) == 4) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(first), "f"(second)
                 : "memory");
  } else {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(pack_pair<T>(first, second))
                 : "memory");
  }
}

/// Two neighbouring elements that begin `shift` bits, 0 or 16, into the pair at `address`; fp32
/// split as for load_source_pair() where kEven.
template <typename T>
__device__ __forceinline__ BandPair<T> load_shifted_pair(uint32_t address, int shift) {
  const BandPair<T> first = load_source_pair<T, true>(address);
  const BandPair<T> second = load_source_pair<T, true>(address + 2 * sizeof(T));
  BandPair<T> pair;
#pragma unroll
  for (int part = 0; part < MmaTraits<T>::kParts; ++part) {
    pair.parts[part] = __funnelshift_r(first.parts[part], second.parts[part], shift);
  }
  return pair;
}

/// Splits fp32 in place, as load_source_pair() reads it; by all threads of the block.
template <bool kEven>
__device__ __forceinline__ void split_pieces(const CopyPieces& pieces) {
  unsigned char* const begin = pieces.shared;
  const int bytes = (pieces.count - 1) * pieces.shared_pitch + pieces.bytes;
  const int phase = address_modulo_16(begin);
  for (int offset = -phase + 16 * static_cast<int>(threadIdx.x); offset < bytes;
       offset += 16 * static_cast<int>(blockDim.x)) {
    float4* const place = reinterpret_cast<float4*>(begin + offset);
    const float4 values = *place;
    const SplitPair first = split_bf16_unlimited(values.x, values.y);
    const SplitPair second = split_bf16_unlimited(values.z, values.w);
    *reinterpret_cast<uint4*>(place) =
        kEven ? make_uint4(first.high, first.low, second.high, second.low)
              : make_uint4(__byte_perm(first.high, first.low, 0x1054),
                           __byte_perm(first.high, first.low, 0x3276),
                           __byte_perm(second.high, second.low, 0x1054),
                           __byte_perm(second.high, second.low, 0x3276));
  }
}

/// d = c + a * b, of fp32 one of the products of parts.
template <typename T>
__device__ __forceinline__ void multiply_band(float (&d)[4], const BandPair<T> (&a)[4],
                                              const BandPair<T> (&b)[2], int part_a, int part_b,
                                              const float (&c)[4]) {
  mma_m16n8k16<T>(
      d, make_uint4(a[0].parts[part_a], a[1].parts[part_a], a[2].parts[part_a], a[3].parts[part_a]),
      b[0].parts[part_b], b[1].parts[part_b], c);
}

/// Adds a source row to the sums of the result rows that it is part of, the latest first; each sum
/// moves on by a row.
/// @tparam kBegun  result rows that have begun
/// @param start    what a sum begins with
template <typename T, int kHeight, int kBegun = kHeight>
__device__ __forceinline__ void multiply_band_rows(float (&sums)[kHeight][4],
                                                   const BandPair<T> (&window)[4],
                                                   const Band<T, kHeight>& band,
                                                   const float (&start)[4]) {
  using Sum = const float (&)[4];
#pragma unroll
  for (int product = 0; product < (MmaTraits<T>::kParts == 1 ? 1 : 3); ++product) {
#pragma unroll
    for (int i = kBegun - 1; i >= 0; --i) {
      multiply_band<T>(sums[i], window, band.taps[i], product == 1, product == 2,
                       product > 0 ? static_cast<Sum>(sums[i])
                       : i == 0    ? start
                                   : static_cast<Sum>(sums[i - 1]));
    }
  }
}

template <typename T>
__device__ __forceinline__ void activate_results(float (&values)[4], Activation activation) {
  with_activation(activation, [&](auto kind) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[i] = ActivationFor<T, decltype(kind)>::forward(values[i]);
    }
  });
}

}  // namespace kernelopt
