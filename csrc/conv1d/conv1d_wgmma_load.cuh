// The loading warp of the warpgroup kernel: copies windows of the input as they lie in memory, 32
// channels a stage, and where they do not stay in shared memory the weights.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/wgmma.cuh"
#include "conv1d/conv1d_wgmma_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where a block's walk over its tiles stands; all roles walk alike. A division for every tile
/// would take a warp longer than its copies.
struct Conv1dTileCursor {
  int n;
  int run;  // the tile's first run of outputs
  int tile, tile_step, n_step;

  __device__ __forceinline__ explicit Conv1dTileCursor(const Conv1dWgmmaParams& p) {
    const int step = static_cast<int>(gridDim.x), first = static_cast<int>(blockIdx.x);
    n_step = step / p.tiles;
    tile_step = step - n_step * p.tiles;
    n = first / p.tiles;
    enter(p, first - n * p.tiles);
  }
  __device__ __forceinline__ bool inside(const Conv1dWgmmaParams& p) const {
    return n < p.problem.batch;
  }
  __device__ __forceinline__ void advance(const Conv1dWgmmaParams& p) {
    const bool wraps = tile + tile_step >= p.tiles;
    n += n_step + (wraps ? 1 : 0);
    enter(p, tile + tile_step - (wraps ? p.tiles : 0));
  }

 private:
  __device__ __forceinline__ void enter(const Conv1dWgmmaParams& p, int next) {
    tile = next;
    run = tile * (Conv1dWgmmaShape::kWarpgroups * p.warpgroup_step);
  }
};

/// Elements from the last 16-byte boundary to row element `position` of a channel. A window's rows
/// keep their places in 16 bytes.
template <typename T>
__device__ __forceinline__ int window_shift(const Conv1dWgmmaParams& p, int n, int64_t channel,
                                            int position) {
  const int64_t element =
      n * p.problem.input_strides.batch + channel * p.problem.input_strides.channel + position;
  const uint32_t address = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(p.problem.input)) +
                           static_cast<uint32_t>(element) * sizeof(T);
  return static_cast<int>(address % 16) / static_cast<int>(sizeof(T));
}

/// What a bulk copy brings of a row.
struct WindowRowCopy {
  const void* source = nullptr;
  int destination = 0;  // bytes from the row's start
  int bytes = 0;
};

/// One lane's share of a stage: the row of a channel from `position` on, `length` elements, zeros
/// outside the input. Whole 16 bytes are left to a bulk copy, those around the row's ends too where
/// they are elements of the same tensor and no zeros; the rest is written here.
template <typename T>
__device__ __forceinline__ WindowRowCopy load_window_row(const Conv1dWgmmaParams& p, int n,
                                                         int64_t channel, int position, int length,
                                                         unsigned char* row) {
  constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  const T* base = static_cast<const T*>(p.problem.input) + n * p.problem.input_strides.batch +
                  channel * p.problem.input_strides.channel;
  const int last = position + length;
  const int begin = max(position, 0), end = min(last, static_cast<int>(p.problem.in_length));
  // Position i is at the row's element i + origin.
  const int origin = window_shift<T>(p, n, channel, position) - position;
  T* elements = reinterpret_cast<T*>(row) + origin;

  const int head = (begin + origin) % kVector, tail = (end + origin) % kVector;
  int from = begin - head, to = end - tail;
  if (head > 0 && (begin > position || base + from < static_cast<const T*>(p.problem.input))) {
    from += kVector;
  }
  if (tail > 0 && end == last && base + to + kVector <= static_cast<const T*>(p.input_end)) {
    to += kVector;
  }
  WindowRowCopy copy;
  if (begin < end && from < to) {
    copy = {base + from, (from + origin) * kSize, (to - from) * kSize};
  } else {
    from = to = end;
  }
  const auto clear = [&](int first, int stop) {
    for (int i = first; i < stop; ++i) {
      elements[i] = from_accumulate<T>(0.0f);
    }
  };
  const auto move = [&](int first, int stop) {
    for (int i = first; i < stop; ++i) {
      elements[i] = base[i];
    }
  };
  clear(position, min(begin, last));
  move(begin, min(from, end));
  move(max(to, begin), end);
  clear(max(end, position), last);
  return copy;
}

/// The loading warp: for every step of every tile a window of 32 channels, and the step's weights
/// where they do not stay in shared memory.
template <typename T, int kSlots>
__device__ __forceinline__ void load_conv1d_stages(const Conv1dWgmmaParams& p,
                                                   unsigned char* stages, int stage_bytes,
                                                   uint32_t full, uint32_t empty) {
  using Shape = Conv1dWgmmaShape;
  constexpr int kTapBytes = kSlots * 32 * MmaTraits<T>::kParts;
  const int lane = threadIdx.x % 32;
  const int group = blockIdx.y / p.n_blocks;
  const int taps = p.correlation.taps, input_step = p.correlation.input_step;
  const int in_channels = static_cast<int>(p.problem.in_channels);
  const int block_runs = (Shape::kWarpgroups - 1) * p.warpgroup_step + Shape::kWarpgroupM;
  const unsigned char* weights =
      reinterpret_cast<const unsigned char*>(p.packed_weight) +
      static_cast<int64_t>(blockIdx.y) * p.channel_chunks * taps * kTapBytes;
  int stage = 0;
  uint32_t parity = 1;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const int runs = min(block_runs, p.correlation.positions - cursor.run);
    for (int channel = 0; channel < in_channels; channel += p.stage_channels) {
      for (int tap = 0; tap < taps; tap += p.taps_per_step) {
        const int step_taps = min(p.taps_per_step, taps - tap);
        mbarrier_wait(empty + stage * 8, parity);
        unsigned char* window = stages + stage * stage_bytes;
        WindowRowCopy copy;
        if (lane < p.stage_channels && channel + lane < in_channels) {
          const int position =
              cursor.run * input_step + p.correlation.input_first + tap * p.correlation.tap_step;
          const int length = (runs - 1) * input_step + (step_taps - 1) * p.correlation.tap_step + 1;
          copy = load_window_row<T>(p, cursor.n,
                                    static_cast<int64_t>(group) * in_channels + channel + lane,
                                    position, length, window + lane * p.window_pitch);
        } else if (channel + lane < p.channel_chunks * 16 && lane < p.stage_channels) {
          // A channel of the last chunk that is none: zeros times its zero weights.
          uint4* row = reinterpret_cast<uint4*>(window + lane * p.window_pitch);
          for (int i = 0; i < p.window_pitch / 16; ++i) {
            row[i] = make_uint4(0, 0, 0, 0);
          }
        }
        const int chunks = min(p.stage_channels, in_channels - channel + 15) / 16;
        const uint32_t weight_bytes = p.resident_bytes > 0 ? 0 : step_taps * kTapBytes;
        const uint32_t bytes = __reduce_add_sync(0xffffffffu, copy.bytes);
        if (lane == 0) {
          mbarrier_arrive_expect(full + stage * 8, bytes + chunks * weight_bytes);
        }
        __syncwarp();
        if (copy.bytes > 0) {
          fence_async_proxy();
          bulk_load(shared_address(window + lane * p.window_pitch + copy.destination), copy.source,
                    copy.bytes, full + stage * 8);
        }
        if (weight_bytes > 0 && lane < chunks) {
          bulk_load(shared_address(window + p.window_bytes + lane * p.taps_per_step * kTapBytes),
                    weights + (static_cast<int64_t>(channel / 16 + lane) * taps + tap) * kTapBytes,
                    weight_bytes, full + stage * 8);
        }
        if (++stage == p.stages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
  }
}

#endif

}  // namespace kernelopt
