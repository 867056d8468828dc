// The storing warps of the warpgroup kernel. The warpgroups hand their results over through slabs
// in shared memory, a pass of 16 columns each, [channel][position]; two warps for each warpgroup
// store them in long runs of a row, with bias, activation and rounding.
#pragma once

#include "common/activation16.cuh"
#include "common/bulk_copy.cuh"
#include "common/wgmma.cuh"
#include "conv1d/conv1d_exact.cuh"
#include "conv1d/conv1d_wgmma_load.cuh"
#include "conv1d/conv1d_wgmma_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where a warpgroup's part of an output row lies in its slab. A row's slab begins at the last
/// 16-byte boundary of the output before the part, so that vectors of the slab are aligned vectors
/// of the output.
struct OutputRow {
  int before;      // elements from the boundary to the part's first, `first`
  int begin, end;  // what is stored of the row, from the boundary on
};
template <typename T>
__device__ __forceinline__ OutputRow output_row(const Conv1dWgmmaParams& p, int residues,
                                                const T* output, int first) {
  const uint32_t place = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(output) / sizeof(T));
  constexpr uint32_t kVector = 16 / sizeof(T), kSector = 32 / sizeof(T);
  OutputRow row;
  row.before = place % kVector;
  // Tiles that overlap store from a sector's start to a sector's start; the first one from its own.
  const int shift =
      p.warpgroup_step < Conv1dWgmmaShape::kWarpgroupM ? (kSector - place % kSector) % kSector : 0;
  const int stop =
      min(first + shift + p.warpgroup_step * residues, static_cast<int>(p.problem.out_length));
  row.begin = row.before + (first == 0 ? 0 : shift);
  row.end = row.before + stop - first;
  return row;
}

/// The passes of a block that have channels to store.
template <int kSlots>
__device__ __forceinline__ int block_passes(int channels, int pass_channels) {
  return min(kSlots / Conv1dWgmmaShape::kPassColumns,
             (channels + pass_channels - 1) / pass_channels);
}

/// A vector of outputs out of fp32 values: bias, activation, rounding. `probe` becomes NaN where a
/// value is not finite.
template <typename T, typename ActivationType>
__device__ __forceinline__ uint4 finish_vector(const float* values, float bias, float& probe) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  alignas(16) T outputs[kVector];
#pragma unroll
  for (int i = 0; i < kVector / 4; ++i) {
    const float4 four = reinterpret_cast<const float4*>(values)[i];
    const float z[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if constexpr (MmaTraits<T>::kParts == 2) {
        probe = fmaf(z[j], 0.0f, probe);
      }
      outputs[i * 4 + j] = from_accumulate<T>(ActivationType::forward(z[j] + bias));
    }
  }
  return *reinterpret_cast<const uint4*>(outputs);
}

/// One 16-byte store; an assignment was compiled to four.
__device__ __forceinline__ void store_vector(void* destination, const uint4& vector) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(destination), "r"(vector.x),
               "r"(vector.y), "r"(vector.z), "r"(vector.w)
               : "memory");
}

__device__ __forceinline__ void store_vector_if(bool condition, void* destination,
                                                const uint4& vector) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %0, 0;\n"
      "@p st.global.v4.b32 [%1], {%2, %3, %4, %5};\n"
      "}\n" ::"r"(static_cast<int>(condition)),
      "l"(destination), "r"(vector.x), "r"(vector.y), "r"(vector.z), "r"(vector.w)
      : "memory");
}

/// Which part of a row a thread's vector is: pieces of 128 elements, `residues` to a row.
template <bool kUnit>
struct Piece {
  int row, start;
  __device__ __forceinline__ Piece(int piece, int vector_start, int residues) {
    // 16 pieces at most: the product with the rounded reciprocal is exact.
    row = kUnit ? piece : piece * (256 / residues + 1) / 256;
    start = (piece - row * residues) * Conv1dWgmmaShape::kWarpgroupM + vector_start;
  }
};

/// Stores a pass of which every row lies inside the output, its first position not the row's first
/// and its last not the row's last.
/// @param values, biases, output  of the pass's first row
/// @return whether all values were finite
template <typename T, typename ActivationType, bool kUnit>
__device__ __forceinline__ bool store_inner_pass(const Conv1dWgmmaParams& p, int thread,
                                                 const float* values, const float* biases,
                                                 T* output) {
  using Shape = Conv1dWgmmaShape;
  constexpr int kVector = 16 / static_cast<int>(sizeof(T)), kSector = 2 * kVector;
  constexpr int kPieceVectors = Shape::kWarpgroupM / kVector;
  const int residues = kUnit ? 1 : p.correlation.residues;
  const int pitch = kUnit ? slab_row_pitch<T>(1) : p.slab_pitch;
  const bool aligned = p.warpgroup_step == Shape::kWarpgroupM;
  constexpr int kStep = Shape::kStoreThreads / kPieceVectors, kBatch = sizeof(T) == 4 ? 4 : 2;
  float probe = 0;
#pragma unroll 1
  for (int i = thread / kPieceVectors; i < Shape::kPassColumns; i += kBatch * kStep) {
    // All of a batch are read before the first one is stored, so that their latencies overlap.
    uint4 vectors[kBatch];
    T* targets[kBatch];
    bool stored[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const Piece<kUnit> piece(i + b * kStep, thread % kPieceVectors * kVector, residues);
      const bool inside = kUnit || piece.row < p.pass_channels;
      const int row = inside ? piece.row : 0;
      vectors[b] =
          finish_vector<T, ActivationType>(values + row * pitch + piece.start, biases[row], probe);
      T* target = output + row * p.problem.output_strides.channel;
      int skipped = 0;  // elements before the first sector that begins in the slab's row
      if (!aligned) {
        const uint32_t place =
            static_cast<uint32_t>(reinterpret_cast<uintptr_t>(target) / sizeof(T));
        target -= place % kVector;
        skipped =
            place % kSector == 0 ? 0 : kSector - static_cast<int>(place / kVector % 2) * kVector;
      }
      targets[b] = target + piece.start;
      stored[b] =
          inside && piece.start >= skipped && piece.start < skipped + p.warpgroup_step * residues;
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      store_vector_if(stored[b], targets[b], vectors[b]);
    }
  }
  return probe == 0.0f;
}

/// Stores a vector of any row.
/// @param begin, end  the vector's elements that are stored; may lie outside it
/// @param exact       exact(i) is element i without the split of fp32 in parts, taken where that
///                    made it NaN or Inf
template <typename T, typename ActivationType, typename Exact>
__device__ __forceinline__ void store_any_vector(float* values, T* output, int begin, int end,
                                                 float bias, Exact&& exact) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  float probe = 0;
  uint4 vector = finish_vector<T, ActivationType>(values, bias, probe);
  if constexpr (MmaTraits<T>::kParts == 2) {
    if (probe != 0.0f) {
#pragma unroll 1
      for (int i = max(begin, 0); i < min(end, kVector); ++i) {
        if (!isfinite(values[i])) {
          values[i] = exact(i);
        }
      }
      vector = finish_vector<T, ActivationType>(values, bias, probe);
    }
  }
  if (begin <= 0 && end >= kVector) {
    store_vector(output, vector);
    return;
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (i >= begin && i < end) {
      output[i] = reinterpret_cast<const T*>(&vector)[i];
    }
  }
}

/// Stores a warpgroup's tiles, a pass at a time as its slabs fill.
/// @param thread       of the warpgroup's storing warps
/// @param full, empty  barriers of the warpgroup's slabs
template <typename T, int kSlots, bool kUnit>
__device__ __forceinline__ void store_conv1d_tiles(const Conv1dWgmmaParams& p, int warpgroup,
                                                   int thread, float* slabs, const float* biases,
                                                   uint32_t full, uint32_t empty) {
  using Shape = Conv1dWgmmaShape;
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  constexpr int kPieceVectors = Shape::kWarpgroupM / kVector;
  const int residues = kUnit ? 1 : p.correlation.residues;
  const int pass_channels = kUnit ? Shape::kPassColumns : p.pass_channels;
  const int block_channels = kSlots / Shape::kPassColumns * pass_channels;
  const int group = blockIdx.y / p.n_blocks;
  const int block_channel = blockIdx.y % p.n_blocks * block_channels;
  const int out_channels = static_cast<int>(p.problem.out_channels);
  const int channels = out_channels - block_channel;
  const int out_length = static_cast<int>(p.problem.out_length);
  const int64_t channel_stride = p.problem.output_strides.channel;
  int slab = 0;
  uint32_t parity = 0;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const int first = (cursor.run + warpgroup * p.warpgroup_step) * residues;
    const bool inner =
        first > 0 && first + Shape::kWarpgroupM * residues + 2 * kVector <= out_length;
    T* output =
        static_cast<T*>(p.problem.output) + cursor.n * p.problem.output_strides.batch +
        (static_cast<int64_t>(group) * p.problem.out_channels + block_channel) * channel_stride +
        first;
    for (int channel = 0; channel < min(channels, block_channels); channel += pass_channels) {
      mbarrier_wait(full + slab * 8, parity);
      float* values = slabs + slab * (p.slab_bytes / 4);
      with_activation(p.problem.activation, [&](auto kind) {
        using ActivationType = ActivationOfSum<T, decltype(kind)>;
        if (inner && channel + pass_channels <= channels &&
            store_inner_pass<T, ActivationType, kUnit>(p, thread, values, biases + channel,
                                                       output)) {
          return;
        }
#pragma unroll 1
        for (int i = thread / kPieceVectors; i < Shape::kPassColumns;
             i += Shape::kStoreThreads / kPieceVectors) {
          const Piece<kUnit> piece(i, thread % kPieceVectors * kVector, residues);
          if (piece.row >= min(pass_channels, channels - channel)) {
            break;
          }
          T* row = output + piece.row * channel_stride;
          const OutputRow part = output_row<T>(p, residues, row, first);
          const int offset = piece.start - part.before;
          store_any_vector<T, ActivationType>(
              values + piece.row * p.slab_pitch + piece.start, row + offset,
              part.begin - piece.start, part.end - piece.start, biases[channel + piece.row],
              [&](int i) {
                return convolve_exactly<T>(p.problem, cursor.n, group,
                                           block_channel + channel + piece.row, first + offset + i);
              });
        }
      });
      output += pass_channels * channel_stride;
      __syncwarp();
      if (thread % 32 == 0) {
        mbarrier_arrive(empty + slab * 8);
      }
      if (++slab == p.slabs) {
        slab = 0;
        parity ^= 1;
      }
    }
  }
}

#endif

}  // namespace kernelopt
