#include "common/device.h"
#include "common/share_sum.cuh"
#include "conv1d/conv1d_weight_gradient_mma.h"
#include "separable/channel_gemm_policy.h"
#include "separable/channel_gradient_wgmma_kernel.cuh"
#include "separable/pointwise_weight_gradient.h"

namespace kernelopt {
namespace {

template <typename T, int kN, GradientLayout kLayout>
void launch(const char* op, const ChannelGradientWgmmaPlan& plan, cudaStream_t stream) {
  const auto kernel = channel_gradient_wgmma_kernel<T, kN, kLayout>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<dim3(static_cast<unsigned>(plan.shares), static_cast<unsigned>(plan.tiles)),
           ChannelGradientWgmmaShape::threads(sizeof(T)), plan.shared_bytes, stream>>>(plan.params);
  KERNELOPT_CHECK_LAUNCH(op);
}

template <typename T, GradientLayout kLayout>
void launch_columns(const char* op, const ChannelGradientWgmmaPlan& plan, cudaStream_t stream) {
  if (plan.block_n == 64) {
    launch<T, 64, kLayout>(op, plan, stream);
  } else {
    launch<T, 128, kLayout>(op, plan, stream);
  }
}

template <typename T>
bool launch_as(const char* op, const Conv1dWeightGradientProblem& problem,
               const Tensor& grad_weight, const Tensor* steady_sums) {
  const int device = grad_weight.get_device_index();
  const cudaStream_t stream = current_stream(grad_weight);
  ChannelGradientWgmmaParams params{};
  params.grad = {problem.steady, static_cast<int>(problem.steady_channels), 0};
  params.input = {problem.shifted, static_cast<int>(problem.shifted_channels), 0};
  params.pixels = problem.steady_length;
  const bool rows = problem.steady_strides.channel == 1;
  ChannelGradientWgmmaPlan plan =
      plan_channel_gradient_wgmma(params, rows ? 0 : problem.batch, sizeof(T),
                                  max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  Tensor partial = grad_weight, sums = grad_weight;  // kept until the launches
  if (plan.direct) {
    plan.params.result = grad_weight.mutable_data_ptr();
  } else {
    partial = empty_shares<T>(op, plan.shares, problem.numel(), grad_weight);
    plan.params.partial = mutable_data<float>(partial);
  }
  const int64_t sum_shares = plan.shares * plan.params.sum_tiles;
  if (steady_sums != nullptr) {
    sums = sum_shares == 1
               ? *steady_sums
               : empty_shares<float>(op, sum_shares, problem.steady_channels, grad_weight);
    plan.params.channel_sums = mutable_data<float>(sums);
  }
  if (rows) {
    launch_columns<T, GradientLayout::kRows>(op, plan, stream);
  } else if (plan.layout == GradientLayout::kPlanes) {
    launch_columns<T, GradientLayout::kPlanes>(op, plan, stream);
  } else if constexpr (std::is_same_v<T, float>) {
    launch_columns<T, GradientLayout::kImages>(op, plan, stream);
  }
  if (!plan.direct) {
    sum_conv1d_weight_gradient_shares(op, problem, partial, false, grad_weight);
  }
  if (steady_sums != nullptr && sum_shares > 1) {
    launch_share_sum<float>(op, sums, *steady_sums, stream);
  }
  return true;
}

}  // namespace

bool channel_gradient_serves(const Conv1dWeightGradientProblem& problem, const Tensor& like) {
  const ScalarType dtype = like.scalar_type();
  const bool precise = dtype == ScalarType::Double ||
                       (dtype == ScalarType::Float && problem.precision == Precision::kIeee);
  return !precise &&
         ChannelGemmWgmmaPolicy::pays(problem.steps(), problem.steady_channels,
                                      problem.shifted_channels) &&
         has_wgmma(like.get_device_index());
}

bool channel_gradient(const char* op, const Conv1dWeightGradientProblem& problem,
                      const Tensor& grad_weight, const Tensor* steady_sums) {
  switch (grad_weight.scalar_type()) {
    case ScalarType::Half: return launch_as<__half>(op, problem, grad_weight, nullptr);
    case ScalarType::BFloat16: return launch_as<__nv_bfloat16>(op, problem, grad_weight, nullptr);
    default: return launch_as<float>(op, problem, grad_weight, steady_sums);
  }
}

}  // namespace kernelopt
