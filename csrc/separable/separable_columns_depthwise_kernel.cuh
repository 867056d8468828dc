// The depthwise half of a separable convolution whose images begin on any element: writes its
// values as padded columns in the parts that the tensor cores multiply, and packs the pointwise
// weight beside. A block's source is one run of memory, whole planes or rows of one, which it holds
// in shared memory. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "separable/separable_columns_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_BULK_COPY

/// A value as an operand: 16 bits, of fp32 in two parts. `next` bytes lead to the low one.
template <typename T>
__device__ __forceinline__ void store_column(uint16_t* place, int64_t next, float value) {
  if constexpr (MmaTraits<T>::kParts == 2) {
    const SplitPair pair = split_bf16(value, 0.0f);
    place[0] = static_cast<uint16_t>(pair.high);
    place[next] = static_cast<uint16_t>(pair.low);
  } else {
    const T rounded = from_accumulate<T>(value);
    place[0] = *reinterpret_cast<const uint16_t*>(&rounded);
  }
}

/// Packs eight elements of the weight a thread.
template <typename T>
__device__ __forceinline__ void pack_columns_weight(const SeparableColumnsParams& p, int block) {
  using Shape = SeparableColumnsShape;
  constexpr int kParts = MmaTraits<T>::kParts, kChunkK = Shape::kChunkElements / kParts;
  const int at = block * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  const int row_vectors = p.chunks * kChunkK / 8, channels = p.problem.channels;
  const int n = at / row_vectors, k = (at - n * row_vectors) * 8;
  if (n >= p.problem.out_channels) {
    return;
  }
  const T* weight = static_cast<const T*>(p.problem.pointwise_weight) + int64_t{n} * channels + k;
  alignas(16) T values[8];
  if (k + 8 <= channels && reinterpret_cast<uintptr_t>(weight) % 16 == 0) {
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T)) / 2; ++i) {
      reinterpret_cast<uint4*>(values)[i] = reinterpret_cast<const uint4*>(weight)[i];
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i] = k + i < channels ? weight[i] : from_accumulate<T>(0.0f);
    }
  }
  uint16_t* packed = static_cast<uint16_t*>(p.packed) + k / kChunkK * Shape::kChunkElements +
                     k % kChunkK + int64_t{n} * p.chunks * Shape::kChunkElements;
  store_operands(values, reinterpret_cast<uint4*>(packed),
                 reinterpret_cast<uint4*>(packed + kChunkK));
}

/// Copies `count` elements to shared memory, the first one to the place that its address has in 16
/// bytes. All threads call it, and synchronize after it.
/// @param barrier  shared address of a barrier of one arrival, in its first phase
template <typename T>
__device__ __forceinline__ void load_run(T* shared, const T* begin, int count, uint32_t barrier) {
  constexpr int kSize = static_cast<int>(sizeof(T));
  const int shift = static_cast<int>(reinterpret_cast<uintptr_t>(begin) % 16 / kSize);
  // Whole 16 bytes, which may hold elements before the first one but none behind the last one.
  const int whole = (shift + count) * kSize / 16 * (16 / kSize);
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(barrier, whole * kSize);
    if (whole > 0) {
      bulk_load(shared_address(shared), begin - shift, whole * kSize, barrier);
    }
  }
  const int at = max(whole, shift) + static_cast<int>(threadIdx.x);
  if (at < shift + count) {
    shared[at] = begin[at - shift];
  }
  mbarrier_wait(barrier, 0);
}

/// Adds to the sums of neighbouring results what their windows hold.
/// @param line  the first window's first value, at (y, x) of an image of height x width; nothing
///              outside the image is read
template <typename T, int kSize, int kStride, int kRows, int kColumns>
__device__ __forceinline__ void add_windows(const T* line, int y, int x, int height, int width,
                                            const float (&filter)[kSize * kSize],
                                            float (&sums)[kRows][kColumns]) {
  constexpr int kSourceColumns = (kColumns - 1) * kStride + kSize;
  bool inside_x[kSourceColumns];
#pragma unroll
  for (int j = 0; j < kSourceColumns; ++j) {
    inside_x[j] = static_cast<unsigned>(x + j) < static_cast<unsigned>(width);
  }
#pragma unroll
  for (int i = 0; i < (kRows - 1) * kStride + kSize; ++i) {
    const bool inside_y = static_cast<unsigned>(y + i) < static_cast<unsigned>(height);
    float values[kSourceColumns];
#pragma unroll
    for (int j = 0; j < kSourceColumns; ++j) {
      values[j] = 0.0f;
      if (inside_y & inside_x[j]) {
        values[j] = to_accumulate(line[j]);
      }
    }
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      const int row = i - o * kStride;
      if (row >= 0 && row < kSize) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
#pragma unroll
          for (int j = 0; j < kSize; ++j) {
            sums[o][c] = fmaf(filter[row * kSize + j], values[c * kStride + j], sums[o][c]);
          }
        }
      }
    }
    line += width;
  }
}

/// The same for windows of any stride and dilation, which share no rows.
template <typename T, int kSize, int kRows>
__device__ __forceinline__ void add_windows_apart(const T* line, int y, int x,
                                                  const SeparableAxis& h, const SeparableAxis& w,
                                                  const float (&filter)[kSize * kSize],
                                                  float (&sums)[kRows][1]) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      const int down = o * h.stride + i * h.dilation;
      const bool inside_y = static_cast<unsigned>(y + down) < static_cast<unsigned>(h.input_size);
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        const int across = j * w.dilation;
        const bool inside_x =
            static_cast<unsigned>(x + across) < static_cast<unsigned>(w.input_size);
        float value = 0.0f;
        if (inside_y & inside_x) {
          value = to_accumulate(line[down * w.input_size + across]);
        }
        sums[o][0] = fmaf(filter[i * kSize + j], value, sums[o][0]);
      }
    }
  }
}

#endif

/// @tparam kSize    of a kernel's sides
/// @tparam kStride  along both axes, without dilation; 0: any, and any dilation
/// @tparam kRows    p.strip_rows
/// @tparam kColumns p.strip_columns; 1 unless the stride is given
template <typename T, int kSize, int kStride, int kRows, int kColumns>
__global__ void __launch_bounds__(SeparableColumnsShape::kDepthwiseThreads)
    separable_columns_depthwise_kernel(const __grid_constant__ SeparableColumnsParams p) {
#if KERNELOPT_HAS_BULK_COPY
  extern __shared__ __align__(1024) unsigned char shared[];
  const SeparableAxis &h = p.problem.h, &w = p.problem.w;
  const uint32_t barrier = shared_address(shared);
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 1);
    mbarrier_fence_init();
  }
  __syncthreads();
  grid_dependency_wait();
  grid_dependency_launch();
  if (static_cast<int>(blockIdx.x) >= p.source_blocks) {
    pack_columns_weight<T>(p, blockIdx.x - p.source_blocks);
    return;
  }
  const int first_plane = blockIdx.x / p.strip_blocks * p.block_planes;
  const int planes = min(p.block_planes, p.source_planes - first_plane);
  const int first_row = blockIdx.x % p.strip_blocks * p.block_strips * kRows;
  const int rows = min(h.output_size - first_row, p.block_strips * kRows);
  const int first_y = max(0, first_row * h.stride - h.padding);
  const int end_y = min(h.input_size, (first_row + rows - 1) * h.stride - h.padding +
                                          (h.kernel_size - 1) * h.dilation + 1);
  const int source_plane = h.input_size * w.input_size;
  const T* source = static_cast<const T*>(p.problem.input) + int64_t{first_plane} * source_plane +
                    first_y * w.input_size;
  const int count = p.strip_blocks > 1 ? max(0, end_y - first_y) * w.input_size
                                       : planes * source_plane - first_y * w.input_size;
  load_run<T>(reinterpret_cast<T*>(shared + 16), source, count, barrier);
  __syncthreads();
  const T* const values =
      reinterpret_cast<const T*>(shared + 16 + reinterpret_cast<uintptr_t>(source) % 16) -
      first_y * w.input_size;

  const int64_t low = int64_t{p.problem.channels} * p.total;  // elements to the low parts
  uint16_t* const columns = static_cast<uint16_t*>(p.columns);
  const auto row_of = [&](unsigned plane) {
    const unsigned n = p.channels.quotient(plane), channel = plane - n * p.channels.divisor;
    return columns + int64_t{channel} * p.total + n * p.pitch;
  };
  if (first_row + rows == h.output_size && p.pitch > p.plane) {
    for (int i = threadIdx.x; i < planes; i += blockDim.x) {
      uint16_t* row = row_of(first_plane + i);
      for (int at = p.plane; at < p.pitch; ++at) {
        store_column<T>(row + at, low, 0.0f);
      }
    }
  }
  const int items = planes * p.block_strips * static_cast<int>(p.widths.divisor);
  for (unsigned item = threadIdx.x; item < items; item += blockDim.x) {
    const unsigned rest = p.widths.quotient(item);
    const int column = static_cast<int>(item - rest * p.widths.divisor) * kColumns;
    const unsigned plane = p.strips.quotient(rest);
    const int row = first_row + static_cast<int>(rest - plane * p.strips.divisor) * kRows;
    const unsigned n = p.channels.quotient(first_plane + plane);
    const unsigned channel = first_plane + plane - n * p.channels.divisor;
    const int y = row * h.stride - h.padding;
    const int x = column * w.stride - w.padding;
    const T* const image = values + static_cast<int>(plane) * source_plane;
    const T* const taps = static_cast<const T*>(p.problem.depthwise_weight) +
                          int64_t{channel} * h.kernel_size * w.kernel_size;
    const T* bias = static_cast<const T*>(p.problem.depthwise_bias);
    const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
    float sums[kRows][kColumns];
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        sums[o][c] = start;
      }
    }
    float filter[kSize * kSize], zero = 0.0f;
#pragma unroll
    for (int tap = 0; tap < kSize * kSize; ++tap) {
      filter[tap] = to_accumulate(taps[tap]);
      zero += filter[tap] * 0.0f;
    }
    if (zero == 0.0f) {
      const T* const line = image + y * w.input_size + x;
      if constexpr (kStride > 0) {
        add_windows<T, kSize, kStride>(line, y, x, h.input_size, w.input_size, filter, sums);
      } else {
        add_windows_apart<T, kSize>(line, y, x, h, w, filter, sums);
      }
    } else {
      // The zeros outside the image must not meet taps that are not finite.
#pragma unroll 1
      for (int tap = 0; tap < kSize * kSize; ++tap) {
        const int i = tap / kSize, j = tap - i * kSize;
        const float factor = to_accumulate(taps[tap]);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const int at_x = x + c * w.stride + j * w.dilation;
          if (at_x >= 0 && at_x < w.input_size) {
#pragma unroll
            for (int o = 0; o < kRows; ++o) {
              const int at_y = y + o * h.stride + i * h.dilation;
              if (at_y >= 0 && at_y < h.input_size && row + o < h.output_size) {
                sums[o][c] =
                    fmaf(factor, to_accumulate(image[at_y * w.input_size + at_x]), sums[o][c]);
              }
            }
          }
        }
      }
    }
    uint16_t* const place =
        columns + int64_t{channel} * p.total + n * p.pitch + row * w.output_size + column;
    with_activation(p.problem.depthwise_activation, [&](auto kind) {
      uint16_t* to = place;
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          if ((row + o < h.output_size) & (column + c < w.output_size)) {
            store_column<T>(to + c, low, decltype(kind)::forward(sums[o][c]));
          }
        }
        to += w.output_size;
      }
    });
  }
#endif
}

}  // namespace kernelopt
