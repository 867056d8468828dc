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

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The block's pointwise weights as [chunk][part][k / 8][slot][k % 8], zeros where there is none.
template <typename T>
__device__ __forceinline__ void pack_pointwise_weights(const SeparableWgmmaParams& p,
                                                       uint4* packed) {
  constexpr int kParts = MmaTraits<T>::kParts;
  const T* weight = static_cast<const T*>(p.problem.pointwise_weight);
  for (int item = threadIdx.x; item < p.slots * p.chunks * 2; item += blockDim.x) {
    const int octet = item / p.slots, slot = item - octet * p.slots;
    const int o = blockIdx.y * p.slots + slot;
    uint32_t high[4], low[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      T values[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int c = octet * 8 + word * 2 + i;
        values[i] = o < p.problem.out_channels && c < p.problem.channels
                        ? weight[static_cast<int64_t>(o) * p.problem.channels + c]
                        : from_accumulate<T>(0.0f);
      }
      if constexpr (kParts == 2) {
        const SplitPair pair = split_bf16(values[0], values[1]);
        high[word] = pair.high;
        low[word] = pair.low;
      } else {
        high[word] = *reinterpret_cast<const uint32_t*>(values);
      }
    }
    uint4* destination = packed + (octet / 2 * kParts * 2 + octet % 2) * p.slots + slot;
    destination[0] = make_uint4(high[0], high[1], high[2], high[3]);
    if constexpr (kParts == 2) {
      destination[2 * p.slots] = make_uint4(low[0], low[1], low[2], low[3]);
    }
  }
}

/// Depthwise taps and biases as fp32, zeros for channels that only fill the last chunk.
/// @return whether all this thread read are finite
template <typename T>
__device__ __forceinline__ bool load_depthwise_taps(const SeparableWgmmaParams& p, float* taps) {
  const int count = p.problem.h.kernel_size * p.problem.w.kernel_size;
  float probe = 0;
  for (int item = threadIdx.x; item < p.chunks * SeparableWgmmaShape::kChunkChannels * p.tap_pitch;
       item += blockDim.x) {
    const int c = item / p.tap_pitch, tap = item - c * p.tap_pitch;
    float value = 0;
    if (c < p.problem.channels && tap < count) {
      value = to_accumulate(
          static_cast<const T*>(p.problem.depthwise_weight)[static_cast<int64_t>(c) * count + tap]);
      probe = fmaf(value, 0.0f, probe);
    } else if (c < p.problem.channels && tap == count && p.problem.depthwise_bias != nullptr) {
      value = to_accumulate(static_cast<const T*>(p.problem.depthwise_bias)[c]);
    }
    taps[item] = value;
  }
  return probe == 0.0f;
}

#endif

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
