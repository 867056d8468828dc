// 1-D convolution, either way round, on Hopper's tensor cores for problems of much arithmetic: the
// product of packed_input and packed_weight (conv1d_wgmma_packed_params.h), both as the tensor
// cores read them in shared memory. The rows of all batch entries are one row, so that tiles are
// full however short the entries are, and rows may have any length. A block owns up to 128 slots of
// a group and a tile of 128 runs; where there are few, blocks share the sum over the channels
// (conv1d_wgmma_split_kernel.cuh). One warp loads windows of the input, which serve all taps by a
// shift of whole rows, and the weights a tap at a time; two warpgroups multiply 64 runs each, and
// leave their sums in shared memory, from where they store them. Two blocks share a multiprocessor,
// so that one multiplies while the other begins or ends.
#pragma once

#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_wgmma_packed_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Calls step(block, residue, tap, shift, fresh) for every product of a tile: a tap of a channel
/// block, whose rows are those of a residue from `shift` on. `fresh`: it needs another window than
/// the step before. All roles walk alike, through the channel blocks of the block's split.
template <typename Step>
__device__ __forceinline__ void walk_packed_steps(const Conv1dWgmmaPackedParams& p, Step&& step) {
  const int input_step = p.correlation.input_step;
  const int first_block = static_cast<int>(blockIdx.z) * p.split_blocks;
  const int last_block = min(first_block + p.split_blocks, p.channel_blocks);
  // Places move on by additions, and past no tap of another residue: the loading thread has no time
  // for more.
  const int period = p.tap_period, taps = p.correlation.taps;
  const int tap_shift = p.correlation.tap_step / input_step;
  const int tap_residue = p.correlation.tap_step - tap_shift * input_step;
  const int period_shift = p.correlation.tap_step * period / input_step;
  for (int block = first_block; block < last_block; ++block) {
    int residue = 0, first_shift = 0;  // of the first tap of a residue
    for (int first_tap = 0; first_tap < min(period, taps); ++first_tap) {
      int shift = first_shift;
      for (int tap = first_tap; tap < taps; tap += period) {
        step(block, residue, tap, shift, tap == first_tap || !p.shares_window);
        shift += period_shift;
      }
      first_shift += tap_shift;
      residue += tap_residue;
      if (residue >= input_step) {
        residue -= input_step;
        ++first_shift;
      }
    }
  }
}

#endif

template <typename T, int kSlots>
__global__ void __launch_bounds__(Conv1dWgmmaPackedShape::kThreads, 2)
    conv1d_wgmma_packed_kernel(const __grid_constant__ Conv1dWgmmaPackedParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = Conv1dWgmmaPackedShape;
  using Joined = Conv1dWgmmaJoinedShape;
  constexpr int kParts = MmaTraits<T>::kParts, kChunks = kPackedChunks<T>;
  constexpr int kStepBytes = kSlots * Shape::kBlockBytes;  // of weights
  constexpr int kPasses = kSlots / Conv1dWgmmaShape::kPassColumns;
  const int group = blockIdx.y / p.n_blocks;
  const int block_channel = blockIdx.y % p.n_blocks * kPasses * p.pass_channels;

  grid_dependency_launch();
  // Windows and weights, later the sums; biases; barriers.
  extern __shared__ __align__(1024) unsigned char packed_shared[];
  unsigned char* weights = packed_shared + p.stages * p.window_bytes;
  float* biases = reinterpret_cast<float*>(packed_shared + p.biases_offset);
  const uint32_t window_full = shared_address(biases + kSlots);
  const uint32_t window_empty = window_full + Shape::kMaxWindows * 8;
  const uint32_t weights_full = window_empty + Shape::kMaxWindows * 8;
  const uint32_t weights_empty = weights_full + Shape::kMaxWeightStages * 8;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(window_full + stage * 8, 1);
      mbarrier_init(window_empty + stage * 8, Joined::kThreads / 32);
    }
    for (int stage = 0; stage < p.weight_stages; ++stage) {
      mbarrier_init(weights_full + stage * 8, 1);
      mbarrier_init(weights_empty + stage * 8, Joined::kThreads / 32);
    }
    mbarrier_fence_init();
  }
  load_conv1d_biases<T, kSlots>(p, group, block_channel, kPasses * p.pass_channels, biases,
                                nullptr);
  __syncthreads();

  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = threadIdx.x % 32;
  RingCursor window, weight;
  if (warp == Joined::kThreads / 32) {
    if (lane > 0) {
      return;
    }
    grid_dependency_wait();  // for the packed operands
    const unsigned char* packed =
        reinterpret_cast<const unsigned char*>(p.packed_weight) +
        static_cast<int64_t>(blockIdx.y) * p.channel_blocks * p.correlation.taps * kStepBytes;
    walk_packed_steps(p, [&](int block, int residue, int tap, int shift, bool fresh) {
      if (fresh) {
        const uint32_t full = window_full + window.index * 8;
        mbarrier_wait(window_empty + window.index * 8, window.parity ^ 1);
        mbarrier_arrive_expect(full, p.window_bytes);
        tensor_load(
            shared_address(packed_shared + window.index * p.window_bytes), &p.input_map,
            {0, static_cast<int>(blockIdx.x) * Joined::kRuns + (p.shares_window ? 0 : shift),
             (group * p.channel_blocks + block) * p.correlation.input_step + residue, 0},
            full);
        window.advance(p.stages);
      }
      const uint32_t full = weights_full + weight.index * 8;
      mbarrier_wait(weights_empty + weight.index * 8, weight.parity ^ 1);
      mbarrier_arrive_expect(full, kStepBytes);
      bulk_load(shared_address(weights + weight.index * kStepBytes),
                packed + (static_cast<int64_t>(block) * p.correlation.taps + tap) * kStepBytes,
                kStepBytes, full);
      weight.advance(p.weight_stages);
    });
    return;
  }

  float accumulators[kSlots / 2];
  int accumulate = 0;
  // What the step before the present one reads, and the one before that has left.
  int window_stage = 0, last_weights = -1;
  const auto give_back = [&](uint32_t barrier) {
    if (lane == 0) {
      mbarrier_arrive(barrier);
    }
  };
  const int warpgroup = warp / 4;
  walk_packed_steps(p, [&](int, int, int, int shift, bool fresh) {
    const int last_window = fresh && last_weights >= 0 ? window_stage : -1;
    if (fresh) {
      mbarrier_wait(window_full + window.index * 8, window.parity);
      window_stage = window.index;
      window.advance(p.stages);
    }
    mbarrier_wait(weights_full + weight.index * 8, weight.parity);
    const int row = warpgroup * 64 + (p.shares_window ? shift : 0);
    const uint64_t left = wgmma_swizzled_descriptor(
        shared_address(packed_shared + window_stage * p.window_bytes + row * Shape::kBlockBytes));
    const uint64_t right =
        wgmma_descriptor(shared_address(weights + weight.index * kStepBytes), kSlots);
    wgmma_fence();
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      // In the descriptors' units of 16 bytes.
      const uint64_t a = left + chunk * 2, b = right + chunk * 2 * kSlots;
      wgmma_m64k16<T>(accumulators, a, b, accumulate);
      if constexpr (kParts == 2) {
        wgmma_m64k16<T>(accumulators, a + kChunks * 2, b, 1);
        wgmma_m64k16<T>(accumulators, a, b + kChunks * 2 * kSlots, 1);
      }
      accumulate = 1;
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (last_weights >= 0) {
      give_back(weights_empty + last_weights * 8);
    }
    if (last_window >= 0) {
      give_back(window_empty + last_window * 8);
    }
    last_weights = weight.index;
    weight.advance(p.weight_stages);
  });
  wgmma_wait<0>();
  wgmma_hold(accumulators);
  finish_packed_tile<T, kSlots>(p, accumulators, warp * 16 + lane / 4, group, block_channel,
                                reinterpret_cast<float*>(packed_shared), biases);
#endif
}

}  // namespace kernelopt
