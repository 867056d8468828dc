// A separable convolution of wide 16-bit images on Hopper's tensor cores, 3x3, stride 1:
//   hidden[n, c, y, x] = depthwise_act(bias[c] + sum over i, j of weight[c, i, j] *
//                        input[n, c, y - padding + i, x - 1 + j])
//   output[n, o, y, x] = act(bias[o] + sum over c of weight[o, c] * hidden[n, c, y, x])
// A block slides down rows of 128 columns, which the copy engine brings. Eight warps multiply up to
// eight channels each by bands of taps (separable_bands_depthwise.cuh); what comes out is the right
// operand of two warpgroups, whose left one, the weights, stays in registers. The copy engine
// stores. Limits: 64 channels, 128 output channels, rows of whole 16 bytes.
#pragma once

#include "separable/separable_bands_depthwise.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Multiplies and stores a block's rows.
/// @tparam kPanels  of a warpgroup: both, of half of 128 output channels, or one, of 64
/// @param slabs     shared address of the warp's two: [output channel][64 columns], swizzled
template <typename T, int kChunks, int kPanels>
__device__ __forceinline__ void multiply_separable_bands(const SeparableBandsParams& p,
                                                         const void* map, uint32_t operands,
                                                         uint32_t slabs, uint32_t full,
                                                         uint32_t empty) {
  using Shape = SeparableBandsShape;
  constexpr int kPanelBytes = Shape::panel_bytes(kChunks);
  const int warpgroup = threadIdx.x / 128, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  const int first_slot = (kPanels == 2 ? warpgroup * 64 : 0) + warp * Shape::kWarpSlots;
  const int first_panel = kPanels == 2 ? 0 : warpgroup;
  const int x =
      static_cast<int>(blockIdx.x) % p.tiles_x * Shape::kColumns + first_panel * Shape::kPanel;
  operands += first_panel * kPanelBytes;
  // Fragments of the weights, and biases: rows of output channels lane / 4 and 8 more.
  uint32_t weights[kChunks][4];
  float biases[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int o = first_slot + lane / 4 + half * 8;
    const bool inside = o < p.problem.out_channels;
    const T* bias = static_cast<const T*>(p.problem.pointwise_bias);
    biases[half] = inside && bias != nullptr ? to_accumulate(bias[o]) : 0.0f;
    const uint16_t* weight = static_cast<const uint16_t*>(p.problem.pointwise_weight) +
                             static_cast<int64_t>(o) * p.problem.channels;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int c = chunk * Shape::kChunkChannels + i * 8 + lane % 4 * 2;
        const auto at = [&](int k) {
          return inside && k < p.problem.channels ? uint32_t{weight[k]} : 0u;
        };
        weights[chunk][i * 2 + half] = at(c) | at(c + 1) << 16;
      }
    }
  }
  const uint32_t lowest = Pair16<T>::lowest_result(p.problem.activation);
  slabs += lane % 16 * 128 + ((lane / 16 ^ lane % 8) << 4);
  RingPlace operand{0, 0};
  int slab = 0;
  for (SeparableRowsCursor cursor(p); cursor.inside(); cursor.advance(p, 1)) {
    float accumulators[kPanels][32];
    mbarrier_wait(full + operand.index * 8, operand.parity);
    wgmma_fence();
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        const uint64_t right =
            wgmma_column_descriptor(operands + operand.index * Shape::operand_bytes(kChunks) +
                                        panel * kPanelBytes + chunk * (Shape::kChunkChannels * 128),
                                    kPanelBytes);
        wgmma_m64k16<T, true>(accumulators[panel], weights[chunk], right, chunk);
      }
    }
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      wgmma_hold(accumulators[panel]);
    }
    pass_operand(operand, empty, Shape::kOperands);
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      if (lane == 0) {
        bulk_wait_read<1>();
      }
      __syncwarp();
      const uint32_t to = slabs + slab * Shape::kSlabBytes;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        uint32_t words[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float* pair = accumulators[panel] + (2 * i + j / 2) * 4 + j % 2 * 2;
          words[j] = Pair16<T>::max_or_nan(
              pack_pair<T>(pair[0] + biases[j % 2], pair[1] + biases[j % 2]), lowest);
        }
        store_blocks(to ^ i << 5, words);
      }
      fence_async_proxy();
      __syncwarp();
      if (lane == 0) {  // whose part of `slabs` is 0
        const int begin[4] = {x + panel * Shape::kPanel, first_slot, cursor.y, cursor.n};
        tensor_store(map, begin, to);
        bulk_commit();
      }
      slab ^= 1;
    }
  }
  bulk_wait_read<0>();
}

#endif

/// @tparam kChunks  of 16 channels
template <typename T, int kChunks>
__global__ void __launch_bounds__(SeparableBandsShape::kThreads, 1)
    separable_bands_kernel(const __grid_constant__ SeparableBandsParams p,
                           const __grid_constant__ SeparableWgmmaMaps maps) {
#if KERNELOPT_HAS_WGMMA
  using Shape = SeparableBandsShape;
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t operands = shared_address(shared);
  const uint32_t slabs = operands + Shape::kOperands * Shape::operand_bytes(kChunks);
  const uint32_t stages = slabs + Shape::kWarps * Shape::kSlabs * Shape::kSlabBytes;
  const uint32_t full = stages + p.stages * Shape::stage_bytes(kChunks);
  const uint32_t empty = full + p.stages * 8, operand_full = empty + p.stages * 8;
  const uint32_t operand_empty = operand_full + Shape::kOperands * 8;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(full + stage * 8, 1);
      mbarrier_init(empty + stage * 8, Shape::kWarps);
    }
    for (int operand = 0; operand < Shape::kOperands; ++operand) {
      mbarrier_init(operand_full + operand * 8, Shape::kWarps);
      mbarrier_init(operand_empty + operand * 8, Shape::kWarps);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  const int warp = threadIdx.x / 32;
  if (warp < Shape::kWarps) {
    const uint32_t own = slabs + warp * Shape::kSlabs * Shape::kSlabBytes;
    if (p.panels == 2) {
      multiply_separable_bands<T, kChunks, 2>(p, &maps.output, operands, own, operand_full,
                                              operand_empty);
    } else {
      multiply_separable_bands<T, kChunks, 1>(p, &maps.output, operands, own, operand_full,
                                              operand_empty);
    }
  } else {
    slide_separable_bands<T, kChunks>(p, &maps.input, stages, operands, full, empty, operand_full,
                                      operand_empty);
  }
#endif
}

}  // namespace kernelopt
