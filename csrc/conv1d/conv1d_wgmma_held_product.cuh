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

/// Calls function(constant) with the constant that `value` is, of 1 ... kMost; kMost for more.
template <int kMost, typename Function>
__device__ __forceinline__ void with_constant(int value, Function&& function) {
  if constexpr (kMost > 1) {
    if (value < kMost) {
      with_constant<kMost - 1>(value, function);
      return;
    }
  }
  function(std::integral_constant<int, kMost>());
}

/// A tile's sums: sums[64 slots x positions], in fragments of the tensor cores. The products of a
/// stage are issued without a branch between them: where there is one, the compiler ends each
/// before the next begins, and twelve products took 2660 cycles instead of 1720.
/// @param resident   shared address of the weights that are not held, the warpgroup's first slot
/// @param next_turn  the other warpgroup's barrier, where they take turns
template <typename T, int kRegisters>
__device__ __forceinline__ void multiply_held(const Conv1dWgmmaHeldParams& p,
                                              float (&sums)[kRegisters],
                                              const HeldWeights<T>& weights, uint32_t resident,
                                              uint32_t next_turn, OperandWalk& walk) {
  using Weights = HeldWeights<T>;
  constexpr int kSteps = Weights::kSteps;
  const int slots = p.block_slots();
  uint64_t weight = wgmma_descriptor(resident, slots);
  // The next products with weights in shared memory, of the steps step ... end - 1. Where the batch
  // is a stage's steps, one batch it is.
  const auto multiply_resident = [&](auto batch, uint64_t stage, int step, int end) {
    constexpr int kBatch = decltype(batch)::value;
#pragma unroll 1
    for (; step + kBatch <= end; step += kBatch) {
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        wgmma_m64k16<T>(sums, weight + i * 2 * slots, stage + p.step_places[step + i], 1);
      }
      weight += kBatch * 2 * slots;
    }
#pragma unroll 1
    for (; step < end; ++step) {
      wgmma_m64k16<T>(sums, weight, stage + p.step_places[step], 1);
      weight += 2 * slots;
    }
  };
  // Products with held weights, of `count` steps from `first`, both constants.
  const auto multiply = [&](uint64_t stage, int first, int count) {
#pragma unroll
    for (int step = first; step < first + count; ++step) {
      const auto& words = weights.words[step];
      const uint64_t operand = stage + p.step_places[step];
      wgmma_m64k16<T>(sums, words[0], operand, step > 0);
      if constexpr (Weights::kParts == 2) {
        wgmma_m64k16<T>(sums, words[1], operand, 1);
        wgmma_m64k16<T>(sums, words[0], operand + p.operand_bytes / 32, 1);
      }
    }
  };
  with_constant<kSteps>(p.stage_steps, [&](auto constant) {
    constexpr int kStageSteps = decltype(constant)::value;
#pragma unroll
    for (int first = 0; first < kSteps; first += kStageSteps) {
      if (first < p.steps) {
        const uint64_t stage = walk.enter_stage(p);
        wgmma_fence();
        // The last stage may have one chunk where the others have two.
        const int end = min(first + p.stage_steps, p.steps);
        if (first == 0 || kStageSteps % 2 == 1 || end == first + kStageSteps) {
          multiply(stage, first, min(kStageSteps, kSteps - first));
        } else {
          multiply(stage, first, min(kStageSteps / 2, kSteps - first));
        }
        if constexpr (Weights::kParts == 1) {
          if (first + kStageSteps >= kSteps) {
            multiply_resident(std::integral_constant<int, 4>(), stage, kSteps, end);
          }
        }
        walk.leave_stage(p);
      }
    }
    if constexpr (Weights::kParts == 1) {
      // Stages of which no weights are held.
      constexpr int kStages = (kSteps + kStageSteps - 1) / kStageSteps;
#pragma unroll 1
      for (int step = kStages * p.stage_steps; step < p.steps; step += p.stage_steps) {
        const uint64_t stage = walk.enter_stage(p);
        wgmma_fence();
        multiply_resident(constant, stage, step, min(step + p.stage_steps, p.steps));
        walk.leave_stage(p);
      }
    }
  });
  if (p.takes_turns && threadIdx.x % 32 == 0) {
    mbarrier_arrive(next_turn);
  }
  walk.leave_tile();
  wgmma_hold(sums);
}

#endif

}  // namespace kernelopt
