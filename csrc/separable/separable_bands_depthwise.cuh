// The depthwise half of the kernel of rows in 16 bit, on tensor cores: for each tap row
//   sums[16 units x 8 columns] += units[16 x 16] * band[16 x 8]
// where a unit is eight neighbouring columns of a channel's row and the column on either side, and
// the band has the taps: column k of a unit meets result n by tap k - n + 1. Includes no torch
// header.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/pairs16.cuh"
#include "separable/separable_bands_plan.h"
#include "separable/separable_rows_cursor.cuh"
#include "separable/separable_wgmma_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Arithmetic of two 16-bit values in a word.
template <typename T>
struct Pair16 {
  /// The larger ones; NaN where one is.
  static __device__ __forceinline__ uint32_t max_or_nan(uint32_t a, uint32_t b) {
    uint32_t result;
    if constexpr (std::is_same_v<T, __half>) {
      asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
    } else {
      asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
    }
    return result;
  }
  static __device__ __forceinline__ uint32_t lowest_result(Activation activation) {
    return activation == Activation::kRelu ? 0u
           : std::is_same_v<T, __half>     ? 0xfc00fc00u
                                           : 0xff80ff80u;
  }
};

/// A lane's fragments of a channel's bands.
struct SeparableBand {
  uint32_t words[3][2];  // of a tap row

  /// @param taps  the channel's, or null for none
  template <typename T>
  __device__ __forceinline__ void load(const T* taps, const T* bias) {
    const int lane = threadIdx.x % 32, q = lane % 4, n = lane / 4;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      uint32_t t[3];
#pragma unroll
      for (int j = 0; j < 3; ++j) {
        t[j] = taps == nullptr ? 0 : reinterpret_cast<const uint16_t*>(taps)[i * 3 + j];
      }
      const auto tap = [&](int j) { return j == 0 ? t[0] : j == 1 ? t[1] : j == 2 ? t[2] : 0; };
      words[i][0] = tap(2 * q - n + 1) | tap(2 * q - n + 2) << 16;
      // Behind the unit's columns: the one on its left, a 1, the one on its right.
      uint32_t rest = 0;
      if (q == 0 && n == 0) {
        rest = t[0] << 16;
      } else if (q == 1 && i == 0 && bias != nullptr) {
        rest = *reinterpret_cast<const uint16_t*>(bias);
      } else if (q == 3 && n == 7) {
        rest = t[2];
      }
      words[i][1] = rest;
    }
  }
};

/// A lane's fragment of 16 units: of their columns, and of those on either side, which other lanes
/// have no part in and keep what they have there.
struct SeparableUnits {
  uint32_t words[4];

  __device__ __forceinline__ uint4 fragment() const {
    return make_uint4(words[0], words[1], words[2], words[3]);
  }
  template <typename T>
  __device__ __forceinline__ void begin() {
    constexpr uint32_t kOne = std::is_same_v<T, __half> ? 0x3c00 : 0x3f80;
    words[2] = words[3] = threadIdx.x % 4 == 1 ? kOne : 0u;
  }
  /// @param beside  address of the column on the side, if the lane has one
  __device__ __forceinline__ void load(uint32_t address, uint32_t beside, bool has_side) {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "setp.ne.b32 p, %6, 0;\n"
        "ld.shared.b32 %0, [%4];\n"
        "ld.shared.b32 %1, [%4 + 128];\n"
        "@p ld.shared.b32 %2, [%5];\n"
        "@p ld.shared.b32 %3, [%5 + 128];\n"
        "}\n"
        : "=&r"(words[0]), "=&r"(words[1]), "+r"(words[2]), "+r"(words[3])
        : "r"(address), "r"(beside), "r"(static_cast<int>(has_side)));
  }
};

/// A warp's depthwise values of a row once more, without bands: a value that is not finite makes
/// its unit's others so.
/// @param operand  shared address of the row's operand
template <typename T, int kChunks>
__device__ __noinline__ void compute_bands_exactly(const SeparableBandsParams& p, int n, int y,
                                                   int first_channel, uint32_t operand) {
  using Shape = SeparableBandsShape;
  constexpr int kChannels = 2 * kChunks;
  const int lane = threadIdx.x % 32;
  const int height = p.problem.h.input_size, width = p.problem.w.input_size;
  const int tile_x = static_cast<int>(blockIdx.x) % p.tiles_x * Shape::kColumns;
#pragma unroll 1
  for (int item = lane; item < kChannels * Shape::kColumns; item += 32) {
    const int c = first_channel + item / Shape::kColumns, column = item % Shape::kColumns;
    float sum = 0;
    if (c < p.problem.channels) {
      const T* taps = static_cast<const T*>(p.problem.depthwise_weight) + c * 9;
      const T* bias = static_cast<const T*>(p.problem.depthwise_bias);
      const T* source = static_cast<const T*>(p.problem.input) +
                        (static_cast<int64_t>(n) * p.problem.channels + c) * height * width;
      sum = bias == nullptr ? 0.0f : to_accumulate(bias[c]);
#pragma unroll 1
      for (int tap = 0; tap < 9; ++tap) {
        const int at_y = y - p.problem.h.padding + tap / 3, at_x = tile_x + column - 1 + tap % 3;
        if (at_y >= 0 && at_y < height && at_x >= 0 && at_x < width) {
          sum = fmaf(to_accumulate(taps[tap]), to_accumulate(source[at_y * width + at_x]), sum);
        }
      }
    }
    const uint32_t value = Pair16<T>::max_or_nan(
        pack_pair<T>(sum, sum), Pair16<T>::lowest_result(p.problem.depthwise_activation));
    const uint32_t place = operand + column / Shape::kPanel * Shape::panel_bytes(kChunks) +
                           c * 128 + ((column % Shape::kPanel / 8 ^ c % 8) << 4) + column % 8 * 2;
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(place), "h"(static_cast<uint16_t>(value))
                 : "memory");
  }
}

/// Starts the copy of the row that is p.stages rows ahead of a segment's row, or of its last one,
/// in the next segment. Images have as many rows at least.
/// @param row    0 for the one above the segment's first
/// @param place  the row's own
template <int kChunks>
__device__ __forceinline__ void load_ahead(const SeparableBandsParams& p, const void* map,
                                           const SeparableRowsCursor& cursor, int rows, int row,
                                           RingPlace place, uint32_t stages, uint32_t full,
                                           uint32_t empty) {
  using Shape = SeparableBandsShape;
  constexpr int kBytes = Shape::stage_bytes(kChunks);
  const int x = static_cast<int>(blockIdx.x) % p.tiles_x * Shape::kColumns - Shape::kStageHead;
  int y = cursor.y + row + p.stages, n = cursor.n;
  const int behind = row + p.stages - Shape::steps(rows);
  if (behind >= 0) {
    const int next = static_cast<int>(
        min(cursor.end - cursor.row - rows, static_cast<int64_t>(p.problem.h.output_size)));
    if (next <= 0 || behind >= Shape::steps(next)) {
      return;
    }
    y = behind;
    ++n;
  }
  const int begin[4] = {x, y - p.problem.h.padding, 0, n};
  mbarrier_wait(empty + place.index * 8, place.parity);
  mbarrier_arrive_expect(full + place.index * 8, kBytes);
  tensor_load(stages + place.index * kBytes, map, begin, full + place.index * 8);
}

/// The operand warps' walk: two rows of results at a time, out of four of the input.
/// @param full, empty                  barriers of the stages
/// @param operand_full, operand_empty  of the operands
template <typename T, int kChunks>
__device__ __forceinline__ void slide_separable_bands(const SeparableBandsParams& p,
                                                      const void* map, uint32_t stages,
                                                      uint32_t operands, uint32_t full,
                                                      uint32_t empty, uint32_t operand_full,
                                                      uint32_t operand_empty) {
  using Shape = SeparableBandsShape;
  constexpr int kChannels = 2 * kChunks, kSources = Shape::kRows + 2;
  constexpr int kStageBytes = Shape::stage_bytes(kChunks);
  constexpr int kOperandBytes = Shape::operand_bytes(kChunks);
  constexpr int kPanelBytes = Shape::panel_bytes(kChunks);
  const int thread = threadIdx.x % Shape::kOperandThreads, lane = thread % 32;
  const int first_channel = thread / 32 * kChannels;
  const uint32_t lowest = Pair16<T>::lowest_result(p.problem.depthwise_activation);
  SeparableBand bands[kChannels];
#pragma unroll
  for (int k = 0; k < kChannels; ++k) {
    const int c = first_channel + k;
    const bool inside = c < p.problem.channels;
    const T* bias = static_cast<const T*>(p.problem.depthwise_bias);
    bands[k].load(inside ? static_cast<const T*>(p.problem.depthwise_weight) + c * 9 : nullptr,
                  inside && bias != nullptr ? bias + c : nullptr);
  }
  const uint32_t own =
      stages + first_channel * Shape::kStagePitch + Shape::kStageHead * 2 + lane * 4;
  const uint32_t side = lane % 4 == 0 ? -4 : 4;
  const bool has_side = lane % 4 == 0 || lane % 4 == 3;
  // Row c of a panel is a channel, its 16-byte unit u at u ^ c % 8. Lanes 0 to 15 have the first of
  // two channels, eight of them a panel.
  const int row = first_channel + lane / 16;
  const uint32_t target =
      operands + lane / 8 % 2 * kPanelBytes + row * 128 + ((lane % 8 ^ row % 8) << 4);

  SeparableUnits units[kSources];
#pragma unroll
  for (int i = 0; i < kSources; ++i) {
    units[i].begin<T>();
  }
  RingPlace stage{0, 0}, operand{0, 1};
  SeparableRowsCursor cursor(p);
  if (thread == 0) {
    for (int i = 0; i < p.stages; ++i) {
      load_ahead<kChunks>(p, map, cursor, cursor.segment(p), i - p.stages, RingPlace{i, 1}, stages,
                          full, empty);
    }
  }
  while (cursor.inside()) {
    const int rows = cursor.segment(p);
#pragma unroll 1
    for (int step = 0; step < rows; step += Shape::kRows) {
      uint32_t from[kSources], to[Shape::kRows];
      RingPlace place = stage;
#pragma unroll
      for (int i = 0; i < kSources; ++i) {
        mbarrier_wait(full + place.index * 8, place.parity);
        from[i] = own + place.index * kStageBytes;
        place.advance(1, p.stages);
      }
      RingPlace second = operand;
      second.advance(1, Shape::kOperands);
      mbarrier_wait(operand_empty + operand.index * 8, operand.parity);
      mbarrier_wait(operand_empty + second.index * 8, second.parity);
      to[0] = target + operand.index * kOperandBytes;
      to[1] = target + second.index * kOperandBytes;
      uint32_t probe = 0, words[Shape::kRows][4];
#pragma unroll
      for (int k = 0; k < kChannels; ++k) {
#pragma unroll
        for (int i = 0; i < kSources; ++i) {
          const uint32_t address = from[i] + k * Shape::kStagePitch;
          units[i].load(address, address + side, has_side);
        }
#pragma unroll
        for (int r = 0; r < Shape::kRows; ++r) {
          float results[4] = {0, 0, 0, 0};
#pragma unroll
          for (int i = 0; i < 3; ++i) {
            mma_m16n8k16<T>(results, units[r + i].fragment(), bands[k].words[i][0],
                            bands[k].words[i][1]);
          }
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            uint32_t& word = words[r][k % 2 * 2 + i];
            word = Pair16<T>::max_or_nan(pack_pair<T>(results[2 * i], results[2 * i + 1]), lowest);
            probe_pair<T>(probe, word);
          }
          if (k % 2 == 1) {
            store_blocks((to[r] ^ (k - 1) << 4) + (k - 1) * 128, words[r]);
          }
        }
      }
      if (__any_sync(0xffffffffu, (probe & 0x7fff7fffu) != 0)) {
        __syncwarp();
#pragma unroll 1
        for (int r = 0; r < min(Shape::kRows, rows - step); ++r) {
          compute_bands_exactly<T, kChunks>(
              p, cursor.n, cursor.y + step + r, first_channel,
              operands + (r == 0 ? operand.index : second.index) * kOperandBytes);
        }
      }
      const bool both = step + 1 < rows;
      fence_async_proxy();
      __syncwarp();
      // The last rows of a segment are no one else's.
      const int ended = step + Shape::kRows < rows ? Shape::kRows : kSources;
      if (lane == 0) {
        mbarrier_arrive(operand_full + operand.index * 8);
        if (both) {
          mbarrier_arrive(operand_full + second.index * 8);
        }
        place = stage;
        for (int i = 0; i < ended; ++i) {
          mbarrier_arrive(empty + place.index * 8);
          place.advance(1, p.stages);
        }
      }
      operand.advance(both ? 2 : 1, Shape::kOperands);
      if (thread == 0) {
        place = stage;
        for (int i = 0; i < ended; ++i) {
          load_ahead<kChunks>(p, map, cursor, rows, step + i, place, stages, full, empty);
          place.advance(1, p.stages);
        }
      }
      stage.advance(ended, p.stages);
    }
    cursor.advance(p, rows);
  }
}

#endif

}  // namespace kernelopt
