// Launches of the columns kernel for one operand type; one .cu file a type instantiates it, so that
// they compile side by side.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_columns_kernel.cuh"

namespace kernelopt {

template <typename T, typename Tile>
void launch_conv1d_columns_tile(const char* op, const Conv1dColumnsPlan& plan,
                                cudaStream_t stream) {
  const auto kernel = conv1d_columns_kernel<T, Tile>;
  constexpr int kBytes = kColumnsSharedBytes<T, Tile>;
  KERNELOPT_CUDA_CHECK(
      op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const dim3 grid(plan.tiles, static_cast<unsigned>(plan.params.problem.groups),
                  static_cast<unsigned>(plan.splits));
  kernel<<<grid, kColumnsThreads, kBytes, stream>>>(plan.params);
  KERNELOPT_CHECK_LAUNCH(op);
}

/// Computes a problem that conv1d_columns_form() admits.
template <typename T>
void launch_conv1d_columns_as(const char* op, const Conv1dProblem& problem, bool gathered,
                              const Tensor& like) {
  Conv1dColumnsPlan plan =
      plan_conv1d_columns<T>(problem, gathered, multiprocessor_count(like.get_device_index()));
  const std::vector<int64_t> sizes{plan.splits * plan.params.split_sums()};
  const Tensor sums = empty_contiguous(op, sizes, ScalarType::Float, like);
  plan.params.sums = mutable_data<float>(sums);
  const cudaStream_t stream = current_stream(like);
  switch (plan.shape) {
    case Conv1dColumnsShape::kWide:
      launch_conv1d_columns_tile<T, WideColumnsTile>(op, plan, stream);
      break;
    case Conv1dColumnsShape::kFewRows:
      launch_conv1d_columns_tile<T, FewRowsTile>(op, plan, stream);
      break;
    case Conv1dColumnsShape::kFewColumns:
      launch_conv1d_columns_tile<T, FewColumnsTile>(op, plan, stream);
      break;
  }
  const int64_t outputs =
      problem.batch * problem.groups * problem.out_channels * problem.out_length;
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(conv1d_columns_sum_kernel<T>,
                           dim3(static_cast<unsigned>(divide_up(outputs, kColumnsThreads))),
                           kColumnsThreads, 0, stream, plan.params, plan.splits,
                           static_cast<uint32_t>(outputs)));
}

extern template void launch_conv1d_columns_as<float>(const char*, const Conv1dProblem&, bool,
                                                     const Tensor&);
extern template void launch_conv1d_columns_as<__half>(const char*, const Conv1dProblem&, bool,
                                                      const Tensor&);
extern template void launch_conv1d_columns_as<__nv_bfloat16>(const char*, const Conv1dProblem&,
                                                             bool, const Tensor&);

}  // namespace kernelopt
