#include "common/dtype.cuh"
#include "separable/channel_gemm_policy.h"
#include "separable/channel_gemm_wgmma.h"
#include "separable/channel_gemm_wgmma_launch.cuh"
#include "separable/channel_planes_wide.h"
#include "separable/channel_planes_wide_plan.h"
#include "separable/channel_planes_wgmma_kernel.cuh"

namespace kernelopt {
namespace {

template <typename T>
bool launch_as(const char* op, const ChannelGemmWgmmaParams& problem, int64_t batch,
               const Tensor& like) {
  const int device = like.get_device_index();
  const cudaStream_t stream = current_stream(like);
  ChannelPlanesWgmmaPlan plan = plan_channel_planes_wgmma(
      problem, batch, sizeof(T), max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const Tensor packed = pack_channel_gemm_weight<T, PackOrder::kPlain>(
      op, plan.params.product, plan.packed_bytes, plan.tiles_m * 64, like, stream);
  const auto kernel =
      plan.tiles_m == 1 ? channel_planes_wgmma_kernel<T, 1> : channel_planes_wgmma_kernel<T, 2>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  KERNELOPT_CUDA_CHECK(op, launch_dependent(kernel, dim3(plan.grid_x, plan.grid_y),
                                            ChannelPlanesWgmmaShape::kThreads, plan.shared_bytes,
                                            stream, plan.params));
  return true;
}

}  // namespace

bool multiply_planes(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
                     const std::optional<Tensor>& bias, Activation activation, Precision precision,
                     const Tensor& result) {
  const int64_t batch = images.size(0), pixels = images.size(2) * images.size(3);
  const int64_t channels = result.size(1), sum = images.size(1);
  const int64_t size = element_size(images.scalar_type());
  const int multiprocessors = multiprocessor_count(images.get_device_index());
  const bool simple = activation == Activation::kNone || activation == Activation::kRelu;
  if (!channel_gemm_wgmma_serves(batch * pixels, channels, sum, precision, images)) {
    return false;
  }
  const ChannelGemmWgmmaParams problem =
      channel_gemm_problem(images, weight, transposed, bias, activation, pixels, result);
  if (WidePlanesPolicy::pays(batch, pixels, channels, sum, multiprocessors) &&
      multiply_wide_planes(op, problem, batch, images)) {
    return true;
  }
  if (!ChannelPlanesPolicy::pays(batch * pixels, channels, sum, size, simple, multiprocessors)) {
    return false;
  }
  return dispatch_up_to_32bit(images.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return launch_as<T>(op, problem, batch, images);
  });
}

}  // namespace kernelopt
