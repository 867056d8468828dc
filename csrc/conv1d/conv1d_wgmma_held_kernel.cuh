// 1-D convolution with few products an output on Hopper's tensor cores (wgmma), as an implicit GEMM
// with the slots as rows and the positions as columns: a warpgroup holds the weights of its 64
// slots in registers, so that the tensor cores read the positions alone from shared memory, and a
// thread's sums are successive outputs. A block walks over tiles of the positions. One warp loads
// windows of the input (conv1d_wgmma_shared_load.cuh), three or seven make the products' operand of
// them
// (..._shared_operand), and while one warpgroup multiplies the other finishes its sums and stores
// them. Limits: rows with unit stride, 32-bit positions, one residue.
#pragma once

#include "conv1d/conv1d_wgmma_held_product.cuh"
#include "conv1d/conv1d_wgmma_held_store.cuh"
#include "conv1d/conv1d_wgmma_shared_operand.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Whether sums are finished as they are stored, not in registers. In fp32 that is shorter: exact
/// GELU after problem 67 took 1.36 to 1.38 ms on an H100 instead of 1.44. With 16 bits the slab
/// would have to hold fp32: 0.75 to 0.78 instead of 0.68.
template <typename T, typename ActivationType>
constexpr bool kFinishesLate = sizeof(T) == 4 && !std::is_same_v<ActivationType, Identity> &&
                               !std::is_same_v<ActivationType, Relu>;

/// Calls function(activation, layout, spread) with the types and constants of a problem.
template <typename T, typename Function>
__device__ __forceinline__ void with_held_store(const Conv1dWgmmaHeldParams& p,
                                                Function&& function) {
  using Spread = std::integral_constant<int, 2>;
  using Sum = std::integral_constant<int, 1>;
  using Blocks = std::integral_constant<SlabLayout, SlabLayout::kBlocks>;
  using Pairs = std::integral_constant<SlabLayout, SlabLayout::kPairs>;
  using Single = std::integral_constant<SlabLayout, SlabLayout::kSingle>;
  with_activation(p.problem.activation, [&](auto kind) {
    using Kind = ActivationOfSum<T, decltype(kind)>;
    if (p.correlation.spread == 2) {
      function(Kind(), Single(), Spread());
      return;
    }
    if constexpr (sizeof(T) == 2) {
      if (p.aligned_output) {
        function(Kind(), Blocks(), Sum());
        return;
      }
    }
    if (p.even_output) {
      function(Kind(), Pairs(), Sum());
    } else {
      function(Kind(), Single(), Sum());
    }
  });
}

#endif

/// @tparam kStrided  input_step is not 1
template <typename T, bool kStrided>
__global__ void __launch_bounds__(Conv1dWgmmaHeldTile<T>::kThreads, 1)
    conv1d_wgmma_held_kernel(const __grid_constant__ Conv1dWgmmaHeldParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = Conv1dWgmmaHeldShape;
  using Tile = Conv1dWgmmaHeldTile<T>;
  constexpr int kProductWarps = Shape::kWarpgroups * 4;
  constexpr int kSlabElements = Shape::kSlabRows * Tile::kSlabPitch;
  constexpr bool kRepairs = MmaTraits<T>::kParts == 2;
  const int group = blockIdx.y / p.n_blocks;
  const int block_slots = p.block_slots();
  const int block_channel = blockIdx.y % p.n_blocks * block_slots;
  const int out_channels = static_cast<int>(p.problem.out_channels);

  // Resident weights, windows, operand stages, slabs, biases, fillers, flags, barriers.
  extern __shared__ __align__(128) unsigned char shared[];
  grid_dependency_launch();
  unsigned char* windows = shared + p.resident_bytes;
  unsigned char* stages = windows + p.stages * p.window_bytes;
  T* slabs = reinterpret_cast<T*>(stages + p.operand_stages * p.operand_bytes);
  float* block_biases = reinterpret_cast<float*>(slabs + kProductWarps * kSlabElements);
  uint32_t* fillers = reinterpret_cast<uint32_t*>(block_biases + 2 * Shape::kSlots);
  unsigned char* flags = reinterpret_cast<unsigned char*>(fillers + 2 * Shape::kSlots);
  const uint32_t resident_barrier = shared_address(flags) + Shape::kFlagBytes;
  const uint32_t turns = resident_barrier + 8;
  const uint32_t window_full = turns + Shape::kWarpgroups * 8;
  const uint32_t window_empty = window_full + p.stages * 8;
  const uint32_t full = window_empty + p.stages * 8, empty = full + p.operand_stages * 8;
  if (threadIdx.x == 0) {
    mbarrier_init(resident_barrier, 1);
    for (int owner = 0; owner < Shape::kWarpgroups; ++owner) {
      mbarrier_init(turns + owner * 8, 4);
    }
    init_ring(window_full, window_empty, p.stages, p.map_elements > 0 ? 1 : 32,
              Tile::kOperandWarps);
    init_ring(full, empty, p.operand_stages, Tile::kOperandWarps,
              p.splits_slots ? kProductWarps : kProductWarps / 2);
    mbarrier_fence_init();
  }
  load_conv1d_biases<T, 2 * Shape::kSlots, true>(p, group, block_channel, block_slots, block_biases,
                                                 fillers);
  for (int i = threadIdx.x; i < Shape::kFlagBytes / 4; i += Tile::kThreads) {
    reinterpret_cast<uint32_t*>(flags)[i] = 0;
  }
  __syncthreads();

  // Broadcast, so that the compiler knows the roles' arithmetic to be the same in all lanes.
  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = threadIdx.x % 32, warpgroup = warp / 4;
  if (warpgroup >= Shape::kWarpgroups) {
    give_registers<Tile::kOperandRegisters>();
    if (warp == kProductWarps) {
      if (p.resident_bytes > 0 && lane == 0) {
        grid_dependency_wait();  // for the packed weights
        mbarrier_arrive_expect(resident_barrier, p.resident_bytes);
        const int64_t held_bytes = int64_t{Shape::kSteps} * block_slots * 32;
        bulk_load(shared_address(shared),
                  reinterpret_cast<const unsigned char*>(p.packed_weight) +
                      blockIdx.y * (held_bytes + p.resident_bytes) + held_bytes,
                  p.resident_bytes, resident_barrier);
      }
      if (p.map_elements == 0) {
        load_conv1d_windows<T>(p, shared_address(windows), window_full, window_empty);
      } else if (lane == 0) {
        load_conv1d_boxes<T>(p, shared_address(windows), window_full, window_empty);
      }
    } else {
      make_conv1d_operands<T, Shape::kSlots, Tile::kOperandWarps, kStrided>(
          p, warp - kProductWarps - 1, windows, window_full, window_empty, stages, full, empty);
    }
    return;
  }

  take_registers<Tile::kProductRegisters>();
  const int first_slot = p.splits_slots ? warpgroup * Shape::kSlots : 0;
  const int slot = first_slot + warp % 4 * 16;  // the warp's first
  grid_dependency_wait();                       // for the packed weights
  const HeldWeights<T> weights(p, first_slot);
  if (p.resident_bytes > 0) {
    mbarrier_wait(resident_barrier, 0);
  }
  const float* biases = block_biases + slot;
  const float row_biases[2] = {biases[lane / 4], biases[lane / 4 + 8]};
  const int channel = block_channel + slot;
  const int64_t all_channel = static_cast<int64_t>(group) * out_channels + channel;
  const int rows = min(out_channels - channel, 16);
  OperandWalk walk{shared_address(stages), full, empty};
  uint32_t turn_parity = warpgroup == 0 ? 1 : 0;  // the first one does not wait
  int number = 0;                                 // of the tile in its block
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p), ++number) {
    if (!p.splits_slots && number % Shape::kWarpgroups != warpgroup) {
      walk.skip_tile(p);
      continue;
    }
    if (p.takes_turns) {
      mbarrier_wait(turns + warpgroup * 8, turn_parity);
      turn_parity ^= 1;
    }
    float sums[Tile::kPositions / 2];
    multiply_held<T>(p, sums, weights, shared_address(shared) + first_slot * 16,
                     turns + (1 - warpgroup) * 8, walk);
    if constexpr (kRepairs) {
      if (mark_sums(sums)) {
        flags[number % Shape::kFlagTiles * kProductWarps + warp] = 1;
      }
    }
    with_held_store<T>(p, [&](auto activation, auto layout, auto spread) {
      using Kind = decltype(activation);
      using Finish = std::conditional_t<kFinishesLate<T, Kind>, Kind, void>;
      const HeldTile<T, decltype(spread)::value, Finish> tile(p, cursor, all_channel, rows);
      store_held_sums<T, Kind, decltype(layout)::value>(
          tile, sums, biases, row_biases, fillers + slot, slabs + warp * kSlabElements);
    });
  }
  if constexpr (kRepairs) {
    __syncwarp();
    number = 0;
    for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p), ++number) {
      if (flags[number % Shape::kFlagTiles * kProductWarps + warp] == 0 ||
          (!p.splits_slots && number % Shape::kWarpgroups != warpgroup)) {
        continue;
      }
      const T* bias = static_cast<const T*>(p.problem.bias);
      const T* row_biases = bias == nullptr ? nullptr : bias + all_channel;
      if (p.correlation.spread == 2) {
        HeldTile<T, 2>(p, cursor, all_channel, rows).mend(cursor.n, group, channel, row_biases);
      } else {
        HeldTile<T, 1>(p, cursor, all_channel, rows).mend(cursor.n, group, channel, row_biases);
      }
    }
  }
#endif
}

}  // namespace kernelopt
