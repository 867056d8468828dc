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

/// A value as an operand: 16 bits, of fp32 in two parts. `next` elements lead to the low one.
template <typename T, typename Index>
__device__ __forceinline__ void store_column(uint16_t* place, Index next, float value) {
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
/// bytes. All threads call it.
/// @param end      of the tensor
/// @param barrier  shared address of a barrier of one arrival
template <typename T>
__device__ __forceinline__ void load_run(T* shared, const T* begin, int count, const T* end,
                                         uint32_t barrier) {
  constexpr int kSize = static_cast<int>(sizeof(T)), kUnit = 16 / kSize;
  const int shift = static_cast<int>(reinterpret_cast<uintptr_t>(begin) % 16 / kSize);
  // Whole 16 bytes, which may hold elements before the first one and behind the last one, but none
  // behind the tensor's.
  const int filled = shift + count, rounded = (filled + kUnit - 1) / kUnit * kUnit;
  const int whole = begin - shift + rounded <= end ? rounded : filled / kUnit * kUnit;
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(barrier, whole * kSize);
    if (whole > 0) {
      bulk_load(shared_address(shared), begin - shift, whole * kSize, barrier);
    }
  }
  const int at = max(whole, shift) + static_cast<int>(threadIdx.x);
  if (at < filled) {
    shared[at] = begin[at - shift];
  }
}

/// What a block has in shared memory at a time: whole planes, or rows of one.
struct ColumnsGroup {
  int first_plane, planes;
  int first_row, rows;  // of results
  int first_y;          // of the source
  int64_t begin;        // element of the input
  int count;

  __device__ __forceinline__ ColumnsGroup(const SeparableColumnsParams& p, int at) {
    const SeparableAxis &h = p.problem.h, &w = p.problem.w;
    const int part = p.strip_blocks > 1 ? at % p.strip_blocks : 0;
    first_plane = (p.strip_blocks > 1 ? at / p.strip_blocks : at) * p.block_planes;
    planes = min(p.block_planes, p.source_planes - first_plane);
    first_row = part * p.block_strips * p.strip_rows;
    rows = min(h.output_size - first_row, p.block_strips * p.strip_rows);
    first_y = max(0, first_row * h.stride - h.padding);
    const int end_y = min(h.input_size, (first_row + rows - 1) * h.stride - h.padding +
                                            (h.kernel_size - 1) * h.dilation + 1);
    const int source_plane = h.input_size * w.input_size;
    begin = int64_t{first_plane} * source_plane + first_y * w.input_size;
    count = p.strip_blocks > 1 ? max(0, end_y - first_y) * w.input_size
                               : planes * source_plane - first_y * w.input_size;
  }
};

/// A value in shared memory, or 0 where `keep` is 0, else all ones.
template <typename T>
__device__ __forceinline__ float load_masked(uint32_t address, uint32_t keep) {
  if constexpr (sizeof(T) == 4) {
    uint32_t bits;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(bits) : "r"(address));
    return __uint_as_float(bits & keep);
  } else {
    uint16_t half;
    asm volatile("ld.shared.b16 %0, [%1];" : "=h"(half) : "r"(address));
    if constexpr (std::is_same_v<T, __half>) {
      const uint16_t bits = static_cast<uint16_t>(half & keep);
      return __half2float(*reinterpret_cast<const __half*>(&bits));
    } else {
      // The value's bytes above two of zeros.
      return __uint_as_float(__byte_perm(half, 0, 0x4444 ^ (keep & (0x4444 ^ 0x1044))));
    }
  }
}

/// Adds to the sums of neighbouring results what their windows hold.
/// @param line   shared address of the first window's first value, at (y, x) of an image of height
///               x width
/// @param zeros  that of 16 bytes of zeros
template <typename T, int kSize, int kStride, int kRows, int kColumns>
__device__ __forceinline__ void add_windows(uint32_t line, uint32_t zeros, int y, int x, int height,
                                            int width, const float (&filter)[kSize * kSize],
                                            float (&sums)[kRows][kColumns]) {
  constexpr int kSourceColumns = (kColumns - 1) * kStride + kSize;
  constexpr int kBytes = static_cast<int>(sizeof(T));
  static_assert(kSourceColumns * kBytes <= 16, "zeros of a line");
  // Nothing outside the image counts, be it Inf or NaN.
  uint32_t keep[kSourceColumns];
#pragma unroll
  for (int j = 0; j < kSourceColumns; ++j) {
    keep[j] = static_cast<unsigned>(x + j) < static_cast<unsigned>(width) ? 0xffffffffu : 0;
  }
#pragma unroll
  for (int i = 0; i < (kRows - 1) * kStride + kSize; ++i) {
    const uint32_t from =
        static_cast<unsigned>(y + i) < static_cast<unsigned>(height) ? line : zeros;
    float values[kSourceColumns];
#pragma unroll
    for (int j = 0; j < kSourceColumns; ++j) {
      values[j] = load_masked<T>(from + j * kBytes, keep[j]);
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
    line += width * kBytes;
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

/// Stores a block's results, which are together in shared memory.
/// @param begin  of theirs in a plane of results, elements
/// @param count  of elements of a plane
/// @param stage  of what lies at a multiple of 16 bytes at or before the first one
template <typename T>
__device__ __forceinline__ void store_group(const SeparableColumnsParams& p,
                                            const ColumnsGroup& group, int begin, int count,
                                            const uint16_t* stage) {
  const int shift = begin % 8;
  const unsigned units = group.planes * ((shift + count + 7) / 8);
  const int64_t next_part = int64_t{p.problem.channels} * p.total;
  for (unsigned unit = threadIdx.x; unit < units; unit += blockDim.x) {
    const unsigned plane = p.units.quotient(unit);
    const int first = static_cast<int>(unit - plane * p.units.divisor) * 8;
    const unsigned n = p.channels.quotient(group.first_plane + plane);
    const unsigned channel = group.first_plane + plane - n * p.channels.divisor;
    uint16_t* to = static_cast<uint16_t*>(p.columns) + int64_t{channel} * p.total + n * p.pitch +
                   (begin - shift) + first;
    const uint16_t* from = stage + plane * p.pitch + first;
#pragma unroll
    for (int part = 0; part < MmaTraits<T>::kParts; ++part) {
      if (first >= shift && first + 8 <= shift + count) {
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
      } else {
        for (int i = max(shift - first, 0); i < min(8, shift + count - first); ++i) {
          to[i] = from[i];
        }
      }
      to += next_part;
      from += p.stage_elements;
    }
  }
}

/// The start of a block that writes columns. All threads.
/// @param barrier  shared address of that of its source
/// @return whether it has planes; else it packs the weight instead, and has done so
template <typename T>
__device__ __forceinline__ bool begins_columns(const SeparableColumnsParams& p, uint32_t barrier) {
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 1);
    mbarrier_fence_init();
  }
  __syncthreads();
  grid_dependency_wait();
  grid_dependency_launch();
  if (static_cast<int>(blockIdx.x) >= p.source_blocks) {
    pack_columns_weight<T>(p, blockIdx.x - p.source_blocks);
    return false;
  }
  return true;
}

#endif

/// @tparam kSize    of a kernel's sides
/// @tparam kStride  along both axes, without dilation; 0: any, and any dilation
/// @tparam kRows    p.strip_rows
/// @tparam kColumns p.strip_columns; 1 unless the stride is given
template <typename T, int kSize, int kStride, int kRows, int kColumns>
__global__ void __launch_bounds__(SeparableColumnsShape::kDepthwiseThreads,
                                  SeparableColumnsShape::depthwise_blocks(kColumns))
    separable_columns_depthwise_kernel(const __grid_constant__ SeparableColumnsParams p) {
#if KERNELOPT_HAS_BULK_COPY
  using Shape = SeparableColumnsShape;
  // Many results are put together in shared memory, so that 16 bytes leave at once.
  constexpr bool kStages = Shape::stages(kRows);
  constexpr int kHead = Shape::kDepthwiseHead;
  // A barrier, 16 bytes of zeros, the source, results.
  extern __shared__ __align__(1024) unsigned char shared[];
  const SeparableAxis &h = p.problem.h, &w = p.problem.w;
  const uint32_t barrier = shared_address(shared);
  if (threadIdx.x == 0) {
    *reinterpret_cast<uint4*>(shared + 16) = make_uint4(0, 0, 0, 0);
  }
  if (!begins_columns<T>(p, barrier)) {
    return;
  }
  const ColumnsGroup group(p, blockIdx.x);
  const int source_plane = h.input_size * w.input_size, first_row = group.first_row;
  const T* const input = static_cast<const T*>(p.problem.input);
  const T* const source = input + group.begin;
  load_run<T>(reinterpret_cast<T*>(shared + kHead), source, group.count,
              input + int64_t{p.source_planes} * source_plane, barrier);

  const auto channel_of = [&](unsigned plane) {
    return plane - p.channels.quotient(plane) * p.channels.divisor;
  };
  // The columns of the planes, in memory or of those of the block in shared memory: from its first
  // row on, at the place that they have in 16 bytes.
  using Index = std::conditional_t<kStages, int, int64_t>;
  const Index low = kStages ? static_cast<Index>(p.stage_elements)  // elements to the low parts
                            : static_cast<Index>(int64_t{p.problem.channels} * p.total);
  uint16_t* const stage = reinterpret_cast<uint16_t*>(shared + p.stage_offset);
  const int begin = first_row * w.output_size;
  const auto plane_of = [&](int plane) {
    if constexpr (kStages) {
      return stage + plane * p.pitch + begin % 8 - begin;
    } else {
      const unsigned at = group.first_plane + plane, n = p.channels.quotient(at);
      return static_cast<uint16_t*>(p.columns) + int64_t{channel_of(at)} * p.total + n * p.pitch;
    }
  };
  const bool ends = first_row + group.rows == h.output_size;
  if (ends && p.pitch > p.plane) {
    for (int i = threadIdx.x; i < group.planes; i += blockDim.x) {
      uint16_t* const place = plane_of(i);
      for (int at = p.plane; at < p.pitch; ++at) {
        store_column<T>(place + at, low, 0.0f);
      }
    }
  }
  const T* const values =
      reinterpret_cast<const T*>(shared + kHead + reinterpret_cast<uintptr_t>(source) % 16) -
      group.first_y * w.input_size;
  const unsigned items = group.planes * p.block_strips * p.widths.divisor;
  bool arrived = false;
  if constexpr (kStride == 0) {
    arrived = true;
    mbarrier_wait(barrier, 0);
    __syncthreads();
  }
  for (unsigned item = threadIdx.x; item < items || !arrived; item += blockDim.x) {
    const unsigned rest = p.widths.quotient(item);
    const int column = static_cast<int>(item - rest * p.widths.divisor) * kColumns;
    const int plane = static_cast<int>(p.strips.quotient(rest));
    const int row =
        first_row + (static_cast<int>(rest) - plane * static_cast<int>(p.strips.divisor)) * kRows;
    const unsigned channel = channel_of(min(group.first_plane + plane, p.source_planes - 1));
    const T* const taps = static_cast<const T*>(p.problem.depthwise_weight) +
                          int64_t{channel} * h.kernel_size * w.kernel_size;
    const T* bias = static_cast<const T*>(p.problem.depthwise_bias);
    const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
    float filter[kSize * kSize], zero = 0.0f;
#pragma unroll
    for (int tap = 0; tap < kSize * kSize; ++tap) {
      filter[tap] = to_accumulate(taps[tap]);
      zero += filter[tap] * 0.0f;
    }
    if (!arrived) {  // the first taps come with the source
      arrived = true;
      mbarrier_wait(barrier, 0);
      __syncthreads();
      if (item >= items) {
        break;
      }
    }
    const int y = row * h.stride - h.padding;
    const int x = column * w.stride - w.padding;
    const T* const image = values + static_cast<int>(plane) * source_plane;
    float sums[kRows][kColumns];
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        sums[o][c] = start;
      }
    }
    if (zero == 0.0f) {
      const T* const line = image + y * w.input_size + x;
      if constexpr (kStride > 0) {
        add_windows<T, kSize, kStride>(shared_address(line), barrier + 16, y, x, h.input_size,
                                       w.input_size, filter, sums);
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
    uint16_t* const place = plane_of(plane) + row * w.output_size + column;
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
  if constexpr (kStages) {
    __syncthreads();
    store_group<T>(p, group, begin, ends ? p.pitch - begin : group.rows * w.output_size, stage);
  }
#endif
}

}  // namespace kernelopt
