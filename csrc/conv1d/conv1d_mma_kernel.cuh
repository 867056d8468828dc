// 1-D correlation on tensor cores (mma.sync, sm_80 and later):
//   output[n, o, first + j * step] = act(bias[o] + sum_{c, t} weight[o, c, t] * input[n, c, i]),
//   i = j * input_step + input_first + t * tap_step, zero outside [0, input_length).
// A block owns kBlockM output channels of one group and walks tiles of kBlockN positions; a warp
// owns 16 * kTilesM channels x 32 positions. The reduction goes in steps of 16 channels x some
// taps: a window of the input and the packed weights of the step arrive through a ring in shared
// memory; the window is then packed once, in pairs of channels as the products read them (fp32
// split in two bf16 parts, three products), and serves every tap.
#pragma once

#include "conv1d/conv1d_mma_policy.h"
#include "conv1d/correlation_params.h"

namespace kernelopt {

/// One output in plain fp32, for those that the split made NaN or Inf: Inf times a part that is 0
/// is NaN, and the product of two rounded high parts can overflow where that of the values does
/// not.
template <typename T>
__device__ __noinline__ float correlate_exactly(const CorrelationParams<T>& p, int n, int group,
                                                int o, int j) {
  float sum = 0;
  for (int c = 0; c < p.in_channels; ++c) {
    const T* x = p.input + n * p.input_batch_stride +
                 (static_cast<int64_t>(group) * p.in_channels + c) * p.input_channel_stride;
    const T* w =
        p.weight + group * p.weight_group_stride + o * p.weight_out_stride + c * p.weight_in_stride;
    for (int t = 0; t < p.taps; ++t) {
      const int64_t i = static_cast<int64_t>(j) * p.input_step + p.input_first +
                        static_cast<int64_t>(t) * p.tap_step;
      if (i >= 0 && i < p.input_length) {
        sum = fmaf(to_accumulate(w[t * p.weight_tap_stride]), to_accumulate(x[i]), sum);
      }
    }
  }
  return sum;
}

/// 1 where a 16-bit element lies in the upper half of its 4-byte word: a window row of such
/// elements begins at the word that holds its first one.
template <typename T>
__device__ __forceinline__ int word_shift(const T* element) {
  return sizeof(T) == 2 ? static_cast<int>(reinterpret_cast<uintptr_t>(element) / 2 % 2) : 0;
}

/// Starts the copy of one step's input window: 16 rows of `words` 4-byte words, zeros outside the
/// row.
template <typename T, int kWarps>
__device__ __forceinline__ void load_window(const CorrelationParams<T>& p, uint32_t* window,
                                            const T* row0, int first_channel, int position,
                                            int words) {
  constexpr int kPerWord = 4 / sizeof(T);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int row = warp; row < kChunkChannels; row += kWarps) {
    const bool real = first_channel + row < p.in_channels;
    const T* source = row0 + (first_channel + row) * p.input_channel_stride + position;
    const int shift = word_shift(source);
    const int start = position - shift;
    const uint32_t destination = shared_address(window + row * p.window_pitch);
    if (real && start >= 0 && start + words * kPerWord <= p.input_length) {
      for (int word = lane; word < words; word += 32) {
        copy_async<4>(destination + word * 4, source - shift + word * kPerWord, true);
      }
      continue;
    }
    for (int word = lane; word < words; word += 32) {
      const int i = start + word * kPerWord;
      const bool inside = real && i >= 0 && i + kPerWord <= p.input_length;
      copy_async<4>(destination + word * 4, inside ? source - shift + word * kPerWord : nullptr,
                    inside);
      if constexpr (kPerWord == 2) {
        // A word that straddles an end of the row: its one element by hand, its other half zero.
        const bool second_only = real && i == -1;
        const bool first_only = real && i == p.input_length - 1;
        if (second_only || first_only) {
          const T* element = source - shift + word * 2 + (second_only ? 1 : 0);
          const uint32_t bits = *reinterpret_cast<const uint16_t*>(element);
          copy_async_wait<0>();  // the zeros land first
          window[row * p.window_pitch + word] = second_only ? bits << 16 : bits;
        }
      }
    }
  }
}

/// Packs a window in place order: [part][pair of channels][position], one 32-bit word a pair.
template <typename T, int kWarps>
__device__ __forceinline__ void pack_window(const CorrelationParams<T>& p, const uint32_t* window,
                                            uint32_t* packed, const T* row0, int first_channel,
                                            int position, int length) {
  constexpr int kPairs = kChunkChannels / 2;
  constexpr int kWarpsPerPair = kWarps > kPairs ? kWarps / kPairs : 1;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int pair = warp % kPairs; pair < kPairs; pair += kWarps) {
    const T* rows[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = pair * 2 + i;
      const T* source = row0 + (first_channel + row) * p.input_channel_stride + position;
      rows[i] = reinterpret_cast<const T*>(window + row * p.window_pitch) + word_shift(source);
    }
    uint32_t* destination = packed + pair * p.packed_pitch;
    for (int i = lane + warp / kPairs * 32; i < length; i += 32 * kWarpsPerPair) {
      if constexpr (MmaTraits<T>::kParts == 2) {
        const SplitPair split = split_bf16(rows[0][i], rows[1][i]);
        destination[i] = split.high;
        destination[kPairs * p.packed_pitch + i] = split.low;
      } else {
        const uint32_t first = reinterpret_cast<const uint16_t*>(rows[0])[i];
        const uint32_t second = reinterpret_cast<const uint16_t*>(rows[1])[i];
        destination[i] = __byte_perm(first, second, 0x5410);
      }
    }
  }
}

/// Stores one row of results, `columns` of them, from shared memory: bias, activation, rounding.
template <typename T, typename ActivationType, int kBlockN>
__device__ __forceinline__ void store_row(const CorrelationParams<T>& p, const float* values,
                                          T* output, int columns, int n, int group, int o, int j0) {
  const int lane = threadIdx.x % 32;
  const float bias = p.bias != nullptr
                         ? to_accumulate(p.bias[static_cast<int64_t>(group) * p.out_channels + o])
                         : 0.0f;
  const auto finish = [&](float z, int j) {
    if constexpr (MmaTraits<T>::kParts == 2) {
      if (!isfinite(z)) {
        z = correlate_exactly(p, n, group, o, j0 + j);
      }
    }
    return from_accumulate<T>(ActivationType::forward(z + bias));
  };
  if (sizeof(T) == 2 && p.output_step == 1) {
    // Pairs on 4-byte boundaries: an odd start moves the pairs by one.
    const int first = lane * 2 - word_shift(output);
#pragma unroll
    for (int i = 0; i <= kBlockN / 64; ++i) {
      const int j = first + i * 64;
      if (j >= 0 && j + 1 < columns) {
        const Vec<T, 2> pair{{finish(values[j], j), finish(values[j + 1], j + 1)}};
        *reinterpret_cast<Vec<T, 2>*>(output + j) = pair;
      } else if (j == -1 || j == columns - 1) {
        const int single = j == -1 ? 0 : j;
        output[single] = finish(values[single], single);
      }
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kBlockN / 32; ++i) {
    const int j = lane + i * 32;
    if (j < columns) {
      output[j * p.output_step] = finish(values[j], j);
    }
  }
}

/// `kUnitStep`: input_step is 1, so that offsets between products are constants.
template <typename T, typename Policy, bool kUnitStep>
__global__ void __launch_bounds__(Policy::kThreads, Policy::kBlocksPerMultiprocessor)
    correlation_mma_kernel(const __grid_constant__ CorrelationParams<T> p) {
#if KERNELOPT_HAS_MMA
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kWarpsN = Policy::kWarpsN, kTilesM = Policy::kTilesM;
  constexpr int kWarps = Policy::kWarpsM * kWarpsN;
  constexpr int kBlockTiles = Policy::kWarpsM * kTilesM;
  constexpr int kBlockN = Policy::kBlockN;
  constexpr int kStages = Policy::kStages;
  constexpr int kPairs = kChunkChannels / 2;
  constexpr int kPerWord = 4 / sizeof(T);
  constexpr int kTapVectors = kBlockTiles * kParts * 32;  // 16-byte vectors of one chunk and tap
  const int input_step = kUnitStep ? 1 : p.input_step;

  extern __shared__ __align__(16) uint32_t shared[];
  const int step_vectors = p.taps_per_step * kTapVectors;
  const int steps = p.channel_chunks * ((p.taps + p.taps_per_step - 1) / p.taps_per_step);
  const int resident_vectors = p.channel_chunks * p.taps * kTapVectors;
  const int weight_words = (p.resident_weights ? resident_vectors : kStages * step_vectors) * 4;
  uint4* weights = reinterpret_cast<uint4*>(shared);
  uint32_t* packed = shared + weight_words;
  uint32_t* windows = packed + kParts * kPairs * p.packed_pitch;
  const int window_words = kChunkChannels * p.window_pitch;
  float* slab = reinterpret_cast<float*>(windows + kStages * window_words);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_m = warp / kWarpsN, warp_n = warp % kWarpsN;
  const int group = blockIdx.y / p.m_blocks, m_block = blockIdx.y % p.m_blocks;
  const uint4* block_weights =
      p.packed_weight + static_cast<int64_t>(blockIdx.y) * resident_vectors;
  const int64_t tiles = static_cast<int64_t>(p.batch) * p.n_tiles;
  const T* group_input =
      p.input + static_cast<int64_t>(group) * p.in_channels * p.input_channel_stride;

  // Where a walk over all steps of all tiles of this block stands. Two walk: the loads run
  // kStages - 1 steps ahead of the products.
  struct Cursor {
    int64_t tile;
    int n, j0;
    int chunk, tap;
  };
  const auto enter_tile = [&](Cursor& cursor) {
    cursor.n = static_cast<int>(cursor.tile / p.n_tiles);
    cursor.j0 = static_cast<int>(cursor.tile % p.n_tiles) * kBlockN;
  };
  const auto advance = [&](Cursor& cursor) {
    cursor.tap += p.taps_per_step;
    if (cursor.tap >= p.taps) {
      cursor.tap = 0;
      if (++cursor.chunk == p.channel_chunks) {
        cursor.chunk = 0;
        cursor.tile += gridDim.x;
        enter_tile(cursor);
      }
    }
  };
  const auto taps_of = [&](const Cursor& cursor) {
    return min(p.taps_per_step, p.taps - cursor.tap);
  };
  const auto position_of = [&](const Cursor& cursor) {
    return cursor.j0 * input_step + p.input_first + cursor.tap * p.tap_step;
  };
  const auto window_length = [&](int step_taps) {
    return (kBlockN - 1) * input_step + (step_taps - 1) * p.tap_step + 1;
  };
  const auto load_weights = [&](uint4* destination, const uint4* source, int vectors) {
    for (int i = threadIdx.x; i < vectors; i += Policy::kThreads) {
      copy_async<16>(shared_address(destination + i), source + i, true);
    }
  };
  const auto load_step = [&](const Cursor& cursor, int stage) {
    if (cursor.tile < tiles) {
      const int step_taps = taps_of(cursor);
      const int words = (window_length(step_taps) + kPerWord - 1) / kPerWord + kPerWord - 1;
      load_window<T, kWarps>(p, windows + stage * window_words,
                             group_input + cursor.n * p.input_batch_stride,
                             cursor.chunk * kChunkChannels, position_of(cursor), words);
      if (!p.resident_weights) {
        load_weights(weights + stage * step_vectors,
                     block_weights + (cursor.chunk * p.taps + cursor.tap) * kTapVectors,
                     step_taps * kTapVectors);
      }
    }
    copy_async_commit();
  };

  if (p.resident_weights) {
    load_weights(weights, block_weights, resident_vectors);
  }
  Cursor load{blockIdx.x, 0, 0, 0, 0};
  enter_tile(load);
  Cursor cursor = load;
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    load_step(load, stage);
    advance(load);
  }

  float accumulators[kTilesM][4][4];
  const int column = lane / 4, quad = lane % 4;
  int stage = 0;
  while (cursor.tile < tiles) {
#pragma unroll
    for (int tile = 0; tile < kTilesM; ++tile) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          accumulators[tile][j][i] = 0;
        }
      }
    }
    const int n = cursor.n, j0 = cursor.j0;
    for (int step = 0; step < steps; ++step) {
      copy_async_wait<kStages - 2>();
      __syncthreads();  // the window is here, and no warp reads the packed one of the last step
      const int step_taps = taps_of(cursor);
      pack_window<T, kWarps>(
          p, windows + stage * window_words, packed, group_input + cursor.n * p.input_batch_stride,
          cursor.chunk * kChunkChannels, position_of(cursor), window_length(step_taps));
      load_step(load, (stage + kStages - 1) % kStages);
      advance(load);
      __syncthreads();

      const uint4* step_weights =
          weights + warp_m * kTilesM * kParts * 32 + lane +
          (p.resident_weights ? (cursor.chunk * p.taps + cursor.tap) * kTapVectors
                              : stage * step_vectors);
      const uint32_t* pairs =
          packed + quad * p.packed_pitch + (warp_n * kWarpN + column) * input_step;
      const int half = 4 * p.packed_pitch;  // from the pair at k = 2 quad to the one at 2 quad + 8
      for (int tap = 0; tap < step_taps; ++tap) {
        uint4 a[kParts][kTilesM];
#pragma unroll
        for (int tile = 0; tile < kTilesM; ++tile) {
#pragma unroll
          for (int part = 0; part < kParts; ++part) {
            a[part][tile] = step_weights[(tile * kParts + part) * 32];
          }
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int offset = j * 8 * input_step;
          const uint32_t high0 = pairs[offset], high1 = pairs[half + offset];
          // Term by term over the tiles: neighbouring products are independent.
#pragma unroll
          for (int tile = 0; tile < kTilesM; ++tile) {
            mma_m16n8k16<T>(accumulators[tile][j], a[0][tile], high0, high1);
          }
          if constexpr (kParts == 2) {
            const uint32_t low0 = pairs[2 * half + offset], low1 = pairs[3 * half + offset];
#pragma unroll
            for (int tile = 0; tile < kTilesM; ++tile) {
              mma_m16n8k16<T>(accumulators[tile][j], a[1][tile], high0, high1);
            }
#pragma unroll
            for (int tile = 0; tile < kTilesM; ++tile) {
              mma_m16n8k16<T>(accumulators[tile][j], a[0][tile], low0, low1);
            }
          }
        }
        step_weights += kTapVectors;
        pairs += p.tap_step;
      }
      stage = (stage + 1) % kStages;
      advance(cursor);
    }

    // Through shared memory, 16 rows a warp at a time, so that a warp stores long runs of one row.
    const int columns = min(kBlockN, p.positions - j0);
#pragma unroll
    for (int tile = 0; tile < kTilesM; ++tile) {
      if (tile > 0) {
        __syncthreads();  // the slab has been stored (before tile 0 the steps' barriers say so)
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float* cell = slab + (warp_m * 16 + i * 8 + column) * Policy::kSlabPitch +
                        warp_n * kWarpN + j * 8 + quad * 2;
          *reinterpret_cast<float2*>(cell) =
              make_float2(accumulators[tile][j][i * 2], accumulators[tile][j][i * 2 + 1]);
        }
      }
      __syncthreads();
      for (int row = warp; row < Policy::kSlabRows; row += kWarps) {
        const int o = (m_block * kBlockTiles + row / 16 * kTilesM + tile) * 16 + row % 16;
        if (o < p.out_channels) {
          T* output = p.output + n * p.output_batch_stride +
                      (static_cast<int64_t>(group) * p.out_channels + o) * p.output_channel_stride +
                      p.output_first + j0 * p.output_step;
          const float* values = slab + row * Policy::kSlabPitch;
          with_activation(p.activation, [&](auto kind) {
            store_row<T, decltype(kind), kBlockN>(p, values, output, columns, n, group, o, j0);
          });
        }
      }
    }
  }
  copy_async_wait<0>();
#endif
}

}  // namespace kernelopt
