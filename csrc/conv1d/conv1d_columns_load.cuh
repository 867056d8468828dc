// How a block of the columns kernel loads an operand: kColumnsChannels channels of it at a time
// through registers, into shared memory as [channel][column], fp32 as its two bf16 parts.
#pragma once

#include "conv1d/conv1d_columns_plan.h"

namespace kernelopt {

/// A thread's share of an operand with kColumns columns: rows of a single column, or of 16 bytes of
/// columns. Tap t of a column is `tap_stride` elements from tap t - 1, and there where its place,
/// `first` + t * `place_step`, is in [0, limit).
template <typename T, int kColumns>
struct ColumnsOperand {
  static constexpr int kParts = MmaTraits<T>::kParts;
  static constexpr int kVector = 16 / sizeof(T);
  static constexpr int kElements = kColumnsChannels * kColumns / kColumnsThreads;  // of a thread
  static constexpr bool kMayVector = kElements >= kVector;
  static constexpr int kWords = kMayVector ? kElements / kVector * 4 : kElements;
  // 16 bytes more than the columns put the rows that ldmatrix reads in different banks.
  static constexpr int kPitch = kColumns + 8;
  static constexpr int kPartElements = kColumnsChannels * kPitch;
  static constexpr int kTileElements = kParts * kPartElements;  // of 16 bits

  const T* source;  // the thread's column in channel 0
  int64_t channel_stride, tap_stride;
  int first, place_step, limit;
  bool vector;
  uint32_t held[kElements > kWords ? kElements : kWords];

  /// The thread's column, and of its rows the first and the step from one to the next.
  static __device__ __forceinline__ int column(bool vector) {
    return vector ? static_cast<int>(threadIdx.x) % (kColumns / kVector) * kVector
                  : static_cast<int>(threadIdx.x) % kColumns;
  }
  static __device__ __forceinline__ int row(bool vector) {
    return static_cast<int>(threadIdx.x) / (vector ? kColumns / kVector : kColumns);
  }
  static constexpr int kRowStep = kColumnsThreads / kColumns;
  static constexpr int kVectorRowStep = kColumnsThreads * kVector / kColumns;

  /// Reads channels from `channel` on, below `end`, at a tap; zeros for what is not there.
  __device__ __forceinline__ void load(int channel, int end, int tap) {
    const bool there =
        static_cast<unsigned>(first + tap * place_step) < static_cast<unsigned>(limit);
    const int left = there ? end - channel - row(vector) : 0;  // of the thread's rows
    const T* from = source + (channel + row(vector)) * channel_stride + tap * tap_stride;
    if (kMayVector && vector) {
#pragma unroll
      for (int i = 0; i < kElements / kVector; ++i) {
        const uint4 words =
            i * kVectorRowStep < left ? __ldg(reinterpret_cast<const uint4*>(from)) : uint4{};
        held[i * 4] = words.x;
        held[i * 4 + 1] = words.y;
        held[i * 4 + 2] = words.z;
        held[i * 4 + 3] = words.w;
        from += kVectorRowStep * channel_stride;
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      held[i] = 0;
      if (i * kRowStep < left) {
        if constexpr (kParts == 2) {
          held[i] = __ldg(reinterpret_cast<const uint32_t*>(from));
        } else {
          held[i] = __ldg(reinterpret_cast<const uint16_t*>(from));
        }
      }
      from += kRowStep * channel_stride;
    }
  }

  __device__ __forceinline__ void store(uint16_t* tile) const {
    uint16_t* to = tile + row(vector) * kPitch + column(vector);
    if (kMayVector && vector) {
#pragma unroll
      for (int i = 0; i < kElements / kVector; ++i) {
        const uint32_t* words = held + i * 4;
        if constexpr (kParts == 2) {
          const SplitPair low =
              split_bf16_unlimited(__uint_as_float(words[0]), __uint_as_float(words[1]));
          const SplitPair high =
              split_bf16_unlimited(__uint_as_float(words[2]), __uint_as_float(words[3]));
          *reinterpret_cast<uint2*>(to) = {low.high, high.high};
          *reinterpret_cast<uint2*>(to + kPartElements) = {low.low, high.low};
        } else {
          *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
        }
        to += kVectorRowStep * kPitch;
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      if constexpr (kParts == 2) {
        const SplitPair pair = split_bf16_unlimited(__uint_as_float(held[i]), 0.0f);
        *to = static_cast<uint16_t>(pair.high);
        to[kPartElements] = static_cast<uint16_t>(pair.low);
      } else {
        *to = static_cast<uint16_t>(held[i]);
      }
      to += kRowStep * kPitch;
    }
  }
};

}  // namespace kernelopt
