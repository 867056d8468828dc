// The storing warps of the warpgroup kernel where the sums have splits: they write the slabs to the
// workspace as they are, for conv1d_wgmma_split_kernel.cuh to add up.
#pragma once

#include "conv1d/conv1d_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where the sums of a warpgroup's two segments go.
struct SplitTarget {
  float* rows[2];  // of channel 0 of all groups' and the slab's first run
  int length[2];   // elements of a slab's row before the segment's part ends
};
__device__ __forceinline__ SplitTarget split_target(const Conv1dWgmmaParams& p,
                                                    const Conv1dTileCursor& cursor, int warpgroup,
                                                    int residues) {
  using Shape = Conv1dWgmmaShape;
  SplitTarget target;
#pragma unroll
  for (int m = 0; m < Shape::kTilesM; ++m) {
    const Conv1dSegment segment(p, cursor, warpgroup * Shape::kTilesM + m);
    const int before = m * Shape::kSegmentRuns * residues, first = segment.run * residues - before;
    target.rows[m] = p.split_sums +
                     (blockIdx.z * p.problem.batch + segment.n) * p.problem.groups *
                         p.problem.out_channels * p.split_pitch +
                     first;
    target.length[m] = segment.n < p.problem.batch
                           ? min(before + Shape::kSegmentRuns * residues, p.split_pitch - first)
                           : 0;
  }
  return target;
}

/// Writes a pass of a split's sums as they are.
/// @param channel   the pass's first, of all groups'
/// @param channels  of the pass that exist
template <bool kUnit>
__device__ __forceinline__ void store_split_pass(const Conv1dWgmmaParams& p, int thread,
                                                 int64_t channel, int channels, const float* values,
                                                 const SplitTarget& target) {
  using Shape = Conv1dWgmmaShape;
  constexpr int kPieceVectors = Shape::kWarpgroupM / 4;
  constexpr int kPieces = Shape::kStoreThreads / kPieceVectors;  // at once
  const int residues = kUnit ? 1 : p.correlation.residues;
  const int64_t first_row = channel * p.split_pitch;
  const int vector = thread % kPieceVectors * 4;
  if (residues == 1) {
    const bool second = vector >= Shape::kSegmentRuns;
    if (vector >= (second ? target.length[1] : target.length[0])) {
      return;
    }
    const int row = thread / kPieceVectors;
    const float* source = values + row * p.slab_pitch + vector;
    float* sums = (second ? target.rows[1] : target.rows[0]) + first_row +
                  static_cast<int64_t>(row) * p.split_pitch + vector;
#pragma unroll 4
    for (int i = row; i < channels; i += kPieces) {
      store_vector(sums, *reinterpret_cast<const uint4*>(source));
      source += kPieces * p.slab_pitch;
      sums += kPieces * p.split_pitch;
    }
    return;
  }
  int row = 0, rest = thread / kPieceVectors;  // of a row's `residues` pieces
#pragma unroll 1
  while (true) {
    for (; rest >= residues; rest -= residues) {
      ++row;
    }
    if (row >= channels) {
      return;
    }
    const int start = rest * Shape::kWarpgroupM + vector;
    const bool second = start >= Shape::kSegmentRuns * residues;
    if (start < (second ? target.length[1] : target.length[0])) {
      store_vector((second ? target.rows[1] : target.rows[0]) + first_row +
                       static_cast<int64_t>(row) * p.split_pitch + start,
                   *reinterpret_cast<const uint4*>(values + row * p.slab_pitch + start));
    }
    rest += kPieces;
  }
}

/// Stores a warpgroup's tiles, as store_conv1d_tiles does.
template <int kSlots, bool kUnit>
__device__ __forceinline__ void store_split_tiles(const Conv1dWgmmaParams& p, int warpgroup,
                                                  int thread, SlabRing<float> slabs) {
  using Shape = Conv1dWgmmaShape;
  const int pass_channels = kUnit ? Shape::kPassColumns : p.pass_channels;
  const int block_channels = p.block_passes * pass_channels;
  const int block_channel = blockIdx.y % p.n_blocks * block_channels;
  const int out_channels = static_cast<int>(p.problem.out_channels);
  const int channels = min(out_channels - block_channel, block_channels);
  const int64_t first_channel =
      static_cast<int64_t>(blockIdx.y / p.n_blocks) * out_channels + block_channel;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const SplitTarget target =
        split_target(p, cursor, warpgroup, kUnit ? 1 : p.correlation.residues);
    slabs.take_tile(p, channels, pass_channels, [&](int channel, const float* values) {
      store_split_pass<kUnit>(p, thread, first_channel + channel,
                              min(pass_channels, channels - channel), values, target);
    });
  }
}

#endif

}  // namespace kernelopt
