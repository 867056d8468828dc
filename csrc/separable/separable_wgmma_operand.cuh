// The operand warps of the separable kernel: depthwise values of 16 channels of a tile, computed
// from a stage of raw input, become the pixels' rows of a product's operand. The two warpgroups
// take turns. A thread owns eight channels of a column of pixels.
#pragma once

#include "common/row_window.cuh"
#include "separable/separable_wgmma_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// What an operand thread reads of a stage.
struct SeparableWindow {
  uint32_t source;    // shared address of its first channel, first row
  uint32_t taps;      // of its first channel's
  int pitch;          // bytes of a row
  int channel_bytes;  // of a channel's rows
  int row_parity;     // of the first channel's first row; with odd_rows
  int y, x;           // input coordinates of the first row and column
};

template <int kCount>
__device__ __forceinline__ void load_shared_floats(float (&values)[kCount], uint32_t address) {
  static_assert(kCount % 4 == 0);
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(values[i]), "=f"(values[i + 1]), "=f"(values[i + 2]), "=f"(values[i + 3])
                 : "r"(address + i * 4));
  }
}

__device__ __forceinline__ void store_shared_words(uint32_t address, const uint32_t (&words)[4]) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(words[0]),
               "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
}
__device__ __forceinline__ void store_shared_words(uint32_t address, const uint32_t (&words)[2]) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(address), "r"(words[0]), "r"(words[1])
               : "memory");
}

/// Sums of kChannels channels of a thread's pixels.
template <int kChannels>
using OperandSums = float[kChannels][SeparableWgmmaShape::kThreadRows];

/// Sums of a kernel size and stride known at compile time, dilation 1: a row's values are added to
/// every sum they are part of.
template <typename T, int kHeight, int kWidth, int kStride, bool kOddRows, int kChannels>
__device__ __forceinline__ void add_sliding(const SeparableWgmmaParams& p,
                                            const SeparableWindow& window,
                                            OperandSums<kChannels>& sums) {
  constexpr int kRows = SeparableWgmmaShape::kThreadRows;
  constexpr int kTaps = kHeight * kWidth, kPadded = (kTaps + 1 + 3) / 4 * 4;
  constexpr int kSize = static_cast<int>(sizeof(T));
  const int row_flip = kOddRows ? (p.problem.w.input_size & 1) * kSize : 0;
  const int channel_flip = kOddRows && (p.problem.h.input_size & 1) != 0 ? row_flip : 0;
  int first_shift = kOddRows ? window.row_parity * kSize : 0;
#pragma unroll
  for (int k = 0; k < kChannels; ++k) {
    float taps[kPadded];
    load_shared_floats(taps, window.taps + k * (kPadded * 4));
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      sums[k][o] = taps[kTaps];
    }
    uint32_t row = window.source + k * window.channel_bytes;
    int shift = first_shift;
#pragma unroll
    for (int r = 0; r < (kRows - 1) * kStride + kHeight; ++r) {
      float values[kWidth];
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        values[j] = load_shared_element<T>(row + shift + j * kSize);
      }
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
        const int i = r - o * kStride;
        if (i >= 0 && i < kHeight) {
#pragma unroll
          for (int j = 0; j < kWidth; ++j) {
            sums[k][o] = fmaf(taps[i * kWidth + j], values[j], sums[k][o]);
          }
        }
      }
      row += window.pitch;
      shift ^= row_flip;
    }
    first_shift ^= channel_flip;
  }
}

/// Sums of any kernel; taps that lie outside the image take no part, be they finite or not.
template <typename T, bool kOddRows, int kChannels>
__device__ __forceinline__ void add_any(const SeparableWgmmaParams& p,
                                        const SeparableWindow& window,
                                        OperandSums<kChannels>& sums) {
  constexpr int kRows = SeparableWgmmaShape::kThreadRows;
  constexpr int kSize = static_cast<int>(sizeof(T));
  const SeparableAxis &h = p.problem.h, &w = p.problem.w;
#pragma unroll
  for (int k = 0; k < kChannels; ++k) {
    float bias;
    asm volatile("ld.shared.f32 %0, [%1];"
                 : "=f"(bias)
                 : "r"(window.taps + (k * p.tap_pitch + h.kernel_size * w.kernel_size) * 4));
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      sums[k][o] = bias;
    }
  }
  uint32_t tap = window.taps;
#pragma unroll 1
  for (int i = 0; i < h.kernel_size; ++i) {
#pragma unroll 1
    for (int j = 0; j < w.kernel_size; ++j, tap += 4) {
      const int x = window.x + j * w.dilation;
      if (x < 0 || x >= w.input_size) {
        continue;
      }
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
        const int row = i * h.dilation + o * h.stride, y = window.y + row;
        if (y >= 0 && y < h.input_size) {
          uint32_t value = window.source + row * window.pitch + j * w.dilation * kSize;
#pragma unroll
          for (int k = 0; k < kChannels; ++k) {
            int shift = 0;
            if (kOddRows) {
              shift = ((window.row_parity + (k * h.input_size + row) * w.input_size) & 1) * kSize;
            }
            float factor;
            asm volatile("ld.shared.f32 %0, [%1];" : "=f"(factor) : "r"(tap + k * p.tap_pitch * 4));
            sums[k][o] = fmaf(factor, load_shared_element<T>(value + shift), sums[k][o]);
            value += window.channel_bytes;
          }
        }
      }
    }
  }
}

/// Activation, rounding or split in two bf16 parts: a thread's pixels become rows of the operand.
/// @param operand  shared address of the thread's channels
/// @param pixel    the thread's first, `width` from one to the next
template <typename T, int kChannels>
__device__ __forceinline__ void write_operand(OperandSums<kChannels>& sums, Activation activation,
                                              uint32_t operand, int pixel, int width, int rows) {
  using Shape = SeparableWgmmaShape;
  using Layout = SeparableOperandLayout<T>;
  if (activation != Activation::kNone) {
    asm volatile("");  // keeps the test a branch of its own
    with_activation(activation, [&](auto kind) {
#pragma unroll
      for (int k = 0; k < kChannels; ++k) {
#pragma unroll
        for (int o = 0; o < Shape::kThreadRows; ++o) {
          sums[k][o] = decltype(kind)::forward(sums[k][o]);
        }
      }
    });
  }
#pragma unroll
  for (int o = 0; o < Shape::kThreadRows; ++o) {
    if (o < rows) {
      const uint32_t unit = operand + Layout::pixel_unit(pixel + o * width) * 16;
      uint32_t high[kChannels / 2], low[kChannels / 2];
#pragma unroll
      for (int i = 0; i < kChannels / 2; ++i) {
        if constexpr (MmaTraits<T>::kParts == 2) {
          const SplitPair pair = split_bf16_unlimited(sums[2 * i][o], sums[2 * i + 1][o]);
          high[i] = pair.high;
          low[i] = pair.low;
        } else {
          high[i] = pack_pair<T>(sums[2 * i][o], sums[2 * i + 1][o]);
        }
      }
      store_shared_words(unit, high);
      if constexpr (MmaTraits<T>::kParts == 2) {
        store_shared_words(unit + Layout::kPartUnits * 16, low);
      }
    }
  }
}

/// How sums are computed: kernel sizes and strides that have code of their own. More taps than 3 x
/// 3 leave registers for half of a thread's channels at a time.
enum class OperandKind { kThree, kThreeStrided, kFive, kAny };

__device__ __forceinline__ OperandKind operand_kind(const SeparableAxis& h, const SeparableAxis& w,
                                                    bool finite_taps) {
  const bool plain = finite_taps && h.kernel_size == w.kernel_size && h.stride == w.stride &&
                     h.dilation == 1 && w.dilation == 1;
  if (plain && h.kernel_size == 3 && h.stride <= 2) {
    return h.stride == 1 ? OperandKind::kThree : OperandKind::kThreeStrided;
  }
  return plain && h.kernel_size == 5 && h.stride == 1 ? OperandKind::kFive : OperandKind::kAny;
}

/// The operand warps' walk.
/// @tparam kBoxes  whether stages are boxes, which these warps load
/// @param finite   whether all taps are
template <typename T, bool kBoxes, bool kOddRows>
__device__ __forceinline__ void compute_separable_operands(const SeparableWgmmaParams& p,
                                                           const SeparableWgmmaMaps& maps,
                                                           int warpgroup, uint32_t stages,
                                                           uint32_t taps, uint32_t operands,
                                                           uint32_t barriers, bool finite) {
  using Shape = SeparableWgmmaShape;
  using Layout = SeparableOperandLayout<T>;
  constexpr int kSize = static_cast<int>(sizeof(T));
  constexpr int kOperandBytes = MmaTraits<T>::kParts * Layout::kPartUnits * 16;
  const SeparableAxis &h = p.problem.h, &w = p.problem.w;
  const uint32_t full = barriers, empty = full + p.stages * 8;
  const uint32_t operand_full = empty + p.stages * 8, operand_empty = operand_full + p.operands * 8;
  const int thread = threadIdx.x % 128, lane = threadIdx.x % 32;
  const OperandKind kind = operand_kind(h, w, finite);
  const Activation activation = p.problem.depthwise_activation;
  const int groups = (p.tile_height + Shape::kThreadRows - 1) / Shape::kThreadRows;
  const int items = 2 * groups * p.tile_width;
  SeparableWindow window;
  window.pitch = p.units * p.unit_bytes;
  window.channel_bytes = p.rows * window.pitch;
  RingPlace stage{0, 0}, operand{0, 1};
  stage.advance(warpgroup, p.stages);
  operand.advance(warpgroup, p.operands);
  int chunk = warpgroup;
  SeparableBoxes<T> boxes(p, warpgroup);
  if (kBoxes && thread == 0) {
    for (int i = 0; i < p.stages / 2; ++i) {
      boxes.start(p, maps, stages, full, empty);
    }
  }
  for (SeparableTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const int place = window_place(p, p.unit_bytes / kSize, cursor.x);
    for (; chunk < p.chunks; chunk += 2) {
      mbarrier_wait(full + stage.index * 8, stage.parity);
      mbarrier_wait(operand_empty + operand.index * 8, operand.parity);
      for (int item = thread; item < items; item += 128) {
        const int line = static_cast<int>(__umulhi(item, p.width_inverse));
        const int x = item - line * p.tile_width;
        const int octet = line >= groups ? 1 : 0;
        const int row = (line - octet * groups) * Shape::kThreadRows;
        window.source = stages + stage.index * p.stage_bytes + octet * 8 * window.channel_bytes +
                        row * h.stride * window.pitch + (place + x * w.stride) * kSize;
        window.taps = taps + (chunk * Shape::kChunkChannels + octet * 8) * p.tap_pitch * 4;
        window.y = (cursor.y + row) * h.stride - h.padding;
        window.x = (cursor.x + x) * w.stride - w.padding;
        if (kOddRows) {
          window.row_parity = row_parity<T>(
              p, (cursor.n * p.problem.channels + chunk * Shape::kChunkChannels + octet * 8) *
                         h.input_size +
                     window.y);
        }
        const uint32_t rows_of_octet =
            operands + operand.index * kOperandBytes + octet * Layout::kOctetUnits * 16;
        const int pixel = row * p.tile_width + x, rows = p.tile_height - row;
        if (kind == OperandKind::kThree || kind == OperandKind::kThreeStrided) {
          OperandSums<8> sums;
          if (kind == OperandKind::kThree) {
            add_sliding<T, 3, 3, 1, kOddRows>(p, window, sums);
          } else {
            add_sliding<T, 3, 3, 2, kOddRows>(p, window, sums);
          }
          write_operand<T>(sums, activation, rows_of_octet, pixel, p.tile_width, rows);
          continue;
        }
#pragma unroll 1
        for (int half = 0; half < 2; ++half) {
          OperandSums<4> sums;
          if (kind == OperandKind::kFive) {
            add_sliding<T, 5, 5, 1, kOddRows>(p, window, sums);
          } else {
            add_any<T, kOddRows>(p, window, sums);
          }
          write_operand<T>(sums, activation, rows_of_octet + half * 8, pixel, p.tile_width, rows);
          window.source += 4 * window.channel_bytes;
          window.taps += 4 * p.tap_pitch * 4;
        }
      }
      fence_async_proxy();
      __syncwarp();
      if (lane == 0) {
        mbarrier_arrive(empty + stage.index * 8);
        mbarrier_arrive(operand_full + operand.index * 8);
      }
      if (kBoxes && thread == 0) {
        boxes.start(p, maps, stages, full, empty);
      }
      stage.advance(2, p.stages);
      operand.advance(2, p.operands);
    }
    chunk -= p.chunks;
  }
}

#endif

}  // namespace kernelopt
