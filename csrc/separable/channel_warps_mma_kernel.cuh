// The pointwise product of so few pixels that latency is its time: the warps of a block share the
// sum, read the weights and the pixels straight into the fragments of mma.sync, and meet in shared
// memory. One launch, one trip to memory. fp32 is multiplied as bf16 parts: high * high +
// high * low + low * high.
#pragma once

#include "common/cluster.cuh"
#include "common/grid_dependency.cuh"
#include "common/mma.cuh"
#include "separable/channel_warps_mma_params.h"

namespace kernelopt {

/// How a thread reads an operand.
enum class LineAccess {
  kAlong,    // 16 bytes of a line: the sum's channels follow each other in memory
  kAcross,   // a step of four lines, which follow each other
  kElements  // one by one
};

namespace channel_warps_mma {

/// What a thread of an operand holds of a chunk: four lines (rows of the weight, or pixels), of
/// each two times four steps of the sum.
template <typename T, LineAccess kAccess>
struct Lines {
  static constexpr bool kWide = sizeof(T) == 2;
  T values[4][2][4];

  /// The line of the operand's tile that is the `index`-th of a fragment, 0 to 7, of four.
  static __device__ __forceinline__ int line(int index, int fragment) {
    return kAccess == LineAccess::kAcross ? index * 4 + fragment : fragment * 8 + index;
  }
  /// Which of the chunk's steps begins a thread's four: a vector of 16 bytes of each of a line's
  /// four threads lies beside the other's. The products take any order that is both operands'.
  static __device__ __forceinline__ int step(int quad, int half) {
    return kWide ? quad * 8 + half * 4 : half * 16 + quad * 4;
  }

  /// @param offsets  of the four lines
  __device__ __forceinline__ void load(const T* data, const int (&offsets)[4], int k_stride,
                                       int first, int end, int quad) {
    if constexpr (kAccess == LineAccess::kAlong) {
      constexpr int kVec = 16 / sizeof(T);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int v = 0; v < 8 / kVec; ++v) {
          const int k = first + step(quad, v);
          Vec<T, kVec> vector = {};
          if (k < end) {
            vector = *reinterpret_cast<const Vec<T, kVec>*>(data + offsets[i] + k);
          }
#pragma unroll
          for (int e = 0; e < kVec; ++e) {
            values[i][v + e / 4][e % 4] = vector.values[e];
          }
        }
      }
    } else {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int k = first + step(quad, half) + e;
          if constexpr (kAccess == LineAccess::kAcross) {
            Vec<T, 4> vector = {};
            if (k < end) {
              vector = *reinterpret_cast<const Vec<T, 4>*>(data + offsets[0] + k * k_stride);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              values[i][half][e] = vector.values[i];
            }
          } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              values[i][half][e] =
                  k < end ? data[offsets[i] + k * k_stride] : from_accumulate<T>(0.0f);
            }
          }
        }
      }
    }
  }

  /// Two neighbouring steps as the tensor cores take them; in 16 bit they have no low parts.
  __device__ __forceinline__ SplitPair pair(int line, int half, int second) const {
    const T* const from = values[line][half] + second * 2;
    if constexpr (kWide) {
      uint16_t words[2];
      words[0] = *reinterpret_cast<const uint16_t*>(from);
      words[1] = *reinterpret_cast<const uint16_t*>(from + 1);
      return {words[0] | static_cast<uint32_t>(words[1]) << 16, 0};
    } else {
      return split_bf16_unlimited(from[0], from[1]);
    }
  }
};

/// What the split made Inf or NaN, in plain fp32.
__device__ __noinline__ float sum_exactly(const ChannelWarpsMmaParams& p, const float* weight,
                                          const float* pixel) {
  float sum = 0.0f;
#pragma unroll 1
  for (int k = 0; k < p.k; ++k) {
    sum = fmaf(weight[k * p.weight_k_stride], pixel[k * p.image_k_stride], sum);
  }
  return sum;
}

/// sums[row of two fragments, column of four] += rows * columns, of a chunk.
template <typename T, typename Rows, typename Columns>
__device__ __forceinline__ void multiply(float (&sums)[2][4][4], const Rows& rows,
                                         const Columns& columns) {
  constexpr int kParts = MmaTraits<T>::kParts;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint4 a[2][kParts];
    uint2 b[4][kParts];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const SplitPair x = rows.pair(i * 2, half, 0), y = rows.pair(i * 2 + 1, half, 0);
      const SplitPair z = rows.pair(i * 2, half, 1), w = rows.pair(i * 2 + 1, half, 1);
      a[i][0] = make_uint4(x.high, y.high, z.high, w.high);
      if constexpr (kParts == 2) {
        a[i][1] = make_uint4(x.low, y.low, z.low, w.low);
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const SplitPair x = columns.pair(j, half, 0), y = columns.pair(j, half, 1);
      b[j][0] = make_uint2(x.high, y.high);
      if constexpr (kParts == 2) {
        b[j][1] = make_uint2(x.low, y.low);
      }
    }
    // The small products first, each sum's apart from its last.
#pragma unroll
    for (int part = kParts == 2 ? 0 : 2; part < 3; ++part) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint2& column = b[j][part == 1 ? kParts - 1 : 0];
          mma_m16n8k16<T>(sums[i][j], a[i][part == 0 ? kParts - 1 : 0], column.x, column.y);
        }
      }
    }
  }
}

}  // namespace channel_warps_mma

/// Blocks: (shares of the sum, a cluster, of each tile of pixels, tiles of channels, images).
/// @tparam kShares  whether blocks share sums
template <typename T, LineAccess kWeightAccess, LineAccess kImageAccess, bool kShares>
__global__ void __launch_bounds__(ChannelWarpsMmaShape::kMaxWarps * 32)
    channel_warps_mma_kernel(const __grid_constant__ ChannelWarpsMmaParams p) {
#if KERNELOPT_HAS_MMA
  using Shape = ChannelWarpsMmaShape;
  using Rows = channel_warps_mma::Lines<T, kWeightAccess>;
  using Columns = channel_warps_mma::Lines<T, kImageAccess>;
  constexpr int kTile = Shape::kTile, kPitch = kTile + 1;
  __shared__ float shared_sums[Shape::kMaxWarps][kTile * kPitch];
  __shared__ float shared_bias[kTile];
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32, group = lane / 4, quad = lane % 4;
  const int shares = kShares ? p.shares : 1;
  const int share = static_cast<int>(blockIdx.x) % shares;
  const int first_pixel = static_cast<int>(blockIdx.x) / shares * kTile;
  const int first_channel = static_cast<int>(blockIdx.y) * kTile;
  const T* const weight = static_cast<const T*>(p.weight);
  const T* const images = static_cast<const T*>(p.images) + blockIdx.z * p.image_size;
  // Lines beyond the last read others once more; their results are not stored.
  int weight_offsets[4], image_offsets[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    weight_offsets[i] = min(first_channel + Rows::line(group, i), p.n - 1) * p.weight_n_stride;
    const int last = kImageAccess == LineAccess::kAcross ? p.pixels - 4 : p.pixels - 1;
    image_offsets[i] = min(first_pixel + Columns::line(group, i), last) * p.image_pixel_stride;
  }
  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
  float bias = 0.0f;
  if (threadIdx.x < kTile && p.bias != nullptr) {
    const int channel = min(first_channel + static_cast<int>(threadIdx.x), p.n - 1);
    bias = to_accumulate(static_cast<const T*>(p.bias)[channel]);
  }

  // Two chunks are under way.
  Rows rows[2];
  Columns columns[2];
  const int begin = kShares ? share * p.share_steps : 0;
  const int end = kShares ? min(begin + p.share_steps, p.k) : p.k;
  int next = begin + warp * Shape::kSteps;
  const auto load = [&](int buffer) {
    rows[buffer].load(weight, weight_offsets, p.weight_k_stride, next, end, quad);
    columns[buffer].load(images, image_offsets, p.image_k_stride, next, end, quad);
    next += warps * Shape::kSteps;
  };
  float sums[2][4][4] = {};
  load(0);
  load(1);
  const int chunks = (end - begin - 1) / Shape::kSteps / warps + 1;
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; chunk += 2) {
#pragma unroll
    for (int buffer = 0; buffer < 2; ++buffer) {
      if (chunk + buffer < chunks) {
        channel_warps_mma::multiply<T>(sums, rows[buffer], columns[buffer]);
      }
      if (chunk + 2 < chunks) {
        load(buffer);
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int channel = Rows::line(group, i * 2 + r / 2);
        const int pixel = Columns::line(quad * 2 + r % 2, j);
        shared_sums[warp][channel * kPitch + pixel] = sums[i][j][r];
      }
    }
  }
  if (threadIdx.x < kTile) {
    shared_bias[threadIdx.x] = bias;
  }
  __syncthreads();
  T* const result = static_cast<T*>(p.result) + blockIdx.z * p.result_size;
  const bool channels_last = p.result_pixel_stride != 1;
  int first_line = 0, lines = kTile;
#if KERNELOPT_HAS_BULK_COPY
  if constexpr (kShares) {
    // Each block of the cluster adds up and stores some lines.
#pragma unroll 4
    for (int line = warp; line < kTile; line += warps) {
      float sum = 0.0f;
#pragma unroll
      for (int part = 0; part < Shape::kMaxWarps; ++part) {
        sum += part < warps ? shared_sums[part][line * kPitch + lane] : 0.0f;
      }
      shared_sums[0][line * kPitch + lane] = sum;
    }
    cluster_barrier();
    lines = kTile / shares;
    first_line = share * lines;
  }
#endif
#pragma unroll 4
  for (int line = first_line + warp; line < first_line + lines; line += warps) {
    // Neighbouring threads store neighbours in memory.
    const int channel = channels_last ? lane : line, pixel = channels_last ? line : lane;
    float sum = 0.0f;
    if constexpr (kShares) {
#if KERNELOPT_HAS_BULK_COPY
      const uint32_t place = shared_address(shared_sums[0] + channel * kPitch + pixel);
      for (int other = 0; other < shares; ++other) {
        sum += cluster_load(cluster_address(place, other));
      }
#endif
    } else {
#pragma unroll
      for (int part = 0; part < Shape::kMaxWarps; ++part) {
        sum += part < warps ? shared_sums[part][channel * kPitch + pixel] : 0.0f;
      }
    }
    const int n = first_channel + channel, m = first_pixel + pixel;
    if (n < p.n && m < p.pixels) {
      if constexpr (MmaTraits<T>::kParts == 2) {
        if (!isfinite(sum)) {
          sum = channel_warps_mma::sum_exactly(p, weight + n * p.weight_n_stride,
                                               images + m * p.image_pixel_stride);
        }
      }
      result[n * p.result_n_stride + m * p.result_pixel_stride] =
          from_accumulate<T>(apply_activation(p.activation, sum + shared_bias[channel]));
    }
  }
#if KERNELOPT_HAS_BULK_COPY
  if constexpr (kShares) {
    cluster_barrier();  // others may still read this block's sums
  }
#endif
#endif
}

}  // namespace kernelopt
