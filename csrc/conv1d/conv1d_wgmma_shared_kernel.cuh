// 1-D convolution in 16 bits on Hopper's tensor cores (wgmma), as an implicit GEMM with the
// positions as rows, as conv1d_wgmma_kernel.cuh has it, with both operands in
// shared memory. A block owns up to 256 slots of a group and walks over tiles of the positions. One
// warp loads (conv1d_wgmma_shared_load.cuh), three make the products' operand of what it brought
// (..._operand), two warpgroups multiply and finish the results (..._slab), two warps for each
// store (..._store). Limits: rows with unit stride, 32-bit positions.
#pragma once

#include "conv1d/conv1d_wgmma_shared_operand.cuh"
#include "conv1d/conv1d_wgmma_shared_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// One tile's sums, of stages as they fill: the products of a step lie one below the other or, of
/// 256 slots, side by side.
/// @param first_row  the warpgroup's first position in the operand
/// @param resident   shared address of the weights, where they stay
/// @param next_turn  the other warpgroup's barrier, where they take turns
template <typename T, int kSlots, bool kStrided, int kProducts, int kRegisters>
__device__ __forceinline__ void multiply_tile(const Conv1dWgmmaSharedParams& p,
                                              float (&accumulators)[kProducts][kRegisters],
                                              int first_row, uint32_t resident, uint32_t stages,
                                              uint32_t full, uint32_t empty, uint32_t next_turn,
                                              RingCursor& ring) {
  constexpr int kTapBytes = kSlots * 32;
  constexpr bool kWide = kSlots > 128;
  const int lane = threadIdx.x % 32;
  const int in_channels = static_cast<int>(p.problem.in_channels);
  const int taps = p.correlation.taps;
  // From a tap to the next, in positions modulo the input step and in places of the operand.
  const int input_step = kStrided ? p.correlation.input_step : 1;
  const int residue_step = kStrided ? p.correlation.tap_step % input_step : 0;
  const int tap_places = p.correlation.tap_step / input_step + residue_step * p.residue_pitch;
  const int wrapped_places = 1 - input_step * p.residue_pitch;
  int accumulate = 0;
  uint32_t previous = 0;  // the barrier of the stage that products under way read
  for (int channel = 0; channel < in_channels; channel += p.stage_channels) {
    for (int tap = 0; tap < taps; tap += p.taps_per_step) {
      const int step_taps = min(p.taps_per_step, taps - tap);
      const int chunks = min(p.stage_channels, in_channels - channel + 15) / 16;
      const uint32_t stage = stages + ring.index * (p.operand_bytes + p.step_weight_bytes);
      const uint32_t weights = p.resident_bytes > 0
                                   ? resident + (channel / 16 * taps + tap) * kTapBytes
                                   : stage + p.operand_bytes;
      const int chunk_taps = p.resident_bytes > 0 ? taps : p.taps_per_step;
      const uint64_t operand_start = wgmma_descriptor(stage + first_row * 16, p.operand_pitch);
      const uint64_t weights_start = wgmma_descriptor(weights, kSlots);
      mbarrier_wait(full + ring.index * 8, ring.parity);
      for (int chunk = 0; chunk < chunks; ++chunk) {
        uint64_t operand = operand_start + chunk * 2 * p.operand_pitch;
        uint64_t weight = weights_start + chunk * chunk_taps * (kTapBytes / 16);
        int residue = 0;
        for (int j = 0; j < step_taps; ++j) {
          wgmma_fence();
#pragma unroll
          for (int t = 0; t < kProducts; ++t) {
            wgmma_m64k16<T>(accumulators[t], operand + (kWide ? 0 : t * 64),
                            weight + (kWide ? t * 128 : 0), accumulate);
          }
          accumulate = 1;
          operand += tap_places;
          residue += residue_step;
          if (kStrided && residue >= input_step) {
            residue -= input_step;
            operand += wrapped_places;
          }
          weight += kTapBytes / 16;
        }
      }
      wgmma_commit();
      // The stage before has been read.
      wgmma_wait<1>();
      __syncwarp();
      if (lane == 0 && previous != 0) {
        mbarrier_arrive(previous);
      }
      previous = empty + ring.index * 8;
      ring.advance(p.operand_stages);
    }
  }
  if (p.takes_turns && lane == 0) {
    mbarrier_arrive(next_turn);
  }
  wgmma_wait<0>();
#pragma unroll
  for (int t = 0; t < kProducts; ++t) {
    wgmma_hold(accumulators[t]);
  }
  __syncwarp();
  if (lane == 0) {
    mbarrier_arrive(previous);
  }
}

#endif

/// @tparam kStrided  input_step is not 1
template <typename T, int kSlots, int kResidues, bool kStrided>
__global__ void __launch_bounds__(Conv1dWgmmaSharedShape::kThreads, 1)
    conv1d_wgmma_shared_kernel(const __grid_constant__ Conv1dWgmmaSharedParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = Conv1dWgmmaSharedShape;
  constexpr int kBlockChannels = kSlots / kResidues;
  const int group = blockIdx.y / p.n_blocks;
  const int block_channel = blockIdx.y % p.n_blocks * kBlockChannels;
  const int out_channels = static_cast<int>(p.problem.out_channels);

  // Resident weights, windows, operand stages, slabs, biases, fillers, flags, barriers.
  extern __shared__ __align__(128) unsigned char shared[];
  grid_dependency_launch();
  unsigned char* windows = shared + p.resident_bytes;
  unsigned char* stages = windows + p.stages * p.window_bytes;
  unsigned char* slabs = stages + p.operand_stages * (p.operand_bytes + p.step_weight_bytes);
  float* biases = reinterpret_cast<float*>(slabs + Shape::kWarpgroups * p.slabs * p.slab_bytes);
  uint32_t* fillers = reinterpret_cast<uint32_t*>(biases + kSlots);
  uint32_t* flags = fillers + kSlots;
  const uint32_t resident_barrier = shared_address(flags) + Shape::kFlagBytes;
  const uint32_t window_full = resident_barrier + 8;
  const uint32_t window_empty = window_full + p.stages * 8;
  const uint32_t full = window_empty + p.stages * 8, empty = full + p.operand_stages * 8;
  const uint32_t slab_full = empty + p.operand_stages * 8;
  const uint32_t slab_empty = slab_full + Shape::kWarpgroups * p.slabs * 8;
  const uint32_t turns = slab_empty + Shape::kWarpgroups * p.slabs * 8;
  const int slab_owners = p.adjoins ? Shape::kWarpgroups : 1;  // of a slab's barriers
  if (threadIdx.x == 0) {
    mbarrier_init(resident_barrier, 1);
    for (int owner = 0; owner < Shape::kWarpgroups; ++owner) {
      mbarrier_init(turns + owner * 8, 4);
    }
    init_ring(window_full, window_empty, p.stages, p.map_elements > 0 ? 1 : 32,
              Shape::kOperandWarps);
    init_ring(full, empty, p.operand_stages,
              Shape::kOperandWarps + (p.step_weight_bytes > 0 ? 1 : 0), Shape::kWarpgroups * 4);
    init_ring(slab_full, slab_empty, Shape::kWarpgroups * p.slabs, 4 * slab_owners,
              Shape::kStoreThreads / 32 * slab_owners);
    mbarrier_fence_init();
  }
  load_conv1d_biases<T, kSlots, kResidues == 1>(p, group, block_channel, kBlockChannels, biases,
                                                fillers);
  if (threadIdx.x < Shape::kFlagBytes / 4) {
    flags[threadIdx.x] = 0;
  }
  if (kResidues > 1) {
    // Rows of a tile beyond the last position are multiplied too: nothing there that is not finite.
    uint4* operands = reinterpret_cast<uint4*>(stages);
    const int units = p.operand_stages * (p.operand_bytes + p.step_weight_bytes) / 16;
    for (int i = threadIdx.x; i < units; i += Shape::kThreads) {
      operands[i] = make_uint4(0, 0, 0, 0);
    }
    fence_async_proxy();
  }
  __syncthreads();

  // Broadcast, so that the compiler knows the roles' arithmetic to be the same in all lanes.
  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = threadIdx.x % 32, warpgroup = warp / 4;
  const auto slab_ring = [&](int owner) {
    const int first = owner * p.slabs, barrier = p.adjoins ? 0 : first;
    return ResultRing<T, kSlots, kResidues>{slabs + first * p.slab_bytes, slab_full + barrier * 8,
                                            slab_empty + barrier * 8, flags + first};
  };
  if (warpgroup == Shape::kWarpgroups) {
    give_registers<Shape::kLoadRegisters>();
    if (warp % 4 == 0) {
      if (p.resident_bytes > 0 && lane == 0) {
        grid_dependency_wait();  // for the packed weights
        mbarrier_arrive_expect(resident_barrier, p.resident_bytes);
        bulk_load(shared_address(shared),
                  reinterpret_cast<const unsigned char*>(p.packed_weight) +
                      static_cast<int64_t>(blockIdx.y) * p.resident_bytes,
                  p.resident_bytes, resident_barrier);
      }
      if (p.map_elements == 0) {
        load_conv1d_windows<T>(p, shared_address(windows), window_full, window_empty);
      } else if (lane == 0) {
        load_conv1d_boxes<T>(p, shared_address(windows), window_full, window_empty);
      }
    } else {
      make_conv1d_operands<T, kSlots, Shape::kOperandWarps, kStrided>(
          p, warp % 4 - 1, windows, window_full, window_empty, stages, full, empty);
    }
    return;
  }
  if (warpgroup == Shape::kWarpgroups + 1) {
    give_registers<Shape::kStoreRegisters>();
    const int served = warp % 4 / 2, thread = threadIdx.x % Shape::kStoreThreads;
    bool spread = false;
    if constexpr (kSlots <= 128 && kResidues == 1) {
      spread = p.correlation.spread == 2;
      if (spread) {
        store_conv1d_tiles<T, kSlots, 1, 2>(p, served, thread, biases, fillers, slab_ring(served));
      }
    }
    if (!spread) {
      store_conv1d_tiles<T, kSlots, kResidues, 1>(p, served, thread, biases, fillers,
                                                  slab_ring(served));
    }
    return;
  }

  take_registers<Shape::kProductRegisters>();
  if (p.resident_bytes > 0) {
    mbarrier_wait(resident_barrier, 0);
  }
  using Columns = ResultColumns<kSlots, kResidues>;
  typename Columns::Accumulators accumulators;
  ResultRing<T, kSlots, kResidues> ring_of_slabs = slab_ring(warpgroup);
  const int first_row = warpgroup * p.second_run;
  const int passes =
      min(Columns::kPasses, (out_channels - block_channel - 1) / Shape::kPassChannels + 1);
  RingCursor ring;
  uint32_t turn_parity = warpgroup == 0 ? 1 : 0;  // the first one does not wait
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    if (p.takes_turns) {
      mbarrier_wait(turns + warpgroup * 8, turn_parity);
      turn_parity ^= 1;
    }
    multiply_tile<T, kSlots, kStrided>(p, accumulators, first_row, shared_address(shared),
                                       shared_address(stages), full, empty,
                                       turns + (1 - warpgroup) * 8, ring);
    const T* output = static_cast<const T*>(p.problem.output) +
                      cursor.n * p.problem.output_strides.batch +
                      (static_cast<int64_t>(group) * out_channels + block_channel) *
                          p.problem.output_strides.channel +
                      (cursor.run + first_row) * p.correlation.run_outputs();
    with_activation(p.problem.activation, [&](auto kind) {
      const auto write = [&](auto layout) {
        write_slabs<T, ActivationOfSum<T, decltype(kind)>, kSlots, kResidues,
                    decltype(layout)::value>(p, accumulators, biases, passes, output,
                                             ring_of_slabs);
      };
      using Single = std::integral_constant<SlabLayout, SlabLayout::kSingle>;
      if constexpr (kResidues == 1) {
        if (p.aligned_output) {
          write(std::integral_constant<SlabLayout, SlabLayout::kBlocks>());
        } else if (p.even_output) {
          write(std::integral_constant<SlabLayout, SlabLayout::kPairs>());
        } else {
          write(Single());
        }
      } else {
        write(Single());
      }
    });
  }
#endif
}

}  // namespace kernelopt
