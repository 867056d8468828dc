// 1-D convolution of few channels with many taps on tensor cores (mma.sync, sm_80 and later):
//   output[n, o, j] = act(bias[o] + sum_{c, t} weight[o, c, t] * input[n, c, i]),
//   i = j * stride - padding + t * dilation.
// The reduction runs over channels and taps alike. Its other operand is a Toeplitz matrix: a pair
// of taps at a position is one word of a window that holds (x[i], x[i + dilation]) for every i, so
// that any stride and dilation is a matter of addresses. A block keeps the weights of its channels
// in shared memory and walks tiles of positions; a warp takes 16 * kTilesM channels x 64 positions
// at a time.
#pragma once

#include "common/activation16.cuh"
#include "common/mma.cuh"
#include "common/pairs16.cuh"
#include "conv1d/conv1d_exact.cuh"
#include "conv1d/conv1d_toeplitz_plan.h"

namespace kernelopt {

/// Two neighbouring operands of a reduction; high and low parts for fp32.
template <typename T>
struct OperandPair {
  uint32_t parts[MmaTraits<T>::kParts];

  static __device__ __forceinline__ OperandPair of(T first, T second) {
    OperandPair pair;
    if constexpr (MmaTraits<T>::kParts == 2) {
      const SplitPair split = split_bf16(first, second);
      pair.parts[0] = split.high;
      pair.parts[1] = split.low;
    } else {
      const T values[2] = {first, second};
      pair.parts[0] = *reinterpret_cast<const uint32_t*>(values);
    }
    return pair;
  }
};

/// Fetches a block's weights and biases into L2 beside the loads of its first windows: a block of
/// few items mostly waits for them. 1x4x2114 -> 64, k25 took 0.0091 ms in float32, now 0.0087.
template <typename T>
__device__ __forceinline__ void prefetch_toeplitz_weights(const Conv1dToeplitzParams& p, int group,
                                                          int first_channel) {
  constexpr int kLine = 128, kStep = Conv1dToeplitzShape::kThreads * kLine;
  const Conv1dProblem& problem = p.problem;
  const int rows = min(p.block_tiles * 16, static_cast<int>(problem.out_channels) - first_channel);
  const int64_t first_row = group * problem.out_channels + first_channel;
  const int64_t row_bytes = problem.in_channels * problem.kernel_size * sizeof(T);
  const int64_t last = rows * row_bytes - 1;
  const char* const weights = static_cast<const char*>(problem.weight) + first_row * row_bytes;
  const auto prefetch = [](const void* at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); };
  for (int64_t at = int64_t{threadIdx.x} * kLine; at < last + kLine; at += kStep) {
    prefetch(weights + min(at, last));
  }
  if (problem.bias != nullptr && static_cast<int>(threadIdx.x) < rows) {
    prefetch(static_cast<const T*>(problem.bias) + first_row + threadIdx.x);
  }
}

/// The weights of a block as the fragments of its products: [tile][step][part][lane].
template <typename T>
__device__ __forceinline__ void load_toeplitz_weights(const Conv1dToeplitzParams& p, int group,
                                                      int first_channel, uint32_t* weights) {
  constexpr int kParts = MmaTraits<T>::kParts;
  const Conv1dProblem& problem = p.problem;
  const int taps = static_cast<int>(problem.kernel_size);
  const int row_elements = static_cast<int>(problem.in_channels) * taps;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const T* source = static_cast<const T*>(problem.weight) + group * problem.weight_group_stride() +
                    static_cast<int64_t>(first_channel) * row_elements;
  const int rows = p.block_tiles * 16;
  const int real_rows = min(rows, static_cast<int>(problem.out_channels) - first_channel);
  for (int pair = lane; pair < p.steps * 8; pair += 32) {
    const int channel = pair / p.channel_pairs;
    const int tap = (pair - channel * p.channel_pairs) * 2;
    const bool first = channel < problem.in_channels && tap < taps;
    const bool second = first && tap + 1 < taps;
    const T* from = source + channel * taps + tap;
    // Lane and register of the pair in row 0 of a fragment.
    uint32_t* to = weights + (pair / 8 * kParts * 32 + pair % 4) * 4 + (pair / 4 % 2) * 2;
#pragma unroll 8
    for (int row = warp; row < rows; row += Conv1dToeplitzShape::kWarps) {
      const bool real = row < real_rows;
      const T zero = from_accumulate<T>(0.0f);
      const auto words = OperandPair<T>::of(
          real && first ? from[static_cast<int64_t>(row) * row_elements] : zero,
          real && second ? from[static_cast<int64_t>(row) * row_elements + 1] : zero);
      const int place = (row / 16 * p.steps * kParts * 32 + row % 8 * 4) * 4 + row / 8 % 2;
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        to[place + part * 128] = words.parts[part];
      }
    }
  }
}

/// The windows of one tile's positions in every channel of its batch entries, n and on.
template <typename T>
__device__ __forceinline__ void load_toeplitz_windows(const Conv1dToeplitzParams& p, int group,
                                                      int n, int64_t position,
                                                      OperandPair<T>* windows) {
  const Conv1dProblem& problem = p.problem;
  const int first = static_cast<int>(position * problem.stride - problem.padding);
  const int length = static_cast<int>(problem.in_length);
  const int dilation = static_cast<int>(problem.dilation);
  const int channels = static_cast<int>(problem.in_channels);
  const int rows = min(p.entries, static_cast<int>(problem.batch) - n) * channels;
  const int64_t step = problem.input_strides.length;
  const T* const input = static_cast<const T*>(problem.input) + n * problem.input_strides.batch +
                         group * problem.in_channels * problem.input_strides.channel;
  constexpr int kAtOnce = 8;  // words of a thread
  const T zero = from_accumulate<T>(0.0f);
  const int lane = static_cast<int>(threadIdx.x) & (p.row_threads - 1);
  for (int r = static_cast<int>(threadIdx.x) / p.row_threads; r < rows;
       r += Conv1dToeplitzShape::kThreads / p.row_threads) {
    const int entry = r / channels;
    const T* const row = input + entry * problem.input_strides.batch +
                         (r - entry * channels) * problem.input_strides.channel;
    OperandPair<T>* const window = windows + r * p.window_pitch;
    // Behind a test each, so that a row's end is loaded beside the rest.
    for (int begin = lane; begin < p.window_pitch; begin += kAtOnce * p.row_threads) {
      T values[kAtOnce][2];
#pragma unroll
      for (int word = 0; word < kAtOnce; ++word) {
        const int place = begin + word * p.row_threads;
        const int i = first + place, next = i + dilation;
        const bool inside = place < p.window_pitch;
        values[word][0] = inside && i >= 0 && i < length ? row[i * step] : zero;
        values[word][1] = inside && next >= 0 && next < length ? row[next * step] : zero;
      }
#pragma unroll
      for (int word = 0; word < kAtOnce; ++word) {
        const int place = begin + word * p.row_threads;
        if (place < p.window_pitch) {
          window[place] = OperandPair<T>::of(values[word][0], values[word][1]);
        }
      }
    }
  }
}

/// The place of a row's first sum in its row of a slab.
template <typename T>
__device__ __forceinline__ int slab_phase(const Conv1dToeplitzParams& p, const T* output) {
  return p.aligned ? 0 : static_cast<int>(reinterpret_cast<uintptr_t>(output) / sizeof(T) % 4);
}

/// Sums that came out non-finite, though those of the products themselves may not be: zeros beyond
/// the last tap and parts of fp32 meet Inf, and rounded high parts overflow.
template <typename T>
__device__ __noinline__ void recompute_slab(const Conv1dToeplitzParams& p, float* slab,
                                            const T* output, int n, int group, int first_channel,
                                            int position) {
  constexpr int kColumns = Conv1dToeplitzShape::kColumns, kPitch = Conv1dToeplitzShape::kSlabPitch;
  const Conv1dProblem& problem = p.problem;
  for (int i = threadIdx.x % 32; i < 16 * kColumns; i += 32) {
    const int row = i / kColumns, column = i % kColumns;
    const int phase = slab_phase(p, output + row * problem.output_strides.channel);
    float& sum = slab[row * kPitch + phase + column];
    if (!isfinite(sum) && first_channel + row < problem.out_channels &&
        position + column < problem.out_length) {
      sum = convolve_exactly<T>(problem, n, group, first_channel + row, position + column);
    }
  }
}

/// Stores four neighbours at once; assigned through a pointer they come as single words.
template <typename T>
__device__ __forceinline__ void store_four(T* to, const float (&values)[4]) {
  if constexpr (sizeof(T) == 2) {
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(to),
                 "r"(pack_pair<T>(values[0], values[1])), "r"(pack_pair<T>(values[2], values[3]))
                 : "memory");
  } else {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(values[0]),
                 "f"(values[1]), "f"(values[2]), "f"(values[3])
                 : "memory");
  }
}

/// Stores 16 rows of sums from a warp's slab: bias, activation, rounding. Four outputs at a time,
/// where they lie at a multiple of their size in memory: row r begins in its row of the slab at the
/// place slab_phase(r).
/// @param output   of the first row and column
/// @param rows     that are there, and columns
template <typename T, typename ActivationType>
__device__ __forceinline__ void store_slab(const Conv1dToeplitzParams& p, const float* slab,
                                           const float* bias, T* output, int rows, int columns) {
  constexpr int kColumns = Conv1dToeplitzShape::kColumns, kPitch = Conv1dToeplitzShape::kSlabPitch;
  constexpr int kLanes = kColumns / 4, kRows = 32 / kLanes;
  const int lane = threadIdx.x % 32;
  const int64_t pitch = p.problem.output_strides.channel;
  const auto finish = [&](float sum, float b) {
    return activate_sum<T, ActivationOfSum<T, ActivationType>>(sum, b);
  };
  if (columns < kColumns) {
#pragma unroll 2
    for (int row = 0; row < rows; ++row) {
      T* to = output + row * pitch;
      const float* sums = slab + row * kPitch + slab_phase(p, to);
      for (int j = lane; j < columns; j += 32) {
        to[j] = from_accumulate<T>(finish(sums[j], bias[row]));
      }
    }
    return;
  }
  const int column = lane % kLanes * 4;
#pragma unroll 4
  for (int row = lane / kLanes; row < 16; row += kRows) {
    T* to = output + row * pitch;
    const int phase = slab_phase(p, to);
    const float b = bias[row];
    const float4 sums = *reinterpret_cast<const float4*>(slab + row * kPitch + column);
    const float v[4] = {finish(sums.x, b), finish(sums.y, b), finish(sums.z, b), finish(sums.w, b)};
    if (row < rows && column >= phase) {
      store_four(to + column - phase, v);
    }
  }
  if (!p.aligned) {
    // Of four elements at most, the first and the last ones of a row.
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = lane / 4 + i * 8;
      T* to = output + row * pitch;
      const int phase = slab_phase(p, to);
      const int place = lane % 4 + (lane % 4 < phase ? kColumns : 0);
      if (row < rows && phase > 0) {
        to[place - phase] = from_accumulate<T>(finish(slab[row * kPitch + place], bias[row]));
      }
    }
  }
}

/// `kShared`: stride and dilation are 1 and a channel has whole steps, so that products share
/// words.
template <typename T, int kTilesM, bool kShared>
__global__ void __launch_bounds__(Conv1dToeplitzShape::kThreads,
                                  Conv1dToeplitzShape::kBlocksPerMultiprocessor)
    conv1d_toeplitz_kernel(const __grid_constant__ Conv1dToeplitzParams p) {
#if KERNELOPT_HAS_MMA
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kTilesN = Conv1dToeplitzShape::kTilesN;
  constexpr int kColumns = Conv1dToeplitzShape::kColumns, kPitch = Conv1dToeplitzShape::kSlabPitch;
  constexpr int kWarps = Conv1dToeplitzShape::kWarps, kThreads = Conv1dToeplitzShape::kThreads;
  using Pair = OperandPair<T>;
  const Conv1dProblem& problem = p.problem;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = blockIdx.y / p.m_blocks;
  const int block_channel = blockIdx.y % p.m_blocks * p.block_tiles * 16;
  const int stride = static_cast<int>(problem.stride);
  const int block_columns = p.subtiles * kColumns;

  extern __shared__ __align__(16) unsigned char shared[];
  uint4* weights = reinterpret_cast<uint4*>(shared);
  float* slabs = reinterpret_cast<float*>(weights + p.block_tiles * p.steps * kParts * 32);
  float* bias = slabs + kWarps * 16 * kPitch;
  int* places = reinterpret_cast<int*>(bias + p.block_tiles * 16);  // of pairs in a window
  Pair* windows = reinterpret_cast<Pair*>(places + p.steps * 8 + 8);
  const int window_pairs = p.window_words / kParts;
  float* slab = slabs + warp * 16 * kPitch;

  const auto load_windows = [&](int64_t tile, int buffer) {
    if (tile < p.all_tiles) {
      const int64_t row = tile / p.row_tiles;
      load_toeplitz_windows<T>(p, group, static_cast<int>(row) * p.entries,
                               (tile - row * p.row_tiles) * block_columns,
                               windows + buffer * window_pairs);
    }
  };
  prefetch_toeplitz_weights<T>(p, group, block_channel);
  load_windows(blockIdx.x, 0);
  load_toeplitz_weights<T>(p, group, block_channel, reinterpret_cast<uint32_t*>(weights));
  for (int i = threadIdx.x; i < p.block_tiles * 16; i += kThreads) {
    const int o = block_channel + i;
    bias[i] = problem.bias != nullptr && o < problem.out_channels
                  ? to_accumulate(static_cast<const T*>(
                        problem.bias)[static_cast<int64_t>(group) * problem.out_channels + o])
                  : 0.0f;
  }
  for (int i = threadIdx.x; i < p.steps * 8 + 8; i += kThreads) {
    const int channel = i / p.channel_pairs;
    places[i] = channel < problem.in_channels
                    ? channel * p.window_pitch +
                          (i - channel * p.channel_pairs) * 2 * static_cast<int>(problem.dilation)
                    : 0;
  }

  const int entry_items = p.subtiles * (p.block_tiles / kTilesM);
  int buffer = 0;
  for (int64_t tile = blockIdx.x; tile < p.all_tiles; tile += gridDim.x) {
    __syncthreads();  // this tile's windows are there, and those of the last have been read
    load_windows(tile + gridDim.x, buffer ^ 1);
    const int64_t tile_row = tile / p.row_tiles;
    const int position = static_cast<int>(tile - tile_row * p.row_tiles) * block_columns;
    const int tile_n = static_cast<int>(tile_row) * p.entries;
    const int items = min(p.entries, static_cast<int>(problem.batch) - tile_n) * entry_items;
    for (int item = warp; item < items; item += kWarps) {
      const int entry = p.entries == 1 ? 0 : item / entry_items;
      const int entry_item = item - entry * entry_items, n = tile_n + entry;
      const int subtile = entry_item % p.subtiles;
      const int first_tile = entry_item / p.subtiles * kTilesM;
      const int first = position + subtile * kColumns;
      const int columns = static_cast<int>(problem.out_length) - first;
      if (columns <= 0) {
        continue;
      }
      float sums[kTilesM][kTilesN][4];
#pragma unroll
      for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
        for (int j = 0; j < kTilesN; ++j) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            sums[m][j][i] = 0;
          }
        }
      }
      const Pair* column = windows + buffer * window_pairs +
                           entry * static_cast<int>(problem.in_channels) * p.window_pitch +
                           (subtile * kColumns + lane / 4) * stride;
      const uint4* fragments = weights + first_tile * p.steps * kParts * 32 + lane;
      const int tile_pitch = p.steps * kParts * 32;
      uint4 a[kParts][kTilesM];
      const auto load_fragments = [&] {
#pragma unroll
        for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
          for (int part = 0; part < kParts; ++part) {
            a[part][m] = fragments[m * tile_pitch + part * 32];
          }
        }
        fragments += kParts * 32;
      };
      const auto multiply = [&](int j, const Pair& b0, const Pair& b1) {
      // Term by term over the tiles: neighbouring products are independent.
#pragma unroll
        for (int m = 0; m < kTilesM; ++m) {
          mma_m16n8k16<T>(sums[m][j], a[0][m], b0.parts[0], b1.parts[0]);
        }
        if constexpr (kParts == 2) {
#pragma unroll
          for (int m = 0; m < kTilesM; ++m) {
            mma_m16n8k16<T>(sums[m][j], a[1][m], b0.parts[0], b1.parts[0]);
          }
#pragma unroll
          for (int m = 0; m < kTilesM; ++m) {
            mma_m16n8k16<T>(sums[m][j], a[0][m], b0.parts[1], b1.parts[1]);
          }
        }
      };
      if constexpr (kShared) {
        // Eight taps on are eight positions on: a step needs two words that the last one had not.
        const int channel_steps = p.channel_pairs / 8;
        column += lane % 4 * 2;
        for (int channel = 0; channel < static_cast<int>(problem.in_channels); ++channel) {
          const Pair* next = column;
          Pair words[kTilesN + 1];
#pragma unroll
          for (int j = 0; j < kTilesN - 1; ++j, next += 8) {
            words[j] = *next;
          }
#pragma unroll 2
          for (int step = 0; step < channel_steps; ++step, next += 16) {
            words[kTilesN - 1] = next[0];
            words[kTilesN] = next[8];
            load_fragments();
#pragma unroll
            for (int j = 0; j < kTilesN; ++j) {
              multiply(j, words[j], words[j + 1]);
            }
#pragma unroll
            for (int j = 0; j < kTilesN - 1; ++j) {
              words[j] = words[j + 2];
            }
          }
          column += p.window_pitch;
        }
      } else {
        int apart[kTilesN];
#pragma unroll
        for (int j = 0; j < kTilesN; ++j) {
          apart[j] = j * 8 * stride;
          asm volatile("" : "+r"(apart[j]));  // kept, not made of one another in every step
        }
        const int* place = places + lane % 4;
        const Pair* lower = column + place[0];
        const Pair* upper = column + place[4];
#pragma unroll 2
        for (int step = 0; step < p.steps; ++step) {
          place += 8;
          const int next_lower = place[0], next_upper = place[4];
          load_fragments();
#pragma unroll
          for (int j = 0; j < kTilesN; ++j) {
            multiply(j, lower[apart[j]], upper[apart[j]]);
          }
          lower = column + next_lower;
          upper = column + next_upper;
        }
      }

#pragma unroll
      for (int m = 0; m < kTilesM; ++m) {
        const int tile_channel = (first_tile + m) * 16, channel = block_channel + tile_channel;
        const int rows = min(16, static_cast<int>(problem.out_channels) - channel);
        if (rows <= 0) {
          break;
        }
        T* output = static_cast<T*>(problem.output) + n * problem.output_strides.batch +
                    (static_cast<int64_t>(group) * problem.out_channels + channel) *
                        problem.output_strides.channel +
                    first;
        float test = 0;  // times 0, only what is not finite changes it
        __syncwarp();    // the slab has been stored
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int row = lane / 4 + i * 8;
          const int phase = slab_phase(p, output + row * problem.output_strides.channel);
          float* to = slab + row * kPitch + phase + lane % 4 * 2;
#pragma unroll
          for (int j = 0; j < kTilesN; ++j) {
            const float* pair = sums[m][j] + i * 2;
            test = fmaf(pair[0], 0.0f, fmaf(pair[1], 0.0f, test));
            if (p.aligned) {
              *reinterpret_cast<float2*>(to + j * 8) = make_float2(pair[0], pair[1]);
            } else {
              to[j * 8] = pair[0];
              to[j * 8 + 1] = pair[1];
            }
          }
        }
        __syncwarp();
        if (__any_sync(~0u, test != 0)) {
          recompute_slab<T>(p, slab, output, n, group, channel, first);
          __syncwarp();
        }
        with_activation(problem.activation, [&](auto kind) {
          store_slab<T, decltype(kind)>(p, slab, bias + tile_channel, output, rows, columns);
        });
      }
    }
    buffer ^= 1;
  }
#endif
}

}  // namespace kernelopt
