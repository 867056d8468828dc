#include "common/dtype.cuh"
#include "separable/channel_gemm_policy.h"
#include "separable/channel_gemm_wgmma.h"
#include "separable/channel_gemm_wgmma_launch.cuh"
#include "separable/channel_images_wgmma_kernel.cuh"

namespace kernelopt {
namespace {

template <typename T, int kTilesM, int kN>
bool launch_tile(const char* op, const ChannelImagesWgmmaPlan& plan, cudaStream_t stream) {
  const auto launch = [&](auto kernel, const auto&... arguments) {
    KERNELOPT_CUDA_CHECK(op,
                         cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              plan.shared_bytes));
    KERNELOPT_CUDA_CHECK(
        op, launch_dependent(kernel, dim3(plan.grid), ChannelImagesWgmmaShape::kThreads,
                             plan.shared_bytes, stream, arguments...));
    return true;
  };
  // Strips have more than 128 pixels.
  if constexpr (sizeof(T) == 4 && kTilesM == 2) {
    if (plan.params.strips > 1) {
      ChannelImagesWgmmaMaps maps;
      return encode_tensor_map(plan.left_map, plan.params.product.left, &maps.left) &&
             encode_tensor_map(plan.result_map, plan.params.product.result, &maps.result) &&
             launch(channel_strips_wgmma_kernel<T, kTilesM, kN>, plan.params, maps);
    }
  }
  return plan.params.product.m % 2 == 0
             ? launch(channel_images_wgmma_kernel<T, kTilesM, kN, false>, plan.params)
             : launch(channel_images_wgmma_kernel<T, kTilesM, kN, true>, plan.params);
}

template <typename T, int kTilesM>
bool launch_rows(const char* op, const ChannelImagesWgmmaPlan& plan, cudaStream_t stream) {
  switch (plan.block_n) {
    case 64: return launch_tile<T, kTilesM, 64>(op, plan, stream);
    case 96: return launch_tile<T, kTilesM, 96>(op, plan, stream);
    default: return launch_tile<T, kTilesM, 128>(op, plan, stream);
  }
}

template <typename T>
bool launch_as(const char* op, const ChannelGemmWgmmaParams& problem, int64_t batch,
               const Tensor& like) {
  const int device = like.get_device_index();
  const cudaStream_t stream = current_stream(like);
  ChannelImagesWgmmaPlan plan = plan_channel_images_wgmma(
      problem, batch, sizeof(T), max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const Tensor packed = pack_channel_gemm_weight<T, PackOrder::kImages>(
      op, plan.params.product, plan.packed_bytes, plan.block_n, like, stream);
  return plan.tiles_m == 1 ? launch_rows<T, 1>(op, plan, stream)
                           : launch_rows<T, 2>(op, plan, stream);
}

}  // namespace

bool channel_images_serve(int64_t batch, int64_t pixels, int64_t n, int64_t k, Precision precision,
                          const Tensor& like) {
  const int64_t size = element_size(like.scalar_type());
  return ChannelImagesPolicy::pays(batch, pixels, k, size) && n * pixels * size % 16 == 0 &&
         k * pixels * size % 16 == 0 &&
         channel_gemm_wgmma_serves(batch * pixels, n, k, precision, like);
}

bool multiply_images(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
                     const std::optional<Tensor>& bias, Activation activation,
                     const Tensor& result) {
  const int64_t batch = images.size(0), pixels = images.size(2) * images.size(3);
  const ChannelGemmWgmmaParams problem =
      channel_gemm_problem(images, weight, transposed, bias, activation, pixels, result);
  return dispatch_up_to_32bit(images.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return launch_as<T>(op, problem, batch, images);
  });
}

}  // namespace kernelopt
