// 1-D convolution on Hopper's tensor cores (wgmma), as an implicit GEMM with the positions as rows:
//   output[n, o, q * residues + r] = act(bias[o] + sum_{c, j} weight[slot(o, r), c, j] * x[n, c,
//   i]), i = q * input_step + input_first + j * tap_step, zero outside the input.
// A block owns up to 128 slots of a group and walks over tiles of the positions; small problems
// split the channels c among blocks as well (conv1d_wgmma_split_kernel.cuh). Four warps load
// (conv1d_wgmma_load.cuh), two warpgroups, 128 positions each, multiply: they read their fragments
// from a window of the input at any tap's offset (fp32 split in two bf16 parts, three products),
// the packed weights are in shared memory. Two warps for each store (conv1d_wgmma_store.cuh).
// Limits: rows with unit stride, 32-bit positions.
#pragma once

#include "conv1d/conv1d_wgmma_load.cuh"
#include "conv1d/conv1d_wgmma_split_store.cuh"
#include "conv1d/conv1d_wgmma_weights.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// A fragment of 64 x 16: this thread's positions are its rows, its channels those of `rows`, byte
/// offsets in shared memory.
template <typename T>
struct WindowFragment {
  static constexpr int kParts = MmaTraits<T>::kParts;
  uint32_t parts[kParts][4];

  /// @param eight  bytes from a position to the eighth after it
  __device__ __forceinline__ void load(const unsigned char* shared, const int (&rows)[4],
                                       int offset, int eight) {
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const unsigned char* first = shared + rows[pair * 2] + offset + i * eight;
        const unsigned char* second = shared + rows[pair * 2 + 1] + offset + i * eight;
        const int word = pair * 2 + i;
        if constexpr (kParts == 2) {
          const SplitPair split = split_bf16_unlimited(*reinterpret_cast<const float*>(first),
                                                       *reinterpret_cast<const float*>(second));
          parts[0][word] = split.high;
          parts[1][word] = split.low;
        } else {
          parts[0][word] = __byte_perm(*reinterpret_cast<const uint16_t*>(first),
                                       *reinterpret_cast<const uint16_t*>(second), 0x5410);
        }
      }
    }
  }
  __device__ __forceinline__ void hold() {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      wgmma_hold(parts[part]);
    }
  }
  /// accumulators (+)= this * the weights of one chunk and tap.
  template <int kRegisters>
  __device__ __forceinline__ void multiply(float (&accumulators)[kRegisters], uint64_t weights,
                                           int accumulate) const {
    wgmma_fence();
    wgmma_m64k16<T>(accumulators, parts[0], weights, accumulate);
    if constexpr (kParts == 2) {
      // From a part to the next: kSlots * 32 bytes, in the descriptor's units of 16.
      wgmma_m64k16<T>(accumulators, parts[1], weights, 1);
      wgmma_m64k16<T>(accumulators, parts[0], weights + 2 * (kRegisters * 2), 1);
    }
    wgmma_commit();
  }
};

/// Where a thread's four columns of a pass go in a slab: the first two are neighbours, and so are
/// the others. Of an even number of residues two neighbours are written together.
template <typename T, bool kUnit>
struct SlabColumns {
  static constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  int residues;
  int offsets[4];      // words from the slab's start, negative where there is none
  uint32_t places[4];  // elements from the pass's first output to the channel's

  /// @param row  the thread's first of the fragments
  __device__ __forceinline__ SlabColumns(const Conv1dWgmmaParams& p, int row,
                                         uint32_t channel_stride)
      : residues(kUnit ? 1 : p.correlation.residues) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
      const int channel = kUnit ? column : column / residues;
      const int pitch = residues == 1 ? slab_row_pitch<T>(1) : p.slab_pitch;
      const int residue = column - channel * residues;
      const int run = kUnit ? row : row + p.skews[residue];
      offsets[i] =
          kUnit || channel < p.pass_channels ? channel * pitch + run * residues + residue : -1;
      places[i] = channel * channel_stride;
    }
  }
  /// Writes a warpgroup's sums of a pass.
  /// @param place  of the pass's first output in 16 bytes
  template <int kTilesM, int kRegisters>
  __device__ __forceinline__ void write(const Conv1dWgmmaParams& p,
                                        const float (&accumulators)[kTilesM][kRegisters], int pass,
                                        uint32_t place, float* values) const {
    const auto sum = [&](int i, int m, int half) {
      return accumulators[m][(pass * 2 + i / 2) * 4 + half * 2 + i % 2];
    };
    const bool pairs = !kUnit && writes_pairs(p);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!kUnit && (offsets[i] < 0 || (pairs && i % 2 == 1))) {
        continue;
      }
      const uint32_t before = (place + places[i]) % kVector;
      if (pairs) {
        float2* pair = reinterpret_cast<float2*>(values + offsets[i] + (before + 1) / 2 * 2);
#pragma unroll
        for (int j = 0; j < kTilesM * 2; ++j) {
          pair[(j / 2 * 64 + j % 2 * 8) * residues / 2] =
              make_float2(sum(i, j / 2, j % 2), sum(i | 1, j / 2, j % 2));
        }
      } else {
        float* value = values + offsets[i] + (kUnit ? p.correlation.sum_place(before) : before);
#pragma unroll
        for (int j = 0; j < kTilesM * 2; ++j) {
          value[(j / 2 * 64 + j % 2 * 8) * residues] = sum(i, j / 2, j % 2);
        }
      }
    }
  }
};

#endif

/// `kUnit`: input_step and residues are 1, so that offsets between positions are constants.
/// `kSegments`: tiles are made of segments, whose rows have places of their own.
template <typename T, int kSlots, bool kUnit, bool kSegments>
__global__ void __launch_bounds__(Conv1dWgmmaShape::kThreads, 1)
    conv1d_wgmma_kernel(const __grid_constant__ Conv1dWgmmaParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = Conv1dWgmmaShape;
  constexpr int kTapBytes = kSlots * 32 * MmaTraits<T>::kParts;
  constexpr int kRegisters = kSlots / 2;
  constexpr int kSize = static_cast<int>(sizeof(T));
  const int residues = kUnit ? 1 : p.correlation.residues;
  const int pass_channels = kUnit ? Shape::kPassColumns : p.pass_channels;
  const int block_channels = p.block_passes * pass_channels;
  const int group = blockIdx.y / p.n_blocks;
  const int block_channel = blockIdx.y % p.n_blocks * block_channels;
  const int out_channels = static_cast<int>(p.problem.out_channels);

  // Resident weights, stages, slabs, biases, fillers, barriers.
  extern __shared__ __align__(128) unsigned char shared[];
  if (p.packs_weights) {
    grid_dependency_wait();  // else the packing kernel has waited
  }
  // Not before: a dependent that reads what was complete when this call began does not wait for it.
  grid_dependency_launch();
  const int stage_bytes = p.window_bytes + p.step_weight_bytes;
  unsigned char* stages = shared + p.resident_bytes;
  float* slabs = reinterpret_cast<float*>(stages + p.stages * stage_bytes);
  float* biases = slabs + Shape::kWarpgroups * p.slabs * (p.slab_bytes / 4);
  uint32_t* fillers = reinterpret_cast<uint32_t*>(biases + kSlots);
  const uint32_t resident_barrier = shared_address(fillers + kSlots);
  const uint32_t full = resident_barrier + 8, empty = full + p.stages * 8;
  const uint32_t slab_full = empty + p.stages * 8;
  const uint32_t slab_empty = slab_full + Shape::kWarpgroups * p.slabs * 8;
  if (threadIdx.x == 0) {
    mbarrier_init(resident_barrier, p.packs_weights ? Shape::kThreads / 32 - 4 : 1);
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(full + stage * 8, 1);
      mbarrier_init(empty + stage * 8, Shape::kWarpgroups * 4);
    }
    for (int slab = 0; slab < Shape::kWarpgroups * p.slabs; ++slab) {
      mbarrier_init(slab_full + slab * 8, 4);
      mbarrier_init(slab_empty + slab * 8, Shape::kStoreThreads / 32);
    }
    mbarrier_fence_init();
  }
  load_conv1d_biases<T, kSlots>(p, group, block_channel, block_channels, biases, fillers);
  __syncthreads();

  // Broadcast, so that the compiler knows the roles' arithmetic to be the same in all lanes.
  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = threadIdx.x % 32, warpgroup = warp / 4;
  const auto slab_ring = [&](int owner) {
    const int first = owner * p.slabs;
    return SlabRing<float>{reinterpret_cast<unsigned char*>(slabs) + first * p.slab_bytes,
                           slab_full + first * 8, slab_empty + first * 8};
  };
  if (p.packs_weights && warpgroup != Shape::kWarpgroups) {
    const int thread = static_cast<int>(threadIdx.x) - (warpgroup > Shape::kWarpgroups ? 128 : 0);
    pack_block_weights<T, kSlots>(p, thread, Shape::kThreads - 128,
                                  reinterpret_cast<uint4*>(shared));
    fence_async_proxy();
    __syncwarp();
    if (lane == 0) {
      mbarrier_arrive(resident_barrier);
    }
  }
  if (warpgroup == Shape::kWarpgroups) {
    give_registers<Shape::kLoadRegisters>();
    if (p.resident_bytes > 0 && !p.packs_weights && threadIdx.x % 128 == 0) {
      grid_dependency_wait();  // for the packed weights
      mbarrier_arrive_expect(resident_barrier, p.resident_bytes);
      bulk_load(shared_address(shared),
                reinterpret_cast<const unsigned char*>(p.packed_weight) +
                    static_cast<int64_t>(blockIdx.y) * p.resident_bytes,
                p.resident_bytes, resident_barrier);
    }
    if (p.box_bytes > 0) {
      load_conv1d_stages<T, kSlots, kSegments, true>(p, warp % 4, stages, stage_bytes, full, empty);
    } else {
      load_conv1d_stages<T, kSlots, kSegments, false>(p, warp % 4, stages, stage_bytes, full,
                                                      empty);
    }
    return;
  }
  if (warpgroup == Shape::kWarpgroups + 1) {
    give_registers<Shape::kStoreRegisters>();
    const int served = warp % 4 / 2, thread = threadIdx.x % Shape::kStoreThreads;
    const SlabRing<float> ring = slab_ring(served);
    if (p.split_sums != nullptr) {
      store_split_tiles<kSlots, kUnit>(p, served, thread, ring);
    } else if (p.correlation.run_outputs() == 1) {
      store_conv1d_tiles<T, kSlots, RunOutputs::kSum>(p, served, thread, biases, fillers, ring);
    } else {
      constexpr RunOutputs kRun = kUnit ? RunOutputs::kSpreadSum : RunOutputs::kResidues;
      store_conv1d_tiles<T, kSlots, kRun>(p, served, thread, biases, fillers, ring);
    }
    return;
  }

  take_registers<Shape::kProductRegisters>();
  const int in_channels = static_cast<int>(p.problem.in_channels);
  const int taps = p.correlation.taps;
  const int input_step = kUnit ? 1 : p.correlation.input_step;
  const int row = warp % 4 * 16 + lane / 4, quad = lane % 4;  // of the thread's first fragment row
  const int passes = block_passes(p, out_channels - block_channel, pass_channels);
  // Slabs of splits begin at their rows' first element.
  const bool split = p.split_sums != nullptr;
  const uint32_t channel_stride =
      split ? 0 : static_cast<uint32_t>(p.problem.output_strides.channel);
  const SlabColumns<T, kUnit> columns(p, row, channel_stride);
  const Conv1dChannelRange channels(p);
  if (p.resident_bytes > 0) {
    mbarrier_wait(resident_barrier, 0);
  }

  // Rows of segments have places of their own; those of a tile of one are a constant apart.
  constexpr int kRowSets = kSegments ? Shape::kTilesM : 1;
  int row_start[kRowSets];  // bytes from a window row's start to the first position
#pragma unroll
  for (int m = 0; m < kRowSets; ++m) {
    row_start[m] = kSegments ? (warpgroup * Shape::kTilesM + m) * p.segment_bytes
                             : warpgroup * p.warpgroup_bytes + m * 64 * input_step * kSize;
  }

  float accumulators[Shape::kTilesM][kRegisters];
  WindowFragment<T> fragments[Shape::kTilesM];
  SlabRing<float> ring_of_slabs = slab_ring(warpgroup);
  int stage = 0;
  uint32_t parity = 0;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    // The first run of what the rows' windows hold.
    int window_n[kRowSets], window_run[kRowSets];
#pragma unroll
    for (int m = 0; m < kRowSets; ++m) {
      window_n[m] = cursor.n;
      window_run[m] = cursor.run + warpgroup * p.box_step;
      if (kSegments) {
        const Conv1dSegment segment(p, cursor, warpgroup * Shape::kTilesM + m);
        window_n[m] = segment.n;
        window_run[m] = segment.run;
      }
    }
    int accumulate = 0;
    for (int channel = channels.begin; channel < channels.end; channel += p.stage_channels) {
      for (int tap = 0; tap < taps; tap += p.taps_per_step) {
        const int step_taps = min(p.taps_per_step, taps - tap);
        const int window = p.resident_bytes + stage * stage_bytes;
        int rows[kRowSets][4];
#pragma unroll
        for (int m = 0; m < kRowSets; ++m) {
          const int position =
              window_run[m] * input_step + p.correlation.input_first + tap * p.correlation.tap_step;
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int k = i / 2 * 8 + quad * 2 + i % 2;
            const int shift =
                kSegments && p.copies_images
                    ? 0
                    : window_shift<T>(p, window_n[m],
                                      static_cast<int64_t>(group) * in_channels + channel + k,
                                      position);
            rows[m][i] =
                window + k * p.window_pitch + row_start[m] + (shift + row * input_step) * kSize;
          }
        }
        mbarrier_wait(full + stage * 8, parity);
        const int chunks = min(p.stage_channels, in_channels - channel + 15) / 16;
        for (int chunk = 0; chunk < chunks; ++chunk) {
          const uint32_t weights =
              p.resident_bytes > 0
                  ? shared_address(shared) +
                        (((channel - channels.begin) / 16 + chunk) * taps + tap) * kTapBytes
                  : shared_address(shared) + window + p.window_bytes +
                        chunk * p.taps_per_step * kTapBytes;
          uint64_t descriptor = wgmma_descriptor(weights, kSlots);
          int offset = 0;
          for (int j = 0; j < step_taps; ++j) {
            // A fragment is loaded while the product of the other one runs.
#pragma unroll
            for (int m = 0; m < Shape::kTilesM; ++m) {
              fragments[m].load(shared, rows[m % kRowSets],
                                offset + (kSegments ? 0 : m * 64 * input_step * kSize),
                                8 * input_step * kSize);
              fragments[m].multiply(accumulators[m], descriptor, accumulate);
              wgmma_wait<1>();
              fragments[1 - m].hold();
            }
            accumulate = 1;
            offset += p.correlation.tap_step * kSize;
            descriptor += kTapBytes / 16;
          }
#pragma unroll
          for (int m = 0; m < kRowSets; ++m) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              rows[m][i] += 16 * p.window_pitch;
            }
          }
        }
        if (p.resident_bytes == 0) {
          wgmma_wait<0>();  // the stage's weights have been read
        }
        __syncwarp();
        if (lane == 0) {
          mbarrier_arrive(empty + stage * 8);
        }
        if (++stage == p.stages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
    wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < Shape::kTilesM; ++m) {
      fragments[m].hold();
      wgmma_hold(accumulators[m]);
    }

    // The thread's columns of a pass go to their channels' rows of a slab, where the storing warps
    // find them.
    const int first =
        (cursor.run + warpgroup * p.warpgroup_step) * (kUnit ? p.correlation.spread : residues);
    const T* output = static_cast<const T*>(p.problem.output) +
                      cursor.n * p.problem.output_strides.batch +
                      (static_cast<int64_t>(group) * out_channels + block_channel) *
                          p.problem.output_strides.channel +
                      first;
    uint32_t place = split ? 0 : static_cast<uint32_t>(reinterpret_cast<uintptr_t>(output) / kSize);
#pragma unroll
    for (int pass = 0; pass < kSlots / Shape::kPassColumns; ++pass) {
      if (pass < passes) {
        ring_of_slabs.wait_empty();
        columns.write(p, accumulators, pass, place, ring_of_slabs.values(p));
        ring_of_slabs.hand_over(p);
        place += pass_channels * channel_stride;
      }
    }
  }
#endif
}

}  // namespace kernelopt
