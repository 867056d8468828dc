// Launches of conv1d_wgmma_packed_kernel for one operand type; one .cu file a type instantiates
// them, so that they compile side by side.
#pragma once

#include "common/tensor.h"
#include "conv1d/conv1d_wgmma_pack_launch.cuh"
#include "conv1d/conv1d_wgmma_packed_kernel.cuh"
#include "conv1d/conv1d_wgmma_packed_operands_kernel.cuh"
#include "conv1d/conv1d_wgmma_packed_plan.h"
#include "conv1d/conv1d_wgmma_split_launch.cuh"

namespace kernelopt {

/// Packs both operands of a plan.
template <typename T>
void pack_conv1d_wgmma_operands(const char* op, const Conv1dWgmmaPackedPlan& plan,
                                uint4* packed_weight, cudaStream_t stream) {
  const Conv1dWgmmaPackedParams& p = plan.params;
  const WeightPacking weights = WeightPacking::of<T>(plan, true);
  const int64_t input_x =
      divide_up(int64_t{p.rows} * p.correlation.input_step, PackOperands::kPlaces);
  const unsigned blocks = static_cast<unsigned>(int64_t{weights.blocks_x} * weights.blocks_y +
                                                input_x * p.problem.groups * p.channel_blocks);
  const size_t shared_bytes =
      std::max(static_cast<size_t>(weights.shared_bytes), size_t{PackOperands::kTileBytes});
  const bool many = weights.kernel_taps == WeightPacking::kMany;
  const auto kernel = many ? pack_conv1d_wgmma_operands_kernel<T, true>
                           : pack_conv1d_wgmma_operands_kernel<T, false>;
  // All memory of a multiprocessor shared, as the kernel behind has it: until it is divided anew,
  // that one does not begin. 1x256x1368 -> 256, k3 in bfloat16 took 0.0130 ms with the default,
  // now 0.0107; transposed 16x256x32 -> 128, k16 s8 in float32 0.0174 and 0.0126. Large inputs, and
  // many weights that are read one by one, want the L1 cache: 1x512x23999 -> 512, k3 s2 in float32
  // took 0.129 ms, with the default 0.125, 1x768x1499 -> 768, k128, 16 groups in bfloat16 0.114 and
  // 0.090.
  constexpr int64_t kFewWeights = 6 << 20, kSmallInput = 12 << 20;
  const bool shares = plan.input_bytes < kSmallInput &&
                      (many || (p.problem.transposed && plan.packed_bytes < kFewWeights));
  KERNELOPT_CUDA_CHECK(
      op,
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                           shares ? cudaSharedmemCarveoutMaxShared : cudaSharedmemCarveoutDefault));
  kernel<<<blocks, PackOperands::kThreads, shared_bytes, stream>>>(
      p, packed_weight, plan.block_slots, weights.units, weights.thread_taps, weights.blocks_x,
      weights.blocks_y, static_cast<int>(input_x));
  KERNELOPT_CHECK_LAUNCH(op);
}

/// Launches a plan's kernel behind the packing of its operands. False where the driver has no map
/// for the input.
template <typename T>
bool launch_conv1d_wgmma_packed_as(const char* op, Conv1dWgmmaPackedPlan plan, const Tensor& like) {
  using Shape = Conv1dWgmmaPackedShape;
  const cudaStream_t stream = current_stream(like);
  Conv1dWgmmaPackedParams& p = plan.params;
  const std::vector<int64_t> words{(plan.packed_bytes + plan.input_bytes + plan.sums_bytes) / 4};
  const Tensor workspace = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* packed_weight = static_cast<uint4*>(workspace.mutable_data_ptr());
  p.packed_weight = packed_weight;
  p.packed_input = packed_weight + plan.packed_bytes / 16;
  p.split_sums = plan.sums_bytes > 0
                     ? reinterpret_cast<float*>(p.packed_input + plan.input_bytes / 16)
                     : nullptr;
  if (!encode_packed_input_map(&p)) {
    return false;
  }
  pack_conv1d_wgmma_operands<T>(op, plan, packed_weight, stream);
  const auto launch = [&](auto kernel) {
    KERNELOPT_CUDA_CHECK(op,
                         cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              plan.shared_bytes));
    KERNELOPT_CUDA_CHECK(op, launch_dependent(kernel, dim3(plan.grid_x, plan.grid_y, plan.splits),
                                              Shape::kThreads, plan.shared_bytes, stream, p));
  };
  plan.block_slots == 128 ? launch(conv1d_wgmma_packed_kernel<T, 128>)
                          : launch(conv1d_wgmma_packed_kernel<T, 64>);
  if (plan.sums_bytes > 0) {
    sum_conv1d_splits<T>(op, plan, stream);
  }
  return true;
}

extern template bool launch_conv1d_wgmma_packed_as<float>(const char*, Conv1dWgmmaPackedPlan,
                                                          const Tensor&);
extern template bool launch_conv1d_wgmma_packed_as<__half>(const char*, Conv1dWgmmaPackedPlan,
                                                           const Tensor&);
extern template bool launch_conv1d_wgmma_packed_as<__nv_bfloat16>(const char*,
                                                                  Conv1dWgmmaPackedPlan,
                                                                  const Tensor&);

}  // namespace kernelopt
