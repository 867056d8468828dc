// The products of conv1d_wgmma_held_kernel: slots by positions, the weights of most steps in
// registers.
#pragma once

#include "conv1d/conv1d_wgmma_held_params.h"
#include "conv1d/conv1d_wgmma_shared_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// A warpgroup's weights of the first steps, fragments of 64 slots by 16 channels: high parts, of
/// fp32 low ones too.
template <typename T>
struct HeldWeights {
  static constexpr int kParts = MmaTraits<T>::kParts, kSteps = Conv1dWgmmaHeldShape::kSteps;
  uint32_t words[kSteps][kParts][4];

  /// Reads them out of packed weights.
  /// @param first_slot  the warpgroup's first of the block's
  __device__ __forceinline__ HeldWeights(const Conv1dWgmmaHeldParams& p, int first_slot) {
    const int block_slots = p.block_slots();
    const int lane = threadIdx.x % 32;
    const int slot = first_slot + threadIdx.x % 128 / 32 * 16 + lane / 4;
    const uint32_t* first =
        reinterpret_cast<const uint32_t*>(
            p.packed_weight +
            static_cast<int64_t>(blockIdx.y) * p.steps * kParts * 2 * block_slots + slot) +
        lane % 4;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int unit = ((step * kParts + part) * 2 + i / 2) * block_slots + i % 2 * 8;
          words[step][part][i] = step < p.steps ? first[unit * 4] : 0;
        }
      }
    }
  }
};

/// A warpgroup's walk over the stages of the operand.
struct OperandWalk {
  uint32_t stages, full, empty;  // shared addresses: of the operands, of their barriers
  RingCursor ring;
  uint32_t previous = 0;  // the barrier of the stage that products under way read

  /// Goes over a tile that the other warpgroup multiplies.
  __device__ __forceinline__ void skip_tile(const Conv1dWgmmaHeldParams& p) {
    for (int step = 0; step < p.steps; step += p.stage_steps) {
      ring.advance(p.operand_stages);
    }
  }
  /// Waits for a stage's operand.
  /// @return the descriptor of its first step
  __device__ __forceinline__ uint64_t enter_stage(const Conv1dWgmmaHeldParams& p) const {
    mbarrier_wait(full + ring.index * 8, ring.parity);
    return wgmma_descriptor(stages + ring.index * p.operand_bytes, p.operand_pitch);
  }
  /// After the last product of a stage: gives the one before back.
  __device__ __forceinline__ void leave_stage(const Conv1dWgmmaHeldParams& p) {
    wgmma_commit();
    wgmma_wait<1>();
    give_back();
    previous = empty + ring.index * 8;
    ring.advance(p.operand_stages);
  }
  /// After all products: gives the last stage back.
  __device__ __forceinline__ void leave_tile() {
    wgmma_wait<0>();
    give_back();
    previous = 0;
  }

 private:
  __device__ __forceinline__ void give_back() const {
    __syncwarp();
    if (threadIdx.x % 32 == 0 && previous != 0) {
      mbarrier_arrive(previous);
    }
  }
};

/// A tile's sums: sums[64 slots x positions], in fragments of the tensor cores.
/// @param resident   shared address of the weights that are not held, the warpgroup's first slot
/// @param next_turn  the other warpgroup's barrier, where they take turns
template <typename T, int kRegisters>
__device__ __forceinline__ void multiply_held(const Conv1dWgmmaHeldParams& p,
                                              float (&sums)[kRegisters],
                                              const HeldWeights<T>& weights, uint32_t resident,
                                              uint32_t next_turn, OperandWalk& walk) {
  using Weights = HeldWeights<T>;
  uint64_t stage = 0;
  int left = 0;  // steps of the stage
  const auto begin_step = [&] {
    if (left == 0) {
      stage = walk.enter_stage(p);
      left = p.stage_steps;
    }
    wgmma_fence();
  };
  const auto end_step = [&] {
    if (--left == 0) {
      walk.leave_stage(p);
    }
  };
#pragma unroll
  for (int step = 0; step < Weights::kSteps; ++step) {
    if (step < p.steps) {
      begin_step();
      const uint64_t operand = stage + p.step_places[step];
      wgmma_m64k16<T>(sums, weights.words[step][0], operand, step > 0);
      if constexpr (Weights::kParts == 2) {
        wgmma_m64k16<T>(sums, weights.words[step][1], operand, 1);
        wgmma_m64k16<T>(sums, weights.words[step][0], operand + p.operand_bytes / 32, 1);
      }
      end_step();
    }
  }
  if constexpr (Weights::kParts == 1) {
    // The weights of the steps after are in shared memory.
    const int slots = p.block_slots();
    uint64_t weight = wgmma_descriptor(resident, slots);
#pragma unroll 1
    for (int step = Weights::kSteps; step < p.steps; ++step) {
      begin_step();
      wgmma_m64k16<T>(sums, weight, stage + p.step_places[step], 1);
      end_step();
      weight += 2 * slots;
    }
  }
  if (left > 0) {
    walk.leave_stage(p);  // of fewer chunks
  }
  if (p.takes_turns && threadIdx.x % 32 == 0) {
    mbarrier_arrive(next_turn);
  }
  walk.leave_tile();
  wgmma_hold(sums);
}

#endif

}  // namespace kernelopt
