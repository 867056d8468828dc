#include "common/device.h"
#include "common/dtype.cuh"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_sliding_kernel.cuh"

namespace kernelopt {
namespace {

bool is_served(int64_t kernel_size, int64_t dilation, ScalarType dtype) {
  using Policy = Conv1dSlidingPolicy;
  return dtype != ScalarType::Double && kernel_size <= Policy::kMaxKernelSize &&
         (kernel_size - 1) * dilation * element_size(dtype) <= Policy::kMaxReachBytes;
}

bool is_served(const Conv1dProblem& problem, ScalarType dtype, bool dense) {
  using Policy = Conv1dSlidingPolicy;
  const bool rows = problem.input_strides.length == 1 && problem.output_strides.length == 1 &&
                    (dense || problem.in_length >= Policy::kMinSparseLength);
  return rows && problem.in_channels == 1 &&
         (problem.stride == 1 || (problem.stride == 2 && !problem.transposed)) &&
         fits_32_bits(problem) &&
         problem.batch * problem.groups * problem.out_channels <= int64_t{1} << 30 &&
         is_served(problem.kernel_size, problem.dilation, dtype);
}

using Kernel = void (*)(Conv1dProblem, Conv1dSliding, Conv1dSlidingPlan);

template <typename T>
Kernel kernel_for(const Conv1dSliding& row) {
  if (row.stride == 2) {
    return conv1d_sliding_kernel<T, 0, 2>;
  }
  switch (row.dilation == 1 ? row.kernel_size : 0) {
    case 2: return conv1d_sliding_kernel<T, 2, 1>;
    case 3: return conv1d_sliding_kernel<T, 3, 1>;
    case 4: return conv1d_sliding_kernel<T, 4, 1>;
    case 5: return conv1d_sliding_kernel<T, 5, 1>;
    case 7: return conv1d_sliding_kernel<T, 7, 1>;
    case 9: return conv1d_sliding_kernel<T, 9, 1>;
    case 11: return conv1d_sliding_kernel<T, 11, 1>;
    case 15: return conv1d_sliding_kernel<T, 15, 1>;
    case 31: return conv1d_sliding_kernel<T, 31, 1>;
    default: return conv1d_sliding_kernel<T, 0, 1>;
  }
}

void launch(const char* op, const Conv1dProblem& problem, const Conv1dSliding& row, bool dense,
            const Tensor& like) {
  const ScalarType dtype = like.scalar_type();
  const Conv1dSlidingPlan plan =
      plan_conv1d_sliding(row, dense, static_cast<int>(element_size(dtype)),
                          multiprocessor_count(like.get_device_index()));
  const Kernel kernel = dtype == ScalarType::Float  ? kernel_for<float>(row)
                        : dtype == ScalarType::Half ? kernel_for<__half>(row)
                                                    : kernel_for<__nv_bfloat16>(row);
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, dim3(grid_size(op, plan.blocks)), plan.threads,
                           plan.shared_bytes, current_stream(like), problem, row, plan));
}

}  // namespace

bool launch_conv1d_rows(const char* op, const Conv1dProblem& operands, const Conv1dSliding& row,
                        const Tensor& like) {
  if (!is_served(row.kernel_size, row.dilation, like.scalar_type())) {
    return false;
  }
  launch(op, operands, row, true, like);
  return true;
}

bool launch_conv1d_sliding(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  const ScalarType dtype = like.scalar_type();
  const bool dense =
      rows_are_dense(problem.input_strides, problem.batch, problem.groups, problem.in_length) &&
      rows_are_dense(problem.output_strides, problem.batch, problem.groups * problem.out_channels,
                     problem.out_length);
  if (!is_served(problem, dtype, dense)) {
    return false;
  }
  launch(op, problem, Conv1dSliding::of(problem), dense, like);
  return true;
}

}  // namespace kernelopt
