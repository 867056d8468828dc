// A separable convolution on Hopper's tensor cores (wgmma):
//   hidden[n, c, y, x] = depthwise_act(bias[c] + sum over i, j of weight[c, i, j] * input[n, c,
//                        y * stride - padding + i * dilation, ...])
//   output[n, o, y, x] = act(bias[o] + sum over c of weight[o, c] * hidden[n, c, y, x])
// A block owns up to 128 output channels and walks over tiles of 256 pixels. Four warps load raw
// input, two warpgroups compute hidden values, 16 channels at a time, which become the product's
// left operand in shared memory (fp32 split in two bf16 parts, three products), two multiply and
// store. Limits: planes below 2^26 elements.
#pragma once

#include "separable/separable_wgmma_operand.cuh"
#include "separable/separable_wgmma_product.cuh"
#include "separable/separable_wgmma_weights.cuh"

namespace kernelopt {

/// @tparam kBoxes  p.tensor_loads
template <typename T, bool kBoxes>
__global__ void __launch_bounds__(kBoxes ? SeparableWgmmaShape::kBoxThreads
                                         : SeparableWgmmaShape::kThreads,
                                  1)
    separable_wgmma_kernel(const __grid_constant__ SeparableWgmmaParams p,
                           const __grid_constant__ SeparableWgmmaMaps maps) {
#if KERNELOPT_HAS_WGMMA
  using Shape = SeparableWgmmaShape;
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kOperandBytes = kParts * SeparableOperandLayout<T>::kPartUnits * 16;
  // Stages first: threads whose pixels lie below the tile read behind them.
  extern __shared__ __align__(1024) unsigned char shared[];
  unsigned char* operands =
      shared + p.slab_offset +
      (p.tensor_stores ? Shape::kProductWarps * p.slabs * Shape::kSlabBytes : 0);
  uint4* weights = reinterpret_cast<uint4*>(operands + p.operands * kOperandBytes);
  float* taps = reinterpret_cast<float*>(weights + p.chunks * kParts * 2 * p.slots);
  float* biases = taps + p.chunks * Shape::kChunkChannels * p.tap_pitch;
  const uint32_t barriers = shared_address(biases + p.slots);
  const uint32_t full = barriers, empty = full + p.stages * 8;
  const uint32_t operand_full = empty + p.stages * 8, operand_empty = operand_full + p.operands * 8;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(full + stage * 8, kBoxes ? 1 : Shape::kLoadThreads);
      mbarrier_init(empty + stage * 8, 4);
    }
    for (int operand = 0; operand < p.operands; ++operand) {
      mbarrier_init(operand_full + operand * 8, 4);
      mbarrier_init(operand_empty + operand * 8, Shape::kProductThreads / 32);
    }
    mbarrier_fence_init();
  }
  // Rows of no pixel stay zero.
  for (int i = threadIdx.x; i < p.operands * kOperandBytes / 16; i += blockDim.x) {
    reinterpret_cast<uint4*>(operands)[i] = make_uint4(0, 0, 0, 0);
  }
  pack_pointwise_weights<T>(p, weights);
  const bool finite_taps = load_depthwise_taps<T>(p, taps);
  if (static_cast<int>(threadIdx.x) < p.slots) {
    const int o = blockIdx.y * p.slots + threadIdx.x;
    const T* bias = static_cast<const T*>(p.problem.pointwise_bias);
    biases[threadIdx.x] =
        bias != nullptr && o < p.problem.out_channels ? to_accumulate(bias[o]) : 0.0f;
  }
  fence_async_proxy();
  const bool finite = __syncthreads_and(finite_taps) != 0;

  const int warpgroup = threadIdx.x / 128;
  if (warpgroup < 2) {
    take_registers<Shape::kProductRegisters>();
    const auto multiply = [&](auto columns) {
      multiply_separable_tiles<T, decltype(columns)::value>(
          p, maps, warpgroup, shared_address(weights), shared_address(operands), biases,
          shared_address(shared) + p.slab_offset, operand_full);
    };
    if (p.slots == 128) {
      multiply(std::integral_constant<int, 64>{});
    } else if (p.slots == 64) {
      multiply(std::integral_constant<int, 32>{});
    } else {
      multiply(std::integral_constant<int, 16>{});
    }
  } else if (warpgroup < 4) {
    give_registers<kBoxes ? Shape::kBoxOperandRegisters : Shape::kOperandRegisters>();
    const auto compute = [&](auto odd_rows) {
      compute_separable_operands<T, kBoxes, decltype(odd_rows)::value>(
          p, maps, warpgroup - 2, shared_address(shared), shared_address(taps),
          shared_address(operands), barriers, finite);
    };
    if (kBoxes || sizeof(T) == 4 || !p.odd_rows) {
      compute(std::false_type{});
    } else if constexpr (!kBoxes && sizeof(T) == 2) {
      compute(std::true_type{});
    }
  } else if constexpr (!kBoxes) {
    give_registers<Shape::kLoadRegisters>();
    const uint32_t stages = shared_address(shared);
    if (sizeof(T) == 4 && p.unit_bytes == 16) {
      load_separable_stages<T, 16, false>(p, stages, full, empty);
    } else if (p.unit_bytes == 8) {
      load_separable_stages<T, 8, false>(p, stages, full, empty);
    } else if (sizeof(T) == 4 || !p.odd_rows) {
      load_separable_stages<T, 4, false>(p, stages, full, empty);
    } else if constexpr (sizeof(T) == 2) {
      load_separable_stages<T, 4, true>(p, stages, full, empty);
    }
  }
#endif
}

}  // namespace kernelopt
