// The loading warps of the warpgroup kernel: copy windows of the input as they lie in memory, 32
// channels a stage, and where they do not stay in shared memory the weights.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/grid_dependency.cuh"
#include "common/wgmma.cuh"
#include "conv1d/conv1d_wgmma_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where a block's walk over its tiles stands; all roles walk alike. A division for every tile
/// would take a warp longer than its copies.
struct Conv1dTileCursor {
  int64_t tile;
  int n;
  int run;         // the tile's first run of outputs
  int entry_tile;  // the tile's number in its batch entry
  int n_step, entry_tile_step;

  __device__ __forceinline__ explicit Conv1dTileCursor(const Conv1dWgmmaParams& p)
      : tile(blockIdx.x) {
    const int first = static_cast<int>(blockIdx.x), step = static_cast<int>(gridDim.x);
    n_step = step / p.tiles;
    entry_tile_step = step - n_step * p.tiles;
    n = first / p.tiles;
    enter(p, first - n * p.tiles);
  }
  __device__ __forceinline__ bool inside(const Conv1dWgmmaParams& p) const {
    return tile < p.all_tiles;
  }
  __device__ __forceinline__ void advance(const Conv1dWgmmaParams& p) {
    tile += gridDim.x;
    const bool wraps = entry_tile + entry_tile_step >= p.tiles;
    n += n_step + (wraps ? 1 : 0);
    enter(p, entry_tile + entry_tile_step - (wraps ? p.tiles : 0));
  }

 private:
  __device__ __forceinline__ void enter(const Conv1dWgmmaParams& p, int next) {
    entry_tile = next;
    run = entry_tile * (Conv1dWgmmaShape::kWarpgroups * p.warpgroup_step);
  }
};

/// A place in a ring of buffers, and the parity of the phase in which its barriers are.
struct RingCursor {
  int index = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance(int size) {
    if (++index == size) {
      index = 0;
      parity ^= 1;
    }
  }
};

/// A tile's part of 64 runs, of segments from anywhere or one after the other.
struct Conv1dSegment {
  int n, run;
  __device__ __forceinline__ Conv1dSegment(const Conv1dWgmmaParams& p,
                                           const Conv1dTileCursor& cursor, int index) {
    if (p.segments > 1) {
      const int segment = static_cast<int>(cursor.tile) * p.segments + index;
      n = segment / p.entry_segments;
      run = (segment - n * p.entry_segments) * Conv1dWgmmaShape::kSegmentRuns;
    } else {
      n = cursor.n;
      run = cursor.run + index / Conv1dWgmmaShape::kTilesM * p.warpgroup_step +
            index % Conv1dWgmmaShape::kTilesM * Conv1dWgmmaShape::kSegmentRuns;
    }
  }
};

/// The input channels that a block sums over: all, or those of its split.
struct Conv1dChannelRange {
  int begin, end;
  __device__ __forceinline__ explicit Conv1dChannelRange(const Conv1dWgmmaParams& p) {
    begin = static_cast<int>(blockIdx.z) * p.split_channels;
    end = min(begin + p.split_channels, static_cast<int>(p.problem.in_channels));
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

  const auto clear = [&](int first, int stop) {
    for (int i = first; i < stop; ++i) {
      elements[i] = from_accumulate<T>(0.0f);
    }
  };
  clear(position, min(begin, last));
  clear(max(end, position), last);
  WindowRowCopy copy;
  if (begin >= end) {
    return copy;
  }
  const int head = (begin + origin) % kVector, tail = (end + origin) % kVector;
  int from = begin - head, to = end - tail;
  const auto inside = [&](int first) {
    return base + first >= static_cast<const T*>(p.problem.input) &&
           base + first + kVector <= static_cast<const T*>(p.input_end);
  };
  // A vector of which some elements are the row's: zeros for the others.
  const auto fill = [&](int first) {
    Vec<T, kVector> vector;
    if (inside(first)) {
      vector = *reinterpret_cast<const Vec<T, kVector>*>(base + first);
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const bool real = first + i >= begin && first + i < end;
      if (!real) {
        vector.values[i] = from_accumulate<T>(0.0f);
      } else if (!inside(first)) {
        vector.values[i] = base[first + i];
      }
    }
    *reinterpret_cast<Vec<T, kVector>*>(elements + first) = vector;
  };
  if (head > 0 && (begin > position || !inside(from))) {
    fill(from);
    from += kVector;
  }
  if (tail > 0 && to >= from) {
    if (end == last && inside(to)) {
      to += kVector;
    } else {
      fill(to);
    }
  }
  if (from < to) {
    copy = {base + from, (from + origin) * kSize, (to - from) * kSize};
  }
  return copy;
}

/// A loading warp: for every step of every tile a window of 32 channels, and the step's weights
/// where they do not stay in shared memory. Four warps take a stage each in turn, so that they wait
/// for memory side by side; a stage is always the same warp's.
/// @tparam kBoxes  windows are copied as boxes
template <typename T, int kSlots, bool kSegments, bool kBoxes>
__device__ __forceinline__ void load_conv1d_stages(const Conv1dWgmmaParams& p, int loader,
                                                   unsigned char* stages, int stage_bytes,
                                                   uint32_t full, uint32_t empty) {
  using Shape = Conv1dWgmmaShape;
  constexpr int kTapBytes = kSlots * 32 * MmaTraits<T>::kParts;
  const int lane = threadIdx.x % 32;
  const int taps = p.correlation.taps, input_step = p.correlation.input_step;
  const int in_channels = static_cast<int>(p.problem.in_channels);
  const int block_runs = (Shape::kWarpgroups - 1) * p.warpgroup_step + Shape::kWarpgroupM;
  const int tap_steps = (taps + p.taps_per_step - 1) / p.taps_per_step;
  const Conv1dChannelRange channels(p);
  const int tile_steps =
      (channels.end - channels.begin + p.stage_channels - 1) / p.stage_channels * tap_steps;
  int stage = loader, step = loader;  // of the tile
  uint32_t parity = 1;
  bool packed = false;  // the weights, by the kernel in front
  Conv1dTileCursor cursor(p);
  while (stage < p.stages) {
    for (; step >= tile_steps; step -= tile_steps) {
      cursor.advance(p);
    }
    if (!cursor.inside(p)) {
      return;
    }
    const int channel = channels.begin + step / tap_steps * p.stage_channels;
    const int tap = step % tap_steps * p.taps_per_step;
    const int step_taps = min(p.taps_per_step, taps - tap);
    const int chunks = min(p.stage_channels, in_channels - channel + 15) / 16;
    const uint32_t weight_bytes = p.resident_bytes > 0 ? 0 : step_taps * kTapBytes;
    unsigned char* window = stages + stage * stage_bytes;
    const auto load_weights = [&] {
      if (weight_bytes > 0 && lane < chunks) {
        const int64_t first =
            (static_cast<int64_t>(blockIdx.y) * p.channel_chunks + channel / 16 + lane) * taps +
            tap;
        unsigned char* place = stages + stage * stage_bytes + p.window_bytes;
        bulk_load(shared_address(place + lane * p.taps_per_step * kTapBytes),
                  reinterpret_cast<const unsigned char*>(p.packed_weight) + first * kTapBytes,
                  weight_bytes, full + stage * 8);
      }
    };
    mbarrier_wait(empty + stage * 8, parity);
    if (packed) {
      load_weights();
    }
    const int row_channel = channel + lane;
    const bool row_of_input = lane < p.stage_channels && row_channel < in_channels;
    const auto load_row = [&](int n, int run, int runs, unsigned char* row) {
      const int length = (min(runs, p.correlation.positions - run) - 1) * input_step +
                         (step_taps - 1) * p.correlation.tap_step + 1;
      return load_window_row<T>(
          p, n, static_cast<int64_t>(blockIdx.y / p.n_blocks) * in_channels + row_channel,
          run * input_step + p.correlation.input_first + tap * p.correlation.tap_step, length, row);
    };
    const auto start_copy = [&](const WindowRowCopy& copy, unsigned char* row) {
      if (copy.bytes > 0) {
        fence_async_proxy();
        bulk_load(shared_address(row + copy.destination), copy.source, copy.bytes,
                  full + stage * 8);
      }
    };
    // The barrier waits for the bytes, some of which may have come, from this arrival on.
    const auto arrive = [&](int bytes) {
      const uint32_t all_bytes = __reduce_add_sync(0xffffffffu, bytes);
      __syncwarp();
      if (lane == 0) {
        mbarrier_arrive_expect(full + stage * 8, all_bytes + chunks * weight_bytes);
      }
    };
    window += lane * p.window_pitch;
    if (!kBoxes && row_channel >= in_channels && row_channel < p.channel_chunks * 16 &&
        lane < p.stage_channels) {
      // A channel of the last chunk that is none: zeros times its zero weights.
      uint4* row = reinterpret_cast<uint4*>(window);
      for (int i = 0; i < p.window_pitch / 16; ++i) {
        row[i] = make_uint4(0, 0, 0, 0);
      }
    }
    if constexpr (kBoxes) {
      const bool loads = lane < (kSegments ? p.segments : Shape::kWarpgroups);
      arrive(loads ? p.box_bytes : 0);
      if (loads) {
        constexpr int kVector = 16 / static_cast<int>(sizeof(T));
        int n = cursor.n, run = cursor.run + lane * p.box_step;
        if constexpr (kSegments) {
          const Conv1dSegment segment(p, cursor, lane);
          n = segment.n;
          run = segment.run;
        }
        const int position = run + p.correlation.input_first + tap * p.correlation.tap_step;
        tensor_load(shared_address(stages + stage * stage_bytes + lane * p.box_bytes), &p.input_map,
                    {position & -kVector,
                     static_cast<int>(blockIdx.y / p.n_blocks) * in_channels + channel, n, 0},
                    full + stage * 8);
      }
    } else if constexpr (kSegments) {
      int bytes = 0;
      if (p.copies_images) {
        const Conv1dSegment segment(p, cursor, lane);
        if (lane < p.segments && segment.n < p.problem.batch) {
          const int64_t first =
              static_cast<int64_t>(blockIdx.y / p.n_blocks) * in_channels + channel;
          bytes = min(p.stage_channels, in_channels - channel) * p.window_pitch;
          bulk_load(shared_address(stages + stage * stage_bytes + lane * p.segment_bytes),
                    static_cast<const T*>(p.problem.input) +
                        segment.n * p.problem.input_strides.batch +
                        first * p.problem.input_strides.channel,
                    bytes, full + stage * 8);
        }
      } else if (row_of_input) {
#pragma unroll 1
        for (int i = 0; i < p.segments; ++i) {
          const Conv1dSegment segment(p, cursor, i);
          if (segment.n < p.problem.batch) {
            const WindowRowCopy copy =
                load_row(segment.n, segment.run, Shape::kSegmentRuns, window + i * p.segment_bytes);
            start_copy(copy, window + i * p.segment_bytes);
            bytes += copy.bytes;
          }
        }
      }
      arrive(bytes);
    } else {
      WindowRowCopy copy;
      if (row_of_input) {
        copy = load_row(cursor.n, cursor.run, block_runs, window);
      }
      arrive(copy.bytes);
      start_copy(copy, window);
    }
    if (!packed) {
      grid_dependency_wait();
      load_weights();
      packed = true;
    }
    step += Shape::kLoaders;
    stage += Shape::kLoaders;
    if (stage >= p.stages) {
      step += p.stages - stage + loader;
      stage = loader;
      parity ^= 1;
    }
  }
}

#endif

}  // namespace kernelopt
