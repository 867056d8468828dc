// The inner loop of the sliding kernel where windows lie at aligned addresses: rows of whole
// 16-byte units, and no padding or half a kernel of it. Against the general loop it has no shifts,
// masks for the padding alone, tests for rows outside the image in a slide's first and last steps
// alone, and products of the thread's own results alone.
#pragma once

#include "common/row_window.cuh"

namespace kernelopt {

template <int kWords>
__device__ __forceinline__ void load_words(uint32_t* words, const unsigned char* from) {
  static_assert(kWords == 0 || kWords == 1 || kWords == 2 || kWords == 4);
  if constexpr (kWords == 1) {
    words[0] = *reinterpret_cast<const uint32_t*>(from);
  } else if constexpr (kWords == 2) {
    const uint2 loaded = *reinterpret_cast<const uint2*>(from);
    words[0] = loaded.x;
    words[1] = loaded.y;
  } else if constexpr (kWords == 4) {
    const uint4 loaded = *reinterpret_cast<const uint4*>(from);
    words[0] = loaded.x;
    words[1] = loaded.y;
    words[2] = loaded.z;
    words[3] = loaded.w;
  }
}

/// Words that one load brings for so many bytes, at most 16.
constexpr int load_size(int bytes) { return bytes == 0 ? 0 : bytes <= 4 ? 1 : bytes <= 8 ? 2 : 4; }

/// store_results where that has a word's alignment: fewer bank conflicts beside the 16-byte units,
/// and words for the last columns of a row.
template <typename T, int kCount>
__device__ __forceinline__ void store_aligned_results(unsigned char* to,
                                                      const float (&results)[kCount], int count) {
  constexpr int kPerWord = 4 / sizeof(T);
  static_assert(kCount == 4 * kPerWord);
  const int phase = address_modulo_16(to);
  if (phase % 4 != 0) {
    store_results<T>(to, results, count);
    return;
  }
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4) {
      words[i] = __float_as_uint(results[i]);
    } else {
      words[i] = pack_pair<T>(results[2 * i], results[2 * i + 1]);
    }
  }
  uint32_t* const out = reinterpret_cast<uint32_t*>(to);
  if (count < kCount) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      if ((i + 1) * kPerWord <= count) {
        out[i] = words[i];
      }
    }
    if (kPerWord == 2 && count % 2 != 0) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (count == 2 * i + 1) {
          reinterpret_cast<T*>(to)[2 * i] = from_accumulate<T>(results[2 * i]);
        }
      }
    }
  } else if (phase == 0) {
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  } else if (phase == 8) {
    *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
    *reinterpret_cast<uint2*>(to + 8) = make_uint2(words[2], words[3]);
  } else {
    out[0] = words[0];
    *reinterpret_cast<uint2*>(out + 1) = make_uint2(words[1], words[2]);
    out[3] = words[3];
  }
}

__device__ __forceinline__ void store_two(uint32_t to, float first, float second) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(first), "f"(second) : "memory");
}

/// Four fp32 results of rows without padding, most of which are whole pairs off every other unit:
/// branches, where the compiler made a table of store_aligned_results.
__device__ __forceinline__ void store_quad(uint32_t to, const float (&results)[4], int count) {
  if (to % 8 != 0 || count % 2 != 0) {
    asm volatile("");
    store_aligned_results<float>(static_cast<unsigned char*>(__cvta_shared_to_generic(to)), results,
                                 count);
  } else if (to % 16 == 0) {
    asm volatile("");
    if (count >= 4) {
      asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(results[0]),
                   "f"(results[1]), "f"(results[2]), "f"(results[3])
                   : "memory");
    } else {
      store_two(to, results[0], results[1]);
    }
  } else {
    asm volatile("");
    store_two(to, results[0], results[1]);
    if (count >= 4) {
      store_two(to + 8, results[2], results[3]);
    }
  }
}

/// @tparam kLead  columns of padding: 0, or half the kernel, where results are as many as columns
///                of the source
template <typename T, int kHeight, int kWidth, int kVec, int kLead>
struct AlignedSlide {
  using Sums = SlidingSums<kHeight, kWidth, 1, kVec>;
  static constexpr int kPerWord = 4 / sizeof(T);
  static constexpr int kReach = kVec + kWidth - 1;
  // Beside a thread's own 16 bytes, which the columns of its results are.
  static constexpr int kLeftWords = load_size(kLead * sizeof(T));
  static constexpr int kRightBytes = (kWidth - 1 - kLead) * sizeof(T);
  static constexpr int kRightUnits = kRightBytes / 16;
  static constexpr int kRestWords = load_size(kRightBytes % 16);
  static constexpr int kWords = kLeftWords + 4 + 4 * kRightUnits + kRestWords;
  static_assert(kVec * sizeof(T) == 16 && kLead <= kVec);

  const unsigned char* row;  // the thread's own 16 bytes of it
  int pitch;
  bool first, last;  // columns of the image, where the padding begins
  uint32_t raw[kWords];
  float values[kReach];

  __device__ __forceinline__ void load() {
    load_words<kLeftWords>(raw, row - 4 * kLeftWords);
#pragma unroll
    for (int unit = 0; unit <= kRightUnits; ++unit) {
      load_words<4>(raw + kLeftWords + 4 * unit, row + 16 * unit);
    }
    load_words<kRestWords>(raw + kWords - kRestWords, row + 16 * (1 + kRightUnits));
    row += pitch;
  }

  __device__ __forceinline__ void unpack() {
    float all[kWords * kPerWord];
#pragma unroll
    for (int word = 0; word < kWords; ++word) {
      if constexpr (kPerWord == 1) {
        all[word] = __uint_as_float(raw[word]);
      } else {
        const float2 pair = unpack_pair<T>(raw[word]);
        all[2 * word] = pair.x;
        all[2 * word + 1] = pair.y;
      }
    }
#pragma unroll
    for (int i = 0; i < kReach; ++i) {
      const float value = all[kLeftWords * kPerWord - kLead + i];
      const bool outside = kLead > 0 && (i < kLead ? first : i >= kLead + kVec ? last : false);
      values[i] = outside ? 0.0f : value;
    }
  }

  /// Moves sums on by a result row and adds the row to those from kFirst to kLast.
  template <int kFirst, int kLast>
  __device__ __forceinline__ void add(Sums& sums, bool skips) const {
#pragma unroll
    for (int row = kLast; row >= kFirst; --row) {
#pragma unroll
      for (int column = 0; column < kVec; ++column) {
        float sum = row == 0 ? sums.start : sums.sums[row - 1][column];
        if (!skips) {
#pragma unroll
          for (int j = 0; j < kWidth; ++j) {
            sum += sums.taps[row][j] * values[column + j];
          }
        }
        sums.sums[row][column] = sum;
      }
    }
  }

  /// A step whose row may lie outside the image.
  template <int kFirst, int kLast>
  __device__ __forceinline__ void step(Sums& sums, bool inside) {
    if (inside) {
      load();
      unpack();
      add<kFirst, kLast>(sums, false);
    } else {
      asm volatile("");  // keeps the moves in a branch of their own
      row += pitch;
      add<kFirst, kLast>(sums, true);
    }
  }

  /// Slides over `rows` result rows, none where that is 0, from row y of the source on, which is at
  /// most kHeight - 1 rows outside the image; calls `finish()` with every result row's sums.
  template <typename Finish>
  __device__ __forceinline__ void run(Sums& sums, int y, int begin, int end, int rows,
                                      Finish&& finish) {
    static_assert(kHeight == 2 || kHeight == 3);
    constexpr int kEnd = kHeight - 1;
    if (rows == 0) {
      return;
    }
    const auto inside = [&](int source_row) { return source_row >= begin && source_row < end; };
    step<0, 0>(sums, inside(y));
    if constexpr (kHeight == 3) {
      step<0, 1>(sums, inside(y + 1));
    }
    if (rows > kEnd) {
      load();
#pragma unroll 1
      for (int left = rows - kEnd - 1; left >= 0; --left) {
        unpack();
        if (left > 0) {
          load();  // the next row, beside this one's products
        }
        add<0, kEnd>(sums, false);
        finish();
      }
    }
    if (rows >= kEnd) {
      step<1, kEnd>(sums, inside(y + rows));
      finish();
    }
    if constexpr (kHeight == 3) {
      step<2, kEnd>(sums, inside(y + rows + 1));
      finish();
    }
  }
};

}  // namespace kernelopt
