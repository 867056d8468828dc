// The storing warps of conv1d_wgmma_shared_kernel: two for each warpgroup store its slabs in long
// runs of a row.
#pragma once

#include "conv1d/conv1d_exact.cuh"
#include "conv1d/conv1d_wgmma_shared_load.cuh"
#include "conv1d/conv1d_wgmma_shared_slab.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The storing side of a warpgroup's tile: rows of a channel's outputs, kResidues * kSpread a run.
/// @param first   the output position of the tile's first
/// @param second  the tile adjoins the first warpgroup's
template <typename T, int kSlots, int kResidues, int kSpread>
struct SlabStore {
  static constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  static constexpr int kPositions = warpgroup_tiles_m(kSlots) * 64;
  static constexpr int kRunOutputs = kResidues * kSpread, kOutputs = kPositions * kRunOutputs;
  static constexpr int kPitch = shared_slab_pitch(kPositions, kResidues);
  const Conv1dWgmmaSharedParams& p;
  int first;
  bool second;

  /// @param place  of the row's first output, modulo 2^32
  __device__ __forceinline__ OutputRow row(uint32_t place) const {
    constexpr uint32_t kSector = 32 / kSize;
    // Tiles that overlap store from a sector's start to a sector's start; the first one from its
    // own.
    const int shift =
        p.warpgroup_step < kPositions ? static_cast<int>((kSector - place % kSector) % kSector) : 0;
    const int left = static_cast<int>(p.problem.out_length) - first;
    const int before = place % kVector;
    int begin = first == 0 ? 0 : shift, end = shift + p.warpgroup_step * kRunOutputs;
    if (p.adjoins) {
      // The first one leaves the vector that they share to the second.
      begin = second ? -before : begin;
      end = second ? end + p.warpgroup_step * kRunOutputs - kOutputs : kOutputs - before;
    }
    return {before, before + begin, before + min(end, left)};
  }

  /// Whether every vector of the tile's rows is stored as a whole or not at all.
  __device__ __forceinline__ bool whole() const {
    const int stop = first + kOutputs;
    const int out_length = static_cast<int>(p.problem.out_length);
    return p.warpgroup_step < kPositions ? first > 0 && stop + 2 * kVector <= out_length
                                         : p.aligned_output && stop <= out_length;
  }

  /// What a slab has for 16 bytes of outputs: their sums, or of two residues those and the word
  /// after.
  struct Sums {
    uint32_t words[4 / kSpread + (kResidues == 2)];
  };
  /// @param values  the row's in the slab
  /// @param start   the first of the outputs, see OutputRow
  static __device__ __forceinline__ Sums load(const T* values, int start) {
    const uint32_t* from = reinterpret_cast<const uint32_t*>(values + start / kSpread);
    Sums sums;
    if constexpr (kSpread == 2) {
      const uint2 two = *reinterpret_cast<const uint2*>(from);
      sums.words[0] = two.x;
      sums.words[1] = two.y;
    } else {
      const uint4 four = *reinterpret_cast<const uint4*>(from);
      sums.words[0] = four.x;
      sums.words[1] = four.y;
      sums.words[2] = four.z;
      sums.words[3] = four.w;
      if constexpr (kResidues == 2) {
        sums.words[4] = from[4];
      }
    }
    return sums;
  }
  /// Byte permutations that make a vector's even and odd words.
  struct Choice {
    uint32_t even, odd;
  };
  /// @param before  as OutputRow says; modulo 2 will do
  __device__ __forceinline__ Choice choice(int before) const {
    if constexpr (kSpread == 2) {
      const bool second = (before + p.correlation.spread_first) % 2 != 0;
      return {second ? 0x1054u : 0x5410u, second ? 0x3254u : 0x5432u};
    }
    // Of two residues, rows that begin at an odd place lie one further.
    const uint32_t bytes = before % 2 != 0 ? 0x5432 : 0x3210;
    return {bytes, bytes};
  }
  /// @param filler  twice the output that has no products
  static __device__ __forceinline__ uint4 vector(const Sums& sums, Choice choice, uint32_t filler) {
    const auto& words = sums.words;
    if constexpr (kSpread == 2) {
      return make_uint4(
          __byte_perm(words[0], filler, choice.even), __byte_perm(words[0], filler, choice.odd),
          __byte_perm(words[1], filler, choice.even), __byte_perm(words[1], filler, choice.odd));
    } else if constexpr (kResidues == 2) {
      return make_uint4(__byte_perm(words[0], words[1], choice.even),
                        __byte_perm(words[1], words[2], choice.even),
                        __byte_perm(words[2], words[3], choice.even),
                        __byte_perm(words[3], words[4], choice.even));
    } else {
      return make_uint4(words[0], words[1], words[2], words[3]);
    }
  }

  /// Stores a slab's rows, vectors that lie partly outside the tile's part of the output too.
  /// @param output   of the first row
  /// @param fillers  of the rows
  __device__ __forceinline__ void store_pass(int thread, const T* values, int rows, T* output,
                                             const uint32_t* fillers) const {
    // Rows that do not begin on 16 bytes reach one vector further.
    constexpr int kRowVectors = kOutputs / kVector + 1;
#pragma unroll 2
    for (int i = thread; i < rows * kRowVectors; i += Conv1dWgmmaSharedShape::kStoreThreads) {
      const int r = i / kRowVectors, start = (i - r * kRowVectors) * kVector;
      T* target = output + r * p.problem.output_strides.channel;
      const OutputRow part = row(place_of(target));
      if (start + kVector <= part.begin || start >= part.end) {
        continue;
      }
      const uint4 outputs =
          vector(load(values + r * kPitch, start), choice(part.before), fillers[r]);
      target += start - part.before;
      if (start >= part.begin && start + kVector <= part.end) {
        store_vector(target, outputs);
        continue;
      }
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        if (start + k >= part.begin && start + k < part.end) {
          target[k] = reinterpret_cast<const T*>(&outputs)[k];
        }
      }
    }
  }

  /// Stores a slab's rows a value at a time, those that are not finite computed again.
  /// @param exact  exact(row, position) is a sum in plain fp32
  template <typename Exact>
  __device__ __forceinline__ void store_flagged_pass(int thread, const T* values, int rows,
                                                     T* output, const float* biases,
                                                     Exact&& exact) const {
#pragma unroll 1
    for (int i = thread; i < rows * kOutputs; i += Conv1dWgmmaSharedShape::kStoreThreads) {
      const int r = i / kOutputs, offset = i - r * kOutputs;
      T* target = output + r * p.problem.output_strides.channel;
      const OutputRow part = row(place_of(target));
      const int element = offset + part.before;
      if (element >= part.begin && element < part.end) {
        float z = to_accumulate(values[r * kPitch + element + part.before % 2]);
        if (!isfinite(z)) {
          z = apply_activation(p.problem.activation, exact(r, first + offset) + biases[r]);
        }
        target[offset] = from_accumulate<T>(z);
      }
    }
  }
};

/// A thread's vectors of a pass in a tile whose vectors are stored whole or not at all.
template <typename T, typename Store>
struct WholeVectors {
  using Places = VectorPlaces<Store::kVector, Store::kOutputs / Store::kVector>;
  static constexpr int kBatch = Places::kCount < 8 ? Places::kCount : 8;
  static constexpr int kChoices = Places::kRowStep % 2 + 1;
  const Store& store;
  Places places;
  typename Store::Choice choices[kChoices];  // of the rows by turns

  __device__ __forceinline__ WholeVectors(const Store& tile, int thread, const T* output)
      : store(tile),
        places(thread, place_of(output),
               static_cast<uint32_t>(tile.p.problem.output_strides.channel),
               [&](uint32_t place) { return tile.row(place); }) {
#pragma unroll
    for (int i = 0; i < kChoices; ++i) {
      choices[i] = store.choice(places[i]);
    }
  }
  /// @param read  read() is called when all of the slab has been read
  template <typename Read>
  __device__ __forceinline__ void store_pass(const T* values, int rows, T* output,
                                             const uint32_t* fillers, Read&& read) const {
    const Places pass = places.of_pass();
    const int64_t stride = store.p.problem.output_strides.channel;
    T* target = output + pass.row * stride + pass.start;
#pragma unroll
    for (int first = 0; first < Places::kCount; first += kBatch) {
      typename Store::Sums sums[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        sums[i] = Store::load(values + (pass.row + (first + i) * Places::kRowStep) * Store::kPitch,
                              pass.start);
      }
      if (first + kBatch >= Places::kCount) {
        read();
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int r = pass.row + (first + i) * Places::kRowStep, before = pass[first + i];
        store_vector_if(before < 8 && r < rows, target - before,
                        Store::vector(sums[i], choices[(first + i) % kChoices], fillers[r]));
        target += Places::kRowStep * stride;
      }
    }
  }
};

/// Stores a warpgroup's tiles, a pass at a time as its slabs fill.
/// @param thread  of the warpgroup's storing warps
template <typename T, int kSlots, int kResidues, int kSpread>
__device__ __forceinline__ void store_conv1d_tiles(const Conv1dWgmmaSharedParams& p, int warpgroup,
                                                   int thread, const float* biases,
                                                   const uint32_t* fillers,
                                                   ResultRing<T, kSlots, kResidues> slabs) {
  using Store = SlabStore<T, kSlots, kResidues, kSpread>;
  constexpr int kPassChannels = Conv1dWgmmaSharedShape::kPassChannels;
  constexpr int kBlockChannels = kSlots / kResidues;
  const int group = blockIdx.y / p.n_blocks;
  const int block_channel = blockIdx.y % p.n_blocks * kBlockChannels;
  const int channels =
      min(static_cast<int>(p.problem.out_channels) - block_channel, kBlockChannels);
  const int64_t channel_stride = p.problem.output_strides.channel;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const Store store{p, (cursor.run + warpgroup * p.second_run) * Store::kRunOutputs,
                      p.adjoins && warpgroup > 0};
    T* output =
        static_cast<T*>(p.problem.output) + cursor.n * p.problem.output_strides.batch +
        (static_cast<int64_t>(group) * p.problem.out_channels + block_channel) * channel_stride +
        store.first;
    const bool whole = store.whole();
    const WholeVectors<T, Store> vectors(store, thread, output);
    for (int channel = 0; channel < channels; channel += kPassChannels) {
      slabs.wait_full();
      const T* values = slabs.values(p);
      bool given = false;
      const int rows = min(kPassChannels, channels - channel);
      if (kResidues > 1 && slabs.flag() == slabs.pass) {
        store.store_flagged_pass(
            thread, values, rows, output, biases + channel, [&](int row, int position) {
              return convolve_exactly<T>(p.problem, cursor.n, group, block_channel + channel + row,
                                         position);
            });
      } else if (whole) {
        // As soon as it has been read, for the stores may have to wait.
        vectors.store_pass(values, rows, output, fillers + channel, [&] {
          slabs.give_back(p);
          given = true;
        });
      } else {
        store.store_pass(thread, values, rows, output, fillers + channel);
      }
      output += kPassChannels * channel_stride;
      if (!given) {
        slabs.give_back(p);
      }
    }
    if constexpr (fixed_slabs(kSlots, kResidues) > 0) {
      // All slabs take part, those without channels too.
      for (int channel = round_up(channels, kPassChannels); channel < kBlockChannels;
           channel += kPassChannels) {
        slabs.wait_full();
        slabs.give_back(p);
      }
    }
  }
}

#endif

}  // namespace kernelopt
