// The storing warps of conv1d_wgmma_shared_kernel: two for each warpgroup store its slabs in long
// runs of a row.
#pragma once

#include "conv1d/conv1d_exact.cuh"
#include "conv1d/conv1d_wgmma_shared_load.cuh"
#include "conv1d/conv1d_wgmma_shared_slab.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The storing side of a warpgroup's tile.
/// @param first  the output position of the tile's first
template <typename T, int kSlots, bool kUnit>
struct SlabStore {
  static constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  static constexpr int kPositions = warpgroup_tiles_m(kSlots) * 64;
  static constexpr int kPieceVectors = kPositions / kVector;
  const Conv1dWgmmaSharedParams& p;
  int residues;
  int first;

  __device__ __forceinline__ OutputRow row(const T* output) const {
    constexpr uint32_t kSector = 32 / kSize;
    const uint32_t place = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(output) / kSize);
    // Tiles that overlap store from a sector's start to a sector's start; the first one from its
    // own.
    const int shift =
        p.warpgroup_step < kPositions ? static_cast<int>((kSector - place % kSector) % kSector) : 0;
    const int left = static_cast<int>(p.problem.out_length) - first;
    const int before = place % kVector;
    return {before, before + (first == 0 ? 0 : shift),
            before + min(shift + p.warpgroup_step * residues, left)};
  }

  /// Whether every vector of the tile's rows is stored as a whole or not at all.
  __device__ __forceinline__ bool whole() const {
    const int stop = first + kPositions * residues;
    const int out_length = static_cast<int>(p.problem.out_length);
    return p.warpgroup_step < kPositions ? first > 0 && stop + 2 * kVector <= out_length
                                         : p.aligned_output && stop <= out_length;
  }

  /// Stores element `start` of a row and those after it in 16 bytes.
  __device__ __forceinline__ void store(T* output, const OutputRow& part, int start,
                                        const uint4& vector) const {
    T* target = output + (start - part.before);
    if (start >= part.begin && start + kVector <= part.end) {
      store_vector(target, vector);
    } else if (start + kVector > part.begin && start < part.end) {
      const T* values = reinterpret_cast<const T*>(&vector);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        if (start + i >= part.begin && start + i < part.end) {
          target[i] = values[i];
        }
      }
    }
  }

  /// Stores a slab's rows.
  /// @param kWhole  what whole() says
  /// @param output  of the first row
  template <bool kWhole>
  __device__ __forceinline__ void store_pass(int thread, const T* values, int rows,
                                             T* output) const {
    constexpr int kBatch = 4;
    const int64_t stride = p.problem.output_strides.channel;
    const int start = thread % kPieceVectors * kVector;
    const int pieces = rows * residues;
#pragma unroll 1
    for (int piece = thread / kPieceVectors; piece < pieces;
         piece += kBatch * (Conv1dWgmmaSharedShape::kStoreThreads / kPieceVectors)) {
      uint4 vectors[kBatch];
      int row_of[kBatch], start_of[kBatch];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int i = piece + b * (Conv1dWgmmaSharedShape::kStoreThreads / kPieceVectors);
        // 16 pieces at most: the product with the rounded reciprocal is exact.
        row_of[b] = kUnit ? i : i * (256 / residues + 1) / 256;
        start_of[b] = (i - row_of[b] * residues) * kPositions + start;
        if (i < pieces) {
          vectors[b] =
              *reinterpret_cast<const uint4*>(values + row_of[b] * p.slab_pitch + start_of[b]);
        }
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        if (piece + b * (Conv1dWgmmaSharedShape::kStoreThreads / kPieceVectors) < pieces) {
          T* target = output + row_of[b] * stride;
          const OutputRow part = row(target);
          if constexpr (kWhole) {
            store_vector_if(start_of[b] >= part.begin && start_of[b] + kVector <= part.end,
                            target + (start_of[b] - part.before), vectors[b]);
          } else {
            store(target, part, start_of[b], vectors[b]);
          }
        }
      }
    }
    if (!kWhole && p.warpgroup_step == kPositions && thread < rows) {
      // Rows that do not begin on 16 bytes reach one vector further.
      T* target = output + thread * stride;
      const int last = kPositions * residues;
      const OutputRow part = row(target);
      if (part.end > last) {
        store(target, part, last,
              *reinterpret_cast<const uint4*>(values + thread * p.slab_pitch + last));
      }
    }
  }

  /// Stores a slab's rows a value at a time, those that are not finite computed again.
  /// @param exact  exact(row, position) is a sum in plain fp32
  template <typename Exact>
  __device__ __forceinline__ void store_flagged_pass(int thread, const T* values, int rows,
                                                     T* output, const float* biases,
                                                     Exact&& exact) const {
    const int width = kPositions * residues;
#pragma unroll 1
    for (int i = thread; i < rows * width; i += Conv1dWgmmaSharedShape::kStoreThreads) {
      const int r = i / width, offset = i - r * width;
      T* target = output + r * p.problem.output_strides.channel;
      const OutputRow part = row(target);
      const int element = offset + part.before;
      if (element >= part.begin && element < part.end) {
        float z = to_accumulate(values[r * p.slab_pitch + element]);
        if (!isfinite(z)) {
          z = apply_activation(p.problem.activation, exact(r, first + offset) + biases[r]);
        }
        target[offset] = from_accumulate<T>(z);
      }
    }
  }
};

/// A thread's vectors of a pass, of one residue, in a tile whose vectors are stored whole or not at
/// all. Tiles and passes begin on sectors relative to each other, so that a row's place in its
/// sector holds for all passes.
template <typename T, int kSlots>
struct WholeVectors {
  using Store = SlabStore<T, kSlots, true>;
  static constexpr int kRowStep = Conv1dWgmmaSharedShape::kStoreThreads / Store::kPieceVectors;
  static constexpr int kCount = Conv1dWgmmaSharedShape::kPassColumns / kRowStep;
  static constexpr int kPitch = shared_slab_pitch(Store::kPositions, 1);
  int row, start;           // of the first
  int64_t offsets[kCount];  // bytes from the pass's first row
  bool inside[kCount];

  __device__ __forceinline__ WholeVectors(const Store& store, int thread, T* output)
      : row(thread / Store::kPieceVectors), start(thread % Store::kPieceVectors * Store::kVector) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      T* target = output + (row + i * kRowStep) * store.p.problem.output_strides.channel;
      const OutputRow part = store.row(target);
      offsets[i] = reinterpret_cast<unsigned char*>(target + start - part.before) -
                   reinterpret_cast<unsigned char*>(output);
      inside[i] = start >= part.begin && start + Store::kVector <= part.end;
    }
  }
  __device__ __forceinline__ void store_pass(const T* values, int rows, T* output) const {
    uint4 vectors[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      vectors[i] =
          *reinterpret_cast<const uint4*>(values + row * kPitch + start + i * kRowStep * kPitch);
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      store_vector_if(inside[i] && row + i * kRowStep < rows,
                      reinterpret_cast<unsigned char*>(output) + offsets[i], vectors[i]);
    }
  }
};

/// Stores a warpgroup's tiles, a pass at a time as its slabs fill.
/// @param thread  of the warpgroup's storing warps
template <typename T, int kSlots, bool kUnit>
__device__ __forceinline__ void store_conv1d_tiles(const Conv1dWgmmaSharedParams& p, int warpgroup,
                                                   int thread, const float* biases,
                                                   SlabRing<T> slabs) {
  using Shape = Conv1dWgmmaSharedShape;
  const int residues = kUnit ? 1 : p.correlation.residues;
  const int pass_channels = kUnit ? Shape::kPassColumns : p.pass_channels;
  const int block_channels = kSlots / Shape::kPassColumns * pass_channels;
  const int group = blockIdx.y / p.n_blocks;
  const int block_channel = blockIdx.y % p.n_blocks * block_channels;
  const int channels =
      min(static_cast<int>(p.problem.out_channels) - block_channel, block_channels);
  const int64_t channel_stride = p.problem.output_strides.channel;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const SlabStore<T, kSlots, kUnit> store{p, residues,
                                            (cursor.run + warpgroup * p.warpgroup_step) * residues};
    T* output =
        static_cast<T*>(p.problem.output) + cursor.n * p.problem.output_strides.batch +
        (static_cast<int64_t>(group) * p.problem.out_channels + block_channel) * channel_stride +
        store.first;
    const bool whole = store.whole();
    const WholeVectors<T, kSlots> vectors({p, 1, store.first}, thread, output);
    for (int channel = 0; channel < channels; channel += pass_channels) {
      mbarrier_wait(slabs.full + slabs.ring.index * 8, slabs.ring.parity);
      const T* values = slabs.values(p);
      const int rows = min(pass_channels, channels - channel);
      if (!kUnit && slabs.flag() == slabs.pass) {
        store.store_flagged_pass(
            thread, values, rows, output, biases + channel, [&](int row, int position) {
              return convolve_exactly<T>(p.problem, cursor.n, group, block_channel + channel + row,
                                         position);
            });
      } else if (whole) {
        if constexpr (kUnit) {
          vectors.store_pass(values, rows, output);
        } else {
          store.template store_pass<true>(thread, values, rows, output);
        }
      } else {
        store.template store_pass<false>(thread, values, rows, output);
      }
      output += pass_channels * channel_stride;
      __syncwarp();
      if (thread % 32 == 0) {
        mbarrier_arrive(slabs.empty + slabs.ring.index * 8);
      }
      slabs.advance(p);
    }
  }
}

#endif

}  // namespace kernelopt
