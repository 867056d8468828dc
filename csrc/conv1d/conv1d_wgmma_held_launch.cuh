// Launches of conv1d_wgmma_held_kernel for one operand type; one .cu file a type instantiates them,
// so that they compile side by side.
#pragma once

#include "common/tensor.h"
#include "conv1d/conv1d_wgmma_held_kernel.cuh"
#include "conv1d/conv1d_wgmma_held_plan.h"
#include "conv1d/conv1d_wgmma_pack_launch.cuh"

namespace kernelopt {

/// Launches a plan's kernel behind the packing of its weights.
template <typename T>
void launch_conv1d_wgmma_held_as(const char* op, Conv1dWgmmaHeldPlan plan, const Tensor& like) {
  const cudaStream_t stream = current_stream(like);
  const std::vector<int64_t> words{plan.packed_bytes / 4};
  const Tensor workspace = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* packed_weight = static_cast<uint4*>(workspace.mutable_data_ptr());
  plan.params.packed_weight = packed_weight;
  pack_conv1d_wgmma_weight<T, 1>(op, plan, packed_weight, stream);
  const auto launch = [&](auto strided) {
    const auto kernel = conv1d_wgmma_held_kernel<T, decltype(strided)::value>;
    KERNELOPT_CUDA_CHECK(op,
                         cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              plan.shared_bytes));
    KERNELOPT_CUDA_CHECK(op, launch_dependent(kernel, dim3(plan.grid_x, plan.grid_y),
                                              Conv1dWgmmaHeldTile<T>::kThreads, plan.shared_bytes,
                                              stream, plan.params));
  };
  plan.params.correlation.input_step > 1 ? launch(std::true_type()) : launch(std::false_type());
}

extern template void launch_conv1d_wgmma_held_as<float>(const char*, Conv1dWgmmaHeldPlan,
                                                        const Tensor&);
extern template void launch_conv1d_wgmma_held_as<__half>(const char*, Conv1dWgmmaHeldPlan,
                                                         const Tensor&);
extern template void launch_conv1d_wgmma_held_as<__nv_bfloat16>(const char*, Conv1dWgmmaHeldPlan,
                                                                const Tensor&);

}  // namespace kernelopt
