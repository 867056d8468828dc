// The operand warps of conv1d_wgmma_shared_kernel and conv1d_wgmma_held_kernel: from the raw window
// of a stage they make what the tensor cores read, once for all taps: [k / 8][position modulo the
// input step][position][k % 8], 16-bit elements. A tap is then a shift by its positions times 16
// bytes.
#pragma once

#include "common/matrix_load.cuh"
#include "conv1d/conv1d_wgmma_shared_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// What a stage holds: channels and input positions.
struct OperandStep {
  int n;
  int64_t channel;  // the first, of all groups'
  int channels;     // those that the group has left
  int position;     // of the window's first element, may lie outside the input
};

/// A window's rows of eight channels of 16 bits, as the loading warp brings them.
template <typename T>
struct WindowRows {
  static constexpr int kSize = static_cast<int>(sizeof(T));
  struct Values {
    uint16_t bits[8];
  };
  const unsigned char* rows[8];
  // Byte permutations that make zeros of channels that are none: zero weights alone would not do
  // for what the window held before.
  uint32_t pairs[4];

  /// Turns to the channels 8 * eight ... 8 * eight + 7 of a step.
  __device__ __forceinline__ void select(const Conv1dWgmmaSharedParams& p, const OperandStep& step,
                                         const unsigned char* window, int eight) {
    const int64_t first = step.channel + eight * 8;
    uint32_t place = window_shift<T>(p, step.n, first, step.position) * kSize;
    const uint32_t stride = static_cast<uint32_t>(p.problem.input_strides.channel) * kSize;
    const unsigned char* row = window + eight * 8 * p.window_pitch;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      rows[k] = row + place % 16;
      place += stride;
      row += p.window_pitch;
    }
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      const int left = step.channels - eight * 8 - pair * 2;
      pairs[pair] = left >= 2 ? 0x5410 : left == 1 ? 0x2210 : 0x2222;
    }
  }
  __device__ __forceinline__ Values read(int element) const {
    Values values;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      values.bits[k] = *reinterpret_cast<const uint16_t*>(rows[k] + element * kSize);
    }
    return values;
  }
  __device__ __forceinline__ uint4 pack(const Values& values) const {
    uint32_t words[4];
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      words[pair] = __byte_perm(values.bits[pair * 2], values.bits[pair * 2 + 1], pairs[pair]);
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
  }
};

/// One warp's share of a stage in 16 bits.
/// @param depth   positions that the taps of this step read
/// @tparam kWarps  that share it
template <typename T, int kWarps, bool kStrided>
__device__ __forceinline__ void fill_operand(const Conv1dWgmmaSharedParams& p,
                                             const OperandStep& step, const unsigned char* window,
                                             int depth, int warp, uint4* operand) {
  constexpr int kBatch = 4;  // units of a lane under way
  WindowRows<T> source;
  const OperandPlaces<kStrided> places(p);
  const int lane = threadIdx.x % 32;
  const int units = min(p.stage_channels / 8, (step.channels + 15) / 16 * 2) * depth;
  int unit = units * warp / kWarps;
  const int end = units * (warp + 1) / kWarps;
  int eight = unit / depth, first = unit - eight * depth;
  while (unit < end) {
    const int count = min(end - unit, depth - first);
    source.select(p, step, window, eight);
    uint4* target = operand + eight * p.operand_pitch + (kStrided ? 0 : first);
    const auto move = [&](int i, auto batch) {
      constexpr int kCount = decltype(batch)::value;
      typename WindowRows<T>::Values values[kCount];
#pragma unroll
      for (int b = 0; b < kCount; ++b) {
        values[b] = source.read(first + i + b * 32);
      }
#pragma unroll
      for (int b = 0; b < kCount; ++b) {
        const uint4 packed = source.pack(values[b]);
        if (i + b * 32 < count) {
          target[kStrided ? places[first + i + b * 32] : i + b * 32] = packed;
        }
      }
    };
    int i = lane;
#pragma unroll 1
    for (; i - lane + (kBatch - 1) * 32 < count; i += kBatch * 32) {
      move(i, std::integral_constant<int, kBatch>{});
    }
#pragma unroll 1
    for (; i - lane < count; i += 32) {
      move(i, std::integral_constant<int, 1>{});
    }
    unit += count;
    ++eight;
    first = 0;
  }
}

/// Four 8 x 8 blocks of 16-bit elements, transposed from shared memory to shared memory; a lane
/// gives the addresses of a row of a block on either side.
struct TransposedBlocks {
  uint32_t words[4];
  __device__ __forceinline__ void load(uint32_t source) { load_transposed(words, source); }
  /// @param keep  bits that stay of the lane's words, those of the rows 2 * (lane % 4) and the next
  __device__ __forceinline__ void store(uint32_t target, uint32_t keep) const {
    const uint32_t kept[4] = {words[0] & keep, words[1] & keep, words[2] & keep, words[3] & keep};
    store_blocks(target, kept);
  }
};

/// One warp's share of a stage whose rows all have the same place in 16 bytes: columns of 32
/// positions, two at a time. What lies around the window goes to a place that is not read.
/// @tparam kEights   of the stage
/// @tparam kPartial  some of its channels are none
template <typename T, int kWarps, bool kStrided, int kEights, bool kPartial>
__device__ __forceinline__ void transpose_columns(const Conv1dWgmmaSharedParams& p,
                                                  const OperandStep& step, uint32_t window,
                                                  int depth, int warp, uint32_t operand) {
  const int lane = threadIdx.x % 32;
  const OperandPlaces<kStrided> places(p);
  const int unread = kStrided ? p.operand_pitch - 1 : depth;
  const int place = window_shift<T>(p, step.n, step.channel, step.position);
  uint32_t from_eight = 8 * p.window_pitch, to_eight = p.operand_pitch * 16;
  asm volatile("" : "+r"(from_eight), "+r"(to_eight));  // in registers
  window += lane % 8 * p.window_pitch + lane / 8 * 16;
  const auto move = [&](int column, auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    TransposedBlocks blocks[kColumns][kEights];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int eight = 0; eight < kEights; ++eight) {
        blocks[c][eight].load(window + (column + c * kWarps * 32) * 2 + eight * from_eight);
      }
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int position = column + c * kWarps * 32 + lane - place;
      const bool inside = position >= 0 && position < depth;
      const uint32_t target = operand + (inside ? places[position] : unread) * 16;
#pragma unroll
      for (int eight = 0; eight < kEights; ++eight) {
        const int left = kPartial ? step.channels - eight * 8 - lane % 4 * 2 : 2;
        const uint32_t keep = left >= 2 ? 0xffffffffu : left == 1 ? 0xffffu : 0;
        blocks[c][eight].store(target + eight * to_eight, keep);
      }
    }
  };
  int column = warp * 32;
#pragma unroll 1
  for (; column + kWarps * 32 < depth + place; column += kWarps * 64) {
    move(column, std::integral_constant<int, 2>());
  }
  if (column < depth + place) {
    move(column, std::integral_constant<int, 1>());
  }
}

template <typename T, int kWarps, bool kStrided>
__device__ __forceinline__ void transpose_operand(const Conv1dWgmmaSharedParams& p,
                                                  const OperandStep& step, uint32_t window,
                                                  int depth, int warp, uint32_t operand) {
  const auto transpose = [&](auto eights, auto partial) {
    transpose_columns<T, kWarps, kStrided, decltype(eights)::value, decltype(partial)::value>(
        p, step, window, depth, warp, operand);
  };
  using Two = std::integral_constant<int, 2>;
  using Four = std::integral_constant<int, 4>;
  if (p.stage_channels == 32 && step.channels >= 32) {
    transpose(Four(), std::false_type());
  } else if (p.stage_channels == 32 && step.channels > 16) {
    transpose(Four(), std::true_type());
  } else if (step.channels >= 16) {
    transpose(Two(), std::false_type());
  } else {
    transpose(Two(), std::true_type());
  }
}

/// One warp's share of a stage of fp32 rows that all have the same place in 16 bytes.
template <int kWarps, bool kStrided, bool kPartial>
__device__ __forceinline__ void split_columns(const Conv1dWgmmaSharedParams& p,
                                              const OperandStep& step, const unsigned char* window,
                                              int depth, int warp, uint4* operand) {
  const OperandPlaces<kStrided> places(p);
  const int eights = min(p.stage_channels / 8, (step.channels + 15) / 16 * 2);
  const int units = eights * depth;
  int row_floats = p.window_pitch / 4, low_part = p.operand_bytes / 32;
  asm volatile("" : "+r"(row_floats), "+r"(low_part));  // in registers
  const float* values = reinterpret_cast<const float*>(window) +
                        window_shift<float>(p, step.n, step.channel, step.position);
  // Exact, for there are at most four times as many units as the depth, which is below 2^11.
  const uint32_t reciprocal = (1u << 24) / depth + 1;
#pragma unroll 2
  for (int unit = warp * 32 + threadIdx.x % 32; unit < units; unit += kWarps * 32) {
    const int eight = static_cast<int>(unit * reciprocal >> 24), position = unit - eight * depth;
    const float* column = values + eight * 8 * row_floats + position;
    float eight_values[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float value = column[k * row_floats];
      eight_values[k] = !kPartial || eight * 8 + k < step.channels ? value : 0.0f;
    }
    uint4* high = operand + eight * p.operand_pitch + places[position];
    SplitPair pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pairs[i] = split_bf16_unlimited(eight_values[i * 2], eight_values[i * 2 + 1]);
    }
    *high = make_uint4(pairs[0].high, pairs[1].high, pairs[2].high, pairs[3].high);
    high[low_part] = make_uint4(pairs[0].low, pairs[1].low, pairs[2].low, pairs[3].low);
  }
}

/// Zeros for the elements before the input in those 16 bytes in which a row of it begins. One warp.
template <typename T>
__device__ __forceinline__ void clear_before_rows(const Conv1dWgmmaSharedParams& p,
                                                  const OperandStep& step, unsigned char* window) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  const int rows = min(p.stage_channels, step.channels);
  for (int row = threadIdx.x % 32; row < rows; row += 32) {
    T* first = reinterpret_cast<T*>(window + row * p.window_pitch) - step.position +
               window_shift<T>(p, step.n, step.channel + row, step.position);
    for (int i = max(step.position, 1 - kVector); i < 0; ++i) {
      first[i] = from_accumulate<T>(0.0f);
    }
  }
}

/// The operand warps: for every step of every tile the operand, and where the weights do not stay
/// in shared memory the step's.
/// @param warp     of kWarps
/// @tparam kSlots  of the block
template <typename T, int kSlots, int kWarps, bool kStrided>
__device__ __forceinline__ void make_conv1d_operands(const Conv1dWgmmaSharedParams& p, int warp,
                                                     unsigned char* windows, uint32_t window_full,
                                                     uint32_t window_empty, unsigned char* stages,
                                                     uint32_t full, uint32_t empty) {
  constexpr int kTapBytes = kSlots * 32;
  const int lane = threadIdx.x % 32;
  const int group = blockIdx.y / p.n_blocks;
  const int taps = p.correlation.taps;
  const int in_channels = static_cast<int>(p.problem.in_channels);
  const int stage_bytes = p.operand_bytes + p.step_weight_bytes;
  const unsigned char* weights =
      reinterpret_cast<const unsigned char*>(p.packed_weight) +
      static_cast<int64_t>(blockIdx.y) * p.channel_chunks * taps * kTapBytes;
  if (p.step_weight_bytes > 0 && warp == 0) {
    grid_dependency_wait();  // for the packed weights
  }
  RingCursor raw, ring;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const int runs = window_runs(p, cursor.run);
    for (int channel = 0; channel < in_channels; channel += p.stage_channels) {
      for (int tap = 0; tap < taps; tap += p.taps_per_step) {
        const int step_taps = min(p.taps_per_step, taps - tap);
        unsigned char* stage = stages + ring.index * stage_bytes;
        const OperandStep step{cursor.n, static_cast<int64_t>(group) * in_channels + channel,
                               in_channels - channel,
                               cursor.run * p.correlation.input_step + p.correlation.input_first +
                                   tap * p.correlation.tap_step};
        mbarrier_wait(empty + ring.index * 8, ring.parity ^ 1);
        if (p.step_weight_bytes > 0 && warp == 0) {
          const int chunks = min(p.stage_channels, step.channels + 15) / 16;
          const uint32_t bytes = step_taps * kTapBytes;
          if (lane == 0) {
            mbarrier_arrive_expect(full + ring.index * 8, chunks * bytes);
          }
          __syncwarp();
          if (lane < chunks) {
            bulk_load(
                shared_address(stage + p.operand_bytes + lane * p.taps_per_step * kTapBytes),
                weights + (static_cast<int64_t>(channel / 16 + lane) * taps + tap) * kTapBytes,
                bytes, full + ring.index * 8);
          }
        }
        mbarrier_wait(window_full + raw.index * 8, raw.parity);
        const int depth = runs + (step_taps - 1) * p.correlation.tap_step;
        unsigned char* window = windows + raw.index * p.window_bytes;
        // Windows that lie before the input altogether are zeros already.
        if (step.position < 0 && step.position + depth > 0) {
          if (warp == 0) {
            clear_before_rows<T>(p, step, window);
          }
          named_barrier(1, kWarps * 32);
        }
        uint4* units = reinterpret_cast<uint4*>(stage);
        if constexpr (sizeof(T) == 2) {
          if (p.aligned_rows) {
            transpose_operand<T, kWarps, kStrided>(p, step, shared_address(window), depth, warp,
                                                   shared_address(stage));
          } else {
            fill_operand<T, kWarps, kStrided>(p, step, window, depth, warp, units);
          }
        } else if (step.channels % 16 == 0 || step.channels >= p.stage_channels) {
          split_columns<kWarps, kStrided, false>(p, step, window, depth, warp, units);
        } else {
          split_columns<kWarps, kStrided, true>(p, step, window, depth, warp, units);
        }
        fence_async_proxy();
        __syncwarp();
        if (lane == 0) {
          mbarrier_arrive(full + ring.index * 8);
          mbarrier_arrive(window_empty + raw.index * 8);
        }
        raw.advance(p.stages);
        ring.advance(p.operand_stages);
      }
    }
  }
}

#endif

}  // namespace kernelopt
