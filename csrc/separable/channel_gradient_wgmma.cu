#include "common/device.h"
#include "common/share_sum.cuh"
#include "separable/channel_gemm_policy.h"
#include "separable/channel_gradient_wgmma_kernel.cuh"
#include "separable/pointwise_weight_gradient.h"

namespace kernelopt {
namespace {

template <typename T, int kN>
void launch(const char* op, const ChannelGradientWgmmaPlan& plan, cudaStream_t stream) {
  const auto kernel = channel_gradient_wgmma_kernel<T, kN>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<dim3(static_cast<unsigned>(plan.shares), static_cast<unsigned>(plan.tiles)),
           ChannelGradientWgmmaShape::kThreads, plan.shared_bytes, stream>>>(plan.params);
  KERNELOPT_CHECK_LAUNCH(op);
}

template <typename T>
bool launch_as(const char* op, const ChannelGradientWgmmaParams& problem,
               const Tensor& grad_weight) {
  const int device = grad_weight.get_device_index();
  const cudaStream_t stream = current_stream(grad_weight);
  ChannelGradientWgmmaPlan plan = plan_channel_gradient_wgmma(
      problem, max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const Tensor partial = empty_shares<T>(op, plan.shares, grad_weight.numel(), grad_weight);
  plan.params.partial = mutable_data<float>(partial);
  if (plan.block_n == 64) {
    launch<T, 64>(op, plan, stream);
  } else {
    launch<T, 128>(op, plan, stream);
  }
  launch_share_sum<T>(op, partial, grad_weight, stream);
  return true;
}

}  // namespace

bool pixel_rows_weight_gradient(const char* op, const Tensor& grad, const Tensor& images,
                                const Tensor& grad_weight) {
  const int64_t pixels = grad.size(0) * grad.size(2) * grad.size(3);
  const int64_t out_channels = grad_weight.size(0), channels = grad_weight.size(1);
  const ScalarType dtype = grad.scalar_type();
  if ((dtype != ScalarType::Half && dtype != ScalarType::BFloat16) ||
      !ChannelGemmWgmmaPolicy::pays(pixels, out_channels, channels) ||
      !has_wgmma(grad.get_device_index())) {
    return false;
  }
  ChannelGradientWgmmaParams problem{};
  problem.grad = grad.const_data_ptr();
  problem.input = images.const_data_ptr();
  problem.pixels = pixels;
  problem.out_channels = static_cast<int>(out_channels);
  problem.channels = static_cast<int>(channels);
  return dtype == ScalarType::Half ? launch_as<__half>(op, problem, grad_weight)
                                   : launch_as<__nv_bfloat16>(op, problem, grad_weight);
}

}  // namespace kernelopt
