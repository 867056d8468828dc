// How the tensor-core weight gradient brings rows of a tensor into shared memory as packed pairs of
// neighbours: a fetch into registers one step ahead, and a store that splits fp32 in bf16 parts.
// Rows may start anywhere: pairs are fetched as they are aligned in memory, and where a row begins
// inside one, its pairs are put together out of neighbouring lanes'. A row that is not in the
// tensor belongs to no result, so it is not stored at all. Includes no torch header.
#pragma once

#include "common/mma.cuh"
#include "conv1d/weight_gradient_mma_params.h"

namespace kernelopt {

/// The loading warps are a block's last.
__device__ __forceinline__ int loading_warp() {
  return static_cast<int>((threadIdx.x - (blockDim.x - kGradientLoadingWarps * 32)) / 32);
}

/// 1 where an element is the second of an aligned pair.
template <typename T>
__device__ __forceinline__ int pair_lead(const T* element) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(element) / sizeof(T) % 2);
}

__device__ __forceinline__ bool inside(int position, int length) {
  return static_cast<unsigned>(position) < static_cast<unsigned>(length);
}

/// Two neighbouring elements, and as the products read them: one word, or two for fp32.
template <typename T>
struct ElementPair {
  uint32_t word;

  __device__ __forceinline__ void load(const T* aligned) {
    word = __ldg(reinterpret_cast<const uint32_t*>(aligned));
  }
  /// Of a row's end only what is inside, in the low half: finish_edge() moves it, later, when the
  /// value has arrived.
  __device__ __forceinline__ void load_edge(const T* row, int position, int length) {
    word = 0;
    if (inside(position, length) || inside(position + 1, length)) {
      const int at = inside(position, length) ? position : position + 1;
      word = __ldg(reinterpret_cast<const uint16_t*>(row + at));
    }
  }
  __device__ __forceinline__ void finish_edge(bool second_only) { word <<= second_only ? 16 : 0; }
  __device__ __forceinline__ void set(T first, T second) {
    word = __byte_perm(reinterpret_cast<const uint16_t&>(first),
                       reinterpret_cast<const uint16_t&>(second), 0x5410);
  }
  /// The second element, and the first of the next pair.
  __device__ __forceinline__ void shift(uint32_t next) { word = __byte_perm(word, next, 0x5432); }
  __device__ __forceinline__ uint32_t first_bits() const { return word; }
  static __device__ __forceinline__ uint32_t element_bits(T element) {
    return reinterpret_cast<const uint16_t&>(element);
  }
  __device__ __forceinline__ SplitPair packed() const { return {word, 0}; }
};

template <>
struct ElementPair<float> {
  float2 values;

  __device__ __forceinline__ void load(const float* aligned) {
    values = __ldg(reinterpret_cast<const float2*>(aligned));
  }
  __device__ __forceinline__ void load_edge(const float* row, int position, int length) {
    values.x = inside(position, length) ? __ldg(row + position) : 0.0f;
    values.y = inside(position + 1, length) ? __ldg(row + position + 1) : 0.0f;
  }
  __device__ __forceinline__ void finish_edge(bool) {}
  __device__ __forceinline__ void set(float first, float second) {
    values = make_float2(first, second);
  }
  __device__ __forceinline__ void shift(uint32_t next) {
    values = make_float2(values.y, __uint_as_float(next));
  }
  __device__ __forceinline__ uint32_t first_bits() const { return __float_as_uint(values.x); }
  static __device__ __forceinline__ uint32_t element_bits(float element) {
    return __float_as_uint(element);
  }
  __device__ __forceinline__ SplitPair packed() const { return split_bf16(values.x, values.y); }
};

/// kRows rows a warp, kGradientPositions positions of each.
template <typename T, int kRows>
struct RowLoads {
  static constexpr int kPositions = kGradientPositions<T>;
  static constexpr int kLanes = kPositions / 2;  // of a row
  static constexpr int kItems = kRows * kLanes / 32;

  ElementPair<T> pairs[kItems];
  T after;   // lane r: the last element of row r, which its last pair lacks where the row leads
  int lead;  // of the lane's first row
  uint32_t second_only;
  bool edge;

  static __device__ __forceinline__ int lane() { return threadIdx.x % kLanes; }
  /// The lane's first row of the warp; its items are rows one after another.
  static __device__ __forceinline__ int first_row() { return threadIdx.x % 32 / kLanes * kItems; }
  __device__ __forceinline__ int lead_of(int item, int odd_stride) const {
    return lead ^ (odd_stride & item);
  }

  /// @param rows   the warp's first row, at `position`
  /// @param count  rows of the warp that are in the tensor
  /// @param leads  whether any row of the tensor starts inside a pair
  __device__ __forceinline__ void fetch(const T* rows, int64_t row_stride, int count, int position,
                                        int length, bool leads) {
    if (count <= 0) {
      return;
    }
    const T* row = rows + first_row() * row_stride;
    const int odd_stride = static_cast<int>(row_stride & 1);
    lead = pair_lead(row);
    second_only = 0;
    edge = position < 1 || position + kPositions > length || count < kRows;
    if (!edge) {
      row += 2 * lane();
#pragma unroll
      for (int item = 0; item < kItems; ++item) {
        pairs[item].load(row - lead_of(item, odd_stride));
        row += row_stride;
      }
      if (leads && threadIdx.x % 32 < kRows) {
        after = rows[threadIdx.x % 32 * row_stride + kPositions - 1];
      }
      return;
    }
    row -= position;
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int first = position - lead_of(item, odd_stride) + 2 * lane();
      if (first_row() + item < count) {
        if (first >= 0 && first + 1 < length) {
          pairs[item].load(row + first);
        } else {
          pairs[item].load_edge(row, first, length);
          second_only |= static_cast<uint32_t>(first == -1) << item;
        }
      }
      row += row_stride;
    }
    after = from_accumulate<T>(0.0f);
    const int r = threadIdx.x % 32;
    if (leads && r < kRows && r < count && inside(position + kPositions - 1, length)) {
      after = rows[r * row_stride + kPositions - 1];
    }
  }

  /// @param put  called with a row of the warp, a word of it and the packed pair
  template <typename Put>
  __device__ __forceinline__ void store(int64_t row_stride, int count, bool leads, Put&& put) {
    if (count <= 0) {
      return;
    }
    const int odd_stride = static_cast<int>(row_stride & 1);
    if (edge) {
#pragma unroll
      for (int item = 0; item < kItems; ++item) {
        pairs[item].finish_edge((second_only >> item & 1) != 0);
      }
    }
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int r = first_row() + item;
      ElementPair<T> pair = pairs[item];
      if (leads) {
        uint32_t next = __shfl_down_sync(0xffffffffu, pair.first_bits(), 1);
        const uint32_t last = __shfl_sync(0xffffffffu, ElementPair<T>::element_bits(after), r);
        next = lane() == kLanes - 1 ? last : next;
        if (lead_of(item, odd_stride) != 0) {
          pair.shift(next);
        }
      }
      put(r, lane(), pair.packed());
    }
  }
};

/// Who loads a window: a half warp a channel, and every eighth after it. The channels of a warp's
/// halves are 4 apart, which puts their words in different banks.
template <int kChannels>
struct WindowLanes {
  static constexpr int kApart = 2 * kGradientLoadingWarps;
  static constexpr int kItems = kChannels / kApart;
  static_assert(kApart == 8, "four warps of two halves");
  static __device__ __forceinline__ int channel() {
    return loading_warp() + 4 * (threadIdx.x / 16 % 2);
  }
  static __device__ __forceinline__ int lane() { return threadIdx.x % 16; }
};

/// A window at stride 1: neighbouring pairs, kept as they are and shifted by one element, which
/// serves every tap. A half warp stores 15 of the 16 pairs that it fetches.
template <typename T, int kChannels>
struct SlidingLoads {
  using Lanes = WindowLanes<kChannels>;
  static constexpr int kParts = 1;
  static constexpr int kChunkWords = 15;
  static constexpr int kChunks = sizeof(T) == 4 ? 3 : 4;
  static constexpr int kMaxWords = kChunkWords * kChunks - 1;

  ElementPair<T> pairs[kChunks][Lanes::kItems];
  int lead;
  int second_only;
  bool edge;

  __device__ __forceinline__ explicit SlidingLoads(const WeightGradientMmaParams<T>&) {}

  /// @param row  the window's first channel at position 0
  __device__ __forceinline__ void fetch(const WeightGradientMmaParams<T>& p, const T* row,
                                        int count, int position, int) {
    row += Lanes::channel() * p.shifted_channel_stride + position;
    lead = pair_lead(row);
    second_only = 0;
    const int first = position - lead + 2 * Lanes::lane();
    row += 2 * Lanes::lane() - lead;
    edge =
        position < 1 || position + 2 * p.sequence_words + 2 > p.shifted_length || count < kChannels;
    const int64_t stride = Lanes::kApart * p.shifted_channel_stride;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      if (chunk * kChunkWords + Lanes::lane() <= p.sequence_words) {
        const T* source = row + chunk * kChunkWords * 2;
        if (!edge) {
#pragma unroll
          for (int item = 0; item < Lanes::kItems; ++item) {
            pairs[chunk][item].load(source);
            source += stride;
          }
        } else {
          const int at = first + chunk * kChunkWords * 2;
          const bool whole = at >= 0 && at + 1 < p.shifted_length;
          second_only |= (at == -1) << chunk;
#pragma unroll
          for (int item = 0; item < Lanes::kItems; ++item) {
            if (Lanes::channel() + Lanes::kApart * item < count) {
              if (whole) {
                pairs[chunk][item].load(source);
              } else {
                pairs[chunk][item].load_edge(source - at, at, p.shifted_length);
              }
            }
            source += stride;
          }
        }
      }
    }
  }

  __device__ __forceinline__ void store(const WeightGradientMmaParams<T>& p, uint32_t* window, int,
                                        int) {
    if (edge) {
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
        for (int item = 0; item < Lanes::kItems; ++item) {
          pairs[chunk][item].finish_edge((second_only >> chunk & 1) != 0);
        }
      }
    }
    // Where a row begins inside a pair, its own pairs are those of the shifted sequence.
    uint32_t* const row = window + Lanes::channel() * p.window_pitch + Lanes::lane();
    uint32_t* const own_row = row + (lead != 0 ? p.sequence_words - 1 : 0);
    uint32_t* const odd_row = row + (lead != 0 ? 0 : p.sequence_words);
    const bool both = p.sequences > 1, owner = Lanes::lane() < kChunkWords;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      if (chunk * kChunkWords <= p.sequence_words) {
        const int word = chunk * kChunkWords + Lanes::lane();
        const bool put_own = owner && (lead != 0 ? both && word > 0 && word <= p.sequence_words
                                                 : word < p.sequence_words);
        const bool put_odd = owner && (lead != 0 || both) && word < p.sequence_words;
#pragma unroll
        for (int item = 0; item < Lanes::kItems; ++item) {
          const SplitPair own = pairs[chunk][item].packed();
          const int offset = Lanes::kApart * item * p.window_pitch + chunk * kChunkWords;
          const auto put = [&](uint32_t part, int at) {
            const uint32_t next = __shfl_down_sync(0xffffffffu, part, 1);
            if (put_own) {
              own_row[at] = part;
            }
            if (put_odd) {
              odd_row[at] = __byte_perm(part, next, 0x5432);
            }
          };
          put(own.high, offset);
          if constexpr (MmaTraits<T>::kParts == 2) {
            put(own.low, offset + p.part_words);
          }
        }
      }
    }
  }
};

/// A window at any stride, or of taps far apart: every pair of every sequence by itself, some of
/// the channels at a time.
template <typename T, int kChannels, int kTaps>
struct GatheredLoads {
  using Lanes = WindowLanes<kChannels>;
  static constexpr int kChunks = kTaps * kGradientPositions<T> / 32;
  static constexpr int kMaxRegisters = 64;
  static constexpr int kFitting = kMaxRegisters / (2 * kChunks);
  static constexpr int kItems = kFitting >= 8 ? 8 : kFitting >= 4 ? 4 : 2;  // a part
  static constexpr int kParts = Lanes::kItems / kItems;

  T elements[kChunks][kItems][2];
  int offsets[kChunks];  // of the lane's words, from the window's position

  __device__ __forceinline__ explicit GatheredLoads(const WeightGradientMmaParams<T>& p) {
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int word = chunk * 16 + Lanes::lane();
      const int sequence = word / p.sequence_words;
      offsets[chunk] =
          sequence < p.sequences
              ? p.sequence_first[sequence] + (word - sequence * p.sequence_words) * 2 * p.stride
              : 0;
    }
  }

  __device__ __forceinline__ void fetch(const WeightGradientMmaParams<T>& p, const T* row,
                                        int count, int position, int part) {
    const int channel = Lanes::channel() + part * kItems * Lanes::kApart;
    row += channel * p.shifted_channel_stride;
    const int64_t stride = Lanes::kApart * p.shifted_channel_stride;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      if (chunk * 16 < p.sequences * p.sequence_words) {
        const int first = position + offsets[chunk];
        const bool inside0 = inside(first, p.shifted_length);
        const bool inside1 = inside(first + p.stride, p.shifted_length);
        const T* source = row + first;
#pragma unroll
        for (int item = 0; item < kItems; ++item) {
          const bool real = channel + Lanes::kApart * item < count;
          elements[chunk][item][0] = real && inside0 ? source[0] : from_accumulate<T>(0.0f);
          elements[chunk][item][1] = real && inside1 ? source[p.stride] : from_accumulate<T>(0.0f);
          source += stride;
        }
      }
    }
  }

  __device__ __forceinline__ void store(const WeightGradientMmaParams<T>& p, uint32_t* window, int,
                                        int part) {
    const int channel = Lanes::channel() + part * kItems * Lanes::kApart;
    uint32_t* const row = window + channel * p.window_pitch + Lanes::lane();
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      if (chunk * 16 + Lanes::lane() < p.sequences * p.sequence_words) {
#pragma unroll
        for (int item = 0; item < kItems; ++item) {
          ElementPair<T> pair;
          pair.set(elements[chunk][item][0], elements[chunk][item][1]);
          const SplitPair packed = pair.packed();
          uint32_t* cell = row + Lanes::kApart * item * p.window_pitch + chunk * 16;
          cell[0] = packed.high;
          if constexpr (MmaTraits<T>::kParts == 2) {
            cell[p.part_words] = packed.low;
          }
        }
      }
    }
  }
};

/// A window of one tap at stride 1: rows like those of the other operand.
template <typename T, int kChannels>
struct SingleTapLoads {
  static constexpr int kParts = 1;
  static constexpr int kRows = kChannels / kGradientLoadingWarps;
  static constexpr int kMaxWords = kGradientPositions<T> / 2;

  RowLoads<T, kRows> rows;

  __device__ __forceinline__ explicit SingleTapLoads(const WeightGradientMmaParams<T>&) {}

  __device__ __forceinline__ void fetch(const WeightGradientMmaParams<T>& p, const T* first_row,
                                        int count, int position, int) {
    const int row = loading_warp() * kRows;
    rows.fetch(first_row + row * p.shifted_channel_stride + position, p.shifted_channel_stride,
               count - row, position, p.shifted_length, p.shifted_leads);
  }

  __device__ __forceinline__ void store(const WeightGradientMmaParams<T>& p, uint32_t* window,
                                        int count, int) {
    const int first = loading_warp() * kRows;
    rows.store(p.shifted_channel_stride, count - first, p.shifted_leads,
               [&](int row, int word, const SplitPair& pair) {
                 uint32_t* cell = window + (first + row) * p.window_pitch + word;
                 cell[0] = pair.high;
                 if constexpr (MmaTraits<T>::kParts == 2) {
                   cell[p.part_words] = pair.low;
                 }
               });
  }
};

}  // namespace kernelopt
