// What a thread of a sliding-window kernel does with one row of the source: it loads its window
// of the row from shared memory, and adds it to the sums of the result rows that the row is part
// of.
#pragma once

#include "common/pairs16.cuh"
#include "common/piece_copy.cuh"

namespace kernelopt {

/// kCount neighbours of a row that lies in shared memory at any address. Loads are 16 bytes wide
/// and aligned, which has no bank conflicts where neighbouring threads own neighbouring units; what
/// they bring too much is shifted out. Elements outside the image read as 0.
template <typename T, int kCount>
struct RowWindow {
  static constexpr int kPerWord = 4 / sizeof(T);
  static constexpr int kWords = (kCount + kPerWord - 1) / kPerWord;
  static constexpr int kUnits = (kCount * sizeof(T) + (16 - sizeof(T)) + 15) / 16;

  uint32_t mask[kWords];
  float values[kWords * kPerWord];

  /// @param first  the window's first column
  /// @param width  of the image
  __device__ __forceinline__ void set_mask(int first, int width) {
#pragma unroll
    for (int word = 0; word < kWords; ++word) {
      mask[word] = 0;
#pragma unroll
      for (int part = 0; part < kPerWord; ++part) {
        const int column = first + word * kPerWord + part;
        const uint32_t bits = kPerWord == 1 ? ~0u : 0xffffu << (16 * part);
        mask[word] |= column >= 0 && column < width ? bits : 0;
      }
      asm volatile("" : "+r"(mask[word]));  // keeps the compiler from computing it for every row
    }
  }

  /// @param offset  of the window's first element in `shared`, which is aligned to 16 bytes
  template <bool kMasked = true>
  __device__ __forceinline__ void load(const unsigned char* shared, int offset) {
    constexpr int kRaw = 4 * kUnits;
    constexpr int kWide = kWords + (kPerWord == 2 ? 1 : 0);  // words a shift by half a word needs
    uint32_t raw[kRaw];
    constexpr int kAlignedUnits = (kCount * sizeof(T) + 15) / 16;  // of a window that is aligned
    const auto load_unit = [&](int unit) {
      const uint4 loaded = *reinterpret_cast<const uint4*>(shared + (offset & ~15) + 16 * unit);
      raw[4 * unit] = loaded.x;
      raw[4 * unit + 1] = loaded.y;
      raw[4 * unit + 2] = loaded.z;
      raw[4 * unit + 3] = loaded.w;
    };
#pragma unroll
    for (int unit = 0; unit < kAlignedUnits; ++unit) {
      load_unit(unit);
    }
    if ((offset & 15) != 0) {
#pragma unroll
      for (int unit = kAlignedUnits; unit < kUnits; ++unit) {
        load_unit(unit);
      }
      const bool by_two = (offset & 8) != 0, by_one = (offset & 4) != 0;
#pragma unroll
      for (int i = 0; i < kRaw - 2 && i <= kWide; ++i) {
        raw[i] = by_two ? raw[i + 2] : raw[i];
      }
#pragma unroll
      for (int i = 0; i < kRaw - 1 && i < kWide; ++i) {
        raw[i] = by_one ? raw[i + 1] : raw[i];
      }
      if constexpr (kPerWord == 2) {
        const int half = (offset & 2) * 8;
#pragma unroll
        for (int i = 0; i < kWords; ++i) {
          raw[i] = __funnelshift_r(raw[i], i + 1 < kRaw ? raw[i + 1] : 0, half);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const uint32_t word = kMasked ? raw[i] & mask[i] : raw[i];
      if constexpr (kPerWord == 1) {
        values[i] = __uint_as_float(word);
      } else {
        const float2 pair = unpack_pair<T>(word);
        values[2 * i] = pair.x;
        values[2 * i + 1] = pair.y;
      }
    }
  }
};

/// Sums of the kColumns results of a thread in every result row that the current source row is part
/// of, the latest row first. A step is kStride source rows: it begins one result row and ends one.
template <int kHeight, int kWidth, int kStride, int kColumns>
struct SlidingSums {
  static constexpr int kRows = (kHeight - 1) / kStride + 1;

  float taps[kHeight][kWidth];
  float start;  // what a sum begins with
  float sums[kRows][kColumns];

  __device__ __forceinline__ bool finite_taps() const {
    float zero = 0.0f;
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        zero += taps[i][j] * 0.0f;
      }
    }
    return zero == 0.0f;
  }

  __device__ __forceinline__ void reset() {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        sums[row][column] = start;
      }
    }
  }

  /// Adds row kPhase of a step; the step's first row moves every sum on by a result row.
  /// @param step   its number, from 0
  /// @param count  of result rows wanted; what is added to others is left out
  template <int kPhase>
  __device__ __forceinline__ void add(const float* values, int step, int count) {
#pragma unroll
    for (int row = kRows - 1; row >= 0; --row) {
      const int tap_row = row * kStride + kPhase;
      if (tap_row < kHeight && (kRows < 4 || (step >= row && step - row < count))) {
#pragma unroll
        for (int column = 0; column < kColumns; ++column) {
          float sum = kPhase > 0 ? sums[row][column] : row == 0 ? start : sums[row - 1][column];
#pragma unroll
          for (int j = 0; j < kWidth; ++j) {
            sum += taps[tap_row][j] * values[column * kStride + j];
          }
          sums[row][column] = sum;
        }
      }
    }
  }

  /// The same for a row outside the image.
  template <int kPhase>
  __device__ __forceinline__ void skip() {
    if constexpr (kPhase == 0) {
#pragma unroll
      for (int row = kRows - 1; row >= 0; --row) {
#pragma unroll
        for (int column = 0; column < kColumns; ++column) {
          sums[row][column] = row == 0 ? start : sums[row - 1][column];
        }
      }
    }
  }

  /// The results that a step has ended.
  __device__ __forceinline__ const float (&ended() const)[kColumns] { return sums[kRows - 1]; }
};

/// Writes `count` of kCount neighbouring results, 4, 8 or 16 bytes, to any address.
template <typename T, int kCount>
__device__ __forceinline__ void store_results(unsigned char* to, const float (&results)[kCount],
                                              int count) {
  constexpr int kWords = kCount * sizeof(T) / 4;
  static_assert(kWords == 1 || kWords == 2 || kWords == 4);
  const int phase = address_modulo_16(to);
  if (count >= kCount && phase % 4 == 0) {
    uint32_t words[kWords];
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      if constexpr (sizeof(T) == 4) {
        words[i] = __float_as_uint(results[i]);
      } else {
        words[i] = pack_pair<T>(results[2 * i], results[2 * i + 1]);
      }
    }
    if (kWords == 4 && phase == 0) {
      *reinterpret_cast<uint4*>(to) =
          make_uint4(words[0], words[1 % kWords], words[2 % kWords], words[kWords - 1]);
    } else if (kWords > 1 && phase % 8 == 0) {
#pragma unroll
      for (int i = 0; i < kWords; i += 2) {
        *reinterpret_cast<uint2*>(to + 4 * i) = make_uint2(words[i], words[(i + 1) % kWords]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        reinterpret_cast<uint32_t*>(to)[i] = words[i];
      }
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) {
      reinterpret_cast<T*>(to)[i] = from_accumulate<T>(results[i]);
    }
  }
}

}  // namespace kernelopt
