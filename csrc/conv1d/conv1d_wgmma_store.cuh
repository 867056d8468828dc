// The storing warps of the warpgroup kernel. The warpgroups hand their results over through slabs
// in shared memory, a pass of 16 columns each, [channel][position]; two warps for each warpgroup
// store them in long runs of a row, with bias, activation and rounding.
#pragma once

#include "common/vector_store.cuh"
#include "conv1d/conv1d_exact.cuh"
#include "conv1d/conv1d_wgmma_slab.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where a warpgroup's part of an output row lies in its slab. A row's slab begins at the last
/// 16-byte boundary of the output before the part, so that vectors of the slab are aligned vectors
/// of the output.
struct OutputRow {
  int before;      // elements from the boundary to the part's first, `first`
  int begin, end;  // what is stored of the row, from the boundary on
};
/// An output's address in elements, modulo 2^32.
template <typename T>
__device__ __forceinline__ uint32_t place_of(const T* output) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(output) / sizeof(T));
}
/// @param place  of the row's first output
template <typename T>
__device__ __forceinline__ OutputRow output_row(const Conv1dWgmmaParams& p, uint32_t place,
                                                int first) {
  constexpr uint32_t kVector = 16 / sizeof(T), kSector = 32 / sizeof(T);
  OutputRow row;
  row.before = place % kVector;
  // Tiles that overlap store from a sector's start to a sector's start; the first one from its own.
  const int shift = p.warpgroup_step < Conv1dWgmmaShape::kWarpgroupM
                        ? p.skew_outputs + (kSector - (place + p.skew_outputs) % kSector) % kSector
                        : 0;
  const int stop = min(first + shift + p.warpgroup_step * p.correlation.run_outputs(),
                       static_cast<int>(p.problem.out_length));
  row.begin = row.before + (first == 0 ? p.run_shift : shift);
  row.end = row.before + stop - first;
  return row;
}

/// A thread's vectors of a pass in a tile whose vectors are stored whole or not at all. Tiles and
/// passes begin on sectors relative to each other, so that a row's place in its sector holds for
/// all passes.
/// @tparam kRowVectors  of a row of the slab
template <int kVector, int kRowVectors>
struct VectorPlaces {
  static constexpr int kRowStep = Conv1dWgmmaShape::kStoreThreads / kRowVectors;
  static constexpr int kCount = Conv1dWgmmaShape::kPassColumns / kRowStep;
  int row, start;  // of the first
  // Four bits each: outputs from a 16-byte boundary to the row's first; 8 where nothing is stored.
  static constexpr int kWords = (kCount + 7) / 8;
  uint32_t words[kWords] = {};

  /// @param place   of the first row's first output
  /// @param row_of  row_of(place) is the OutputRow of a row
  template <typename RowOf>
  __device__ __forceinline__ VectorPlaces(int thread, uint32_t place, uint32_t stride,
                                          RowOf&& row_of)
      : row(thread / kRowVectors), start(thread % kRowVectors * kVector) {
    place += row * stride;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const OutputRow part = row_of(place);
      place += kRowStep * stride;
      const bool inside = start >= part.begin && start + kVector <= part.end;
      words[i / 8] |= (part.before + (inside ? 0 : 8)) << i % 8 * 4;
    }
  }
  /// A copy of which nothing stays in registers from pass to pass.
  __device__ __forceinline__ VectorPlaces of_pass() const {
    VectorPlaces copy = *this;
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      asm volatile("" : "+r"(copy.words[i]));
    }
    return copy;
  }
  __device__ __forceinline__ int operator[](int i) const {
    return static_cast<int>(words[i / 8] >> i % 8 * 4 & 15);
  }
};

/// The passes of a block that have channels to store.
__device__ __forceinline__ int block_passes(const Conv1dWgmmaParams& p, int channels,
                                            int pass_channels) {
  return min(p.block_passes, (channels + pass_channels - 1) / pass_channels);
}

/// What a run's outputs are: one sum, a sum and the activation of the bias, or several sums.
enum class RunOutputs { kSum, kSpreadSum, kResidues };

/// Whether sums that are not finite are computed again: the parts of fp32 make NaN of Inf, and so
/// do the zero weights where a residue has no tap.
template <typename T, RunOutputs kRun>
constexpr bool kComputesAgain = MmaTraits<T>::kParts == 2 || kRun == RunOutputs::kResidues;

template <RunOutputs kRun>
constexpr int kSpreadOf = kRun == RunOutputs::kSpreadSum ? 2 : 1;

/// Whether all sums that a probe has seen were finite.
__device__ __forceinline__ bool all_finite(float probe) { return probe * 0.0f == 0.0f; }

/// A vector of outputs out of fp32 sums: bias, activation, rounding. `probe` stays finite only
/// where the sums are; two of them are one instruction, which may exceed fp32 where they are huge.
/// @param odd     of two residues in a pair: the sums lie one further, as a pair is written at an
/// even place;
///                spread: the outputs with products are the odd ones
/// @param filler  spread: the other outputs, of 16 bits two
template <typename T, typename ActivationType, RunOutputs kRun>
__device__ __forceinline__ uint4 finish_vector(const float* values, bool odd, float bias,
                                               uint32_t filler, float& probe) {
  constexpr int kSpread = kSpreadOf<kRun>;
  constexpr int kSums = 16 / static_cast<int>(sizeof(T)) / kSpread;
  float sums[kSums];
  if constexpr (kSums == 2) {
    const float2 two = *reinterpret_cast<const float2*>(values);
    sums[0] = two.x;
    sums[1] = two.y;
  } else {
#pragma unroll
    for (int i = 0; i < kSums; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(values + i);
      sums[i] = four.x;
      sums[i + 1] = four.y;
      sums[i + 2] = four.z;
      sums[i + 3] = four.w;
    }
  }
  if (kRun == RunOutputs::kResidues && odd) {
#pragma unroll
    for (int i = 1; i < kSums; ++i) {
      sums[i - 1] = sums[i];
    }
    sums[kSums - 1] = values[kSums];
  }
  alignas(16) T outputs[kSums * kSpread];
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    if constexpr (kComputesAgain<T, kRun>) {
      if (i % 2 == 0) {
        probe = fmaf(sums[i], sums[i + 1], probe);
      }
    }
    const T output = from_accumulate<T>(activate_sum<T, ActivationType>(sums[i], bias));
    if constexpr (kSpread == 2) {
      const T other = *reinterpret_cast<const T*>(&filler);
      outputs[i * 2] = odd ? other : output;
      outputs[i * 2 + 1] = odd ? output : other;
    } else {
      outputs[i] = output;
    }
  }
  return *reinterpret_cast<const uint4*>(outputs);
}

/// Which part of a row a thread's vector is: pieces of 128 outputs, as many to a row as a run has.
template <RunOutputs kRun>
struct Piece {
  int row, start;
  __device__ __forceinline__ Piece(const Conv1dWgmmaParams& p, int piece, int vector_start) {
    const int pieces = kRun == RunOutputs::kResidues ? p.correlation.residues : kSpreadOf<kRun>;
    // 16 pieces at most: the product with the rounded reciprocal is exact.
    row = kRun == RunOutputs::kResidues ? piece * (256 / pieces + 1) / 256 : piece / pieces;
    start = (piece - row * pieces) * Conv1dWgmmaShape::kWarpgroupM + vector_start;
  }
};

/// What finish_vector() asks of a row: `before` outputs from a 16-byte boundary to its first.
template <RunOutputs kRun>
__device__ __forceinline__ bool is_odd(const Conv1dWgmmaParams& p, int before) {
  if constexpr (kRun == RunOutputs::kSpreadSum) {
    return (before + p.correlation.spread_first) % 2 != 0;
  }
  return kRun == RunOutputs::kResidues && writes_pairs(p) && before % 2 != 0;
}

/// A vector of a pass on its way out.
template <typename T>
struct PendingVector {
  uint4 vector;
  T* target;
  bool inside;
};
template <typename T, int kBatch>
__device__ __forceinline__ void store_pending(const PendingVector<T> (&pending)[kBatch]) {
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    store_vector_if(pending[i].inside, pending[i].target, pending[i].vector);
  }
}

/// The vectors of a tile's pass without residues.
template <typename T, RunOutputs kRun>
using PassVectors =
    VectorPlaces<16 / static_cast<int>(sizeof(T)),
                 Conv1dWgmmaShape::kWarpgroupM * kSpreadOf<kRun>* static_cast<int>(sizeof(T)) / 16>;

/// Stores a pass of which every row lies inside the output, its first position not the row's first
/// and its last not the row's last.
/// @param values, biases, fillers, output  of the pass's first row
/// @param exact  exact(row, i) is the output `i` after the row's first in plain fp32
/// @return whether all values of whole vectors were finite
template <typename T, typename ActivationType, RunOutputs kRun, typename Exact>
__device__ __forceinline__ bool store_inner_pass(const Conv1dWgmmaParams& p, int thread,
                                                 const PassVectors<T, kRun>& tile_places,
                                                 const float* values, const float* biases,
                                                 const uint32_t* fillers, T* output,
                                                 Exact&& exact) {
  using Places = PassVectors<T, kRun>;
  constexpr int kVector = 16 / static_cast<int>(sizeof(T)), kSpread = kSpreadOf<kRun>;
  constexpr int kPitch = slab_row_pitch<T>(1);
  constexpr int kBatch = sizeof(T) == 4 ? 4 : 2;  // vectors under way
  const Places places = tile_places.of_pass();
  const int64_t stride = p.problem.output_strides.channel;
  T* target = output + places.row * stride + places.start;
  float probe = 0;
#pragma unroll
  for (int first = 0; first < Places::kCount; first += kBatch) {
    PendingVector<T> pending[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = places.row + (first + i) * Places::kRowStep, before = places[first + i];
      pending[i] = {finish_vector<T, ActivationType, kRun>(
                        values + row * kPitch + places.start / kSpread, is_odd<kRun>(p, before),
                        biases[row], fillers[row], probe),
                    target - before, before < 8};
      target += Places::kRowStep * stride;
    }
    store_pending(pending);
  }
  if (kRun == RunOutputs::kSum && p.ragged) {
    // What a row has of its first vector and of the one after its last: one vector's elements.
    for (int i = thread; i < Conv1dWgmmaShape::kPassColumns * kVector;
         i += Conv1dWgmmaShape::kStoreThreads) {
      const int row = i / kVector;
      T* first = output + row * stride;
      const int before = static_cast<int>(place_of(first) % kVector);
      if (before > 0) {
        const int element =
            i % kVector + (i % kVector < before ? Conv1dWgmmaShape::kWarpgroupM : 0);
        float sum = values[row * kPitch + element];
        if (MmaTraits<T>::kParts == 2 && !isfinite(sum)) {
          sum = exact(row, element - before);
        }
        first[element - before] =
            from_accumulate<T>(activate_sum<T, ActivationType>(sum, biases[row]));
      }
    }
  }
  return all_finite(probe);
}

/// The same with residues.
template <typename T, typename ActivationType>
__device__ __forceinline__ bool store_inner_residues(const Conv1dWgmmaParams& p, int thread,
                                                     const float* values, const float* biases,
                                                     const uint32_t* fillers, T* output) {
  using Shape = Conv1dWgmmaShape;
  constexpr RunOutputs kRun = RunOutputs::kResidues;
  constexpr int kVector = 16 / static_cast<int>(sizeof(T)), kSector = 2 * kVector;
  constexpr int kPieceVectors = Shape::kWarpgroupM / kVector;
  const bool aligned = p.warpgroup_step == Shape::kWarpgroupM;
  constexpr int kStep = Shape::kStoreThreads / kPieceVectors;
  constexpr int kBatch = 2;  // vectors under way
  float probe = 0;
#pragma unroll 1
  for (int first = thread / kPieceVectors; first < Shape::kPassColumns; first += kBatch * kStep) {
    PendingVector<T> pending[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const Piece<kRun> piece(p, first + i * kStep, thread % kPieceVectors * kVector);
      const int row = min(piece.row, p.pass_channels - 1);  // residues may leave columns empty
      T* target = output + row * p.problem.output_strides.channel;
      int before = 0;
      int skipped = 0;  // elements before the first sector of complete outputs
      if (!aligned) {
        const uint32_t place = place_of(target);
        before = place % kVector;
        target -= before;
        const uint32_t from = place + p.skew_outputs;
        skipped = before + p.skew_outputs + static_cast<int>((kSector - from % kSector) % kSector);
      }
      pending[i] = {finish_vector<T, ActivationType, kRun>(
                        values + row * p.slab_pitch + piece.start, is_odd<kRun>(p, before),
                        biases[row], fillers[row], probe),
                    target + piece.start,
                    row == piece.row && piece.start >= skipped &&
                        piece.start < skipped + p.warpgroup_step * p.correlation.residues};
    }
    store_pending(pending);
  }
  return all_finite(probe);
}

/// Stores a vector of any row; `odd` and `filler` are finish_vector()'s.
/// @param begin, end  the vector's elements that are stored; may lie outside it
/// @param exact       exact(i) is element i in plain fp32, taken where the sum is NaN or Inf
template <typename T, typename ActivationType, RunOutputs kRun, typename Exact>
__device__ __forceinline__ void store_any_vector(float* values, T* output, int begin, int end,
                                                 bool odd, float bias, uint32_t filler,
                                                 Exact&& exact) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T)), kSpread = kSpreadOf<kRun>;
  float probe = 0;
  const auto finish = [&] {
    return finish_vector<T, ActivationType, kRun>(values, odd, bias, filler, probe);
  };
  uint4 vector = finish();
  if constexpr (kComputesAgain<T, kRun>) {
    if (!all_finite(probe)) {
#pragma unroll 1
      for (int i = 0; i < kVector / kSpread; ++i) {
        const int element = kSpread == 2 ? i * 2 + odd : i;
        float& sum = values[kSpread == 2 ? i : i + odd];
        if (element >= begin && element < end && !isfinite(sum)) {
          sum = exact(element);
        }
      }
      vector = finish();
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
/// @param thread  of the warpgroup's storing warps
template <typename T, int kSlots, RunOutputs kRun>
__device__ __forceinline__ void store_conv1d_tiles(const Conv1dWgmmaParams& p, int warpgroup,
                                                   int thread, const float* biases,
                                                   const uint32_t* fillers, SlabRing<float> slabs) {
  using Shape = Conv1dWgmmaShape;
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  constexpr int kPieceVectors = Shape::kWarpgroupM / kVector;
  constexpr int kRows = Shape::kStoreThreads / kPieceVectors;  // at once
  constexpr bool kResidues = kRun == RunOutputs::kResidues;
  constexpr int kSpread = kSpreadOf<kRun>, kPieces = Shape::kPassColumns * kSpread;
  const int run_outputs = kResidues ? p.correlation.residues : kSpread;
  const int pass_channels = kResidues ? p.pass_channels : Shape::kPassColumns;
  const bool ragged = kRun == RunOutputs::kSum && p.ragged;
  const int block_channels = p.block_passes * pass_channels;
  const int group = blockIdx.y / p.n_blocks;
  const int block_channel = blockIdx.y % p.n_blocks * block_channels;
  const int out_channels = static_cast<int>(p.problem.out_channels);
  const int channels = out_channels - block_channel;
  const int out_length = static_cast<int>(p.problem.out_length);
  const int64_t channel_stride = p.problem.output_strides.channel;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const int first = (cursor.run + warpgroup * p.warpgroup_step) * run_outputs;
    const bool inner =
        first > 0 && first + Shape::kWarpgroupM * run_outputs + 2 * kVector <= out_length;
    T* output =
        static_cast<T*>(p.problem.output) + cursor.n * p.problem.output_strides.batch +
        (static_cast<int64_t>(group) * p.problem.out_channels + block_channel) * channel_stride +
        first;
    // Of residues' tiles it is not used.
    const PassVectors<T, kResidues ? RunOutputs::kSum : kRun> places(
        thread, place_of(output), static_cast<uint32_t>(channel_stride),
        [&](uint32_t place) { return output_row<T>(p, place, first); });
    slabs.take_tile(
        p, min(channels, block_channels), pass_channels, [&](int channel, float* values) {
          with_activation(p.problem.activation, [&](auto kind) {
            using ActivationType = ActivationOfSum<T, decltype(kind)>;
            const auto exact = [&](int row, int i) {
              return convolve_exactly<T>(p.problem, cursor.n, group, block_channel + channel + row,
                                         first + i);
            };
            const auto store_inner = [&] {
              if constexpr (kResidues) {
                return store_inner_residues<T, ActivationType>(p, thread, values, biases + channel,
                                                               fillers + channel, output);
              } else {
                return store_inner_pass<T, ActivationType, kRun>(
                    p, thread, places, values, biases + channel, fillers + channel, output, exact);
              }
            };
            if (inner && channel + pass_channels <= channels && store_inner()) {
              return;
            }
#pragma unroll 1
            for (int i = thread / kPieceVectors; i < kPieces + (ragged ? kRows : 0); i += kRows) {
              Piece<kRun> piece(p, i, thread % kPieceVectors * kVector);
              if (ragged && i >= kPieces) {  // the vectors that a tile shares with the next one
                piece.row = thread;
                piece.start = Shape::kWarpgroupM;
              }
              if (piece.row >= min(pass_channels, channels - channel)) {
                continue;
              }
              T* row = output + piece.row * channel_stride;
              const OutputRow part = output_row<T>(p, place_of(row), first);
              const int offset = piece.start - part.before;
              store_any_vector<T, ActivationType, kRun>(
                  values + piece.row * p.slab_pitch + piece.start / kSpread, row + offset,
                  part.begin - piece.start, part.end - piece.start, is_odd<kRun>(p, part.before),
                  biases[channel + piece.row], fillers[channel + piece.row],
                  [&](int i) { return exact(piece.row, offset + i); });
            }
          });
          output += pass_channels * channel_stride;
        });
  }
}

#endif

}  // namespace kernelopt
