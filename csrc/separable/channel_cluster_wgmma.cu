#include "common/dtype.cuh"
#include "separable/channel_cluster_wgmma_kernel.cuh"
#include "separable/channel_gemm_wgmma.h"
#include "separable/channel_gemm_wgmma_launch.cuh"
#include "separable/pointwise_product_policy.h"

namespace kernelopt {
namespace {

template <typename T, int kTilesN, int kPanels>
void launch_tile(const char* op, const ChannelClusterWgmmaPlan& plan, cudaStream_t stream) {
  const auto kernel = channel_cluster_wgmma_kernel<T, kTilesN, kPanels>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  const unsigned shares = static_cast<unsigned>(plan.params.shares);
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = attributes[0].val.clusterDim.y = 1;
  attributes[0].val.clusterDim.z = shares;
  // It starts beside the packing kernel, and waits where it needs that one's weights.
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(plan.grid_x, plan.grid_y, shares);
  config.blockDim = dim3(ChannelClusterWgmmaShape::kThreads);
  config.dynamicSmemBytes = static_cast<size_t>(plan.shared_bytes);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = plan.packed_bytes > 0 ? 2 : 1;
  KERNELOPT_CUDA_CHECK(op, cudaLaunchKernelEx(&config, kernel, plan.params));
}

template <typename T>
void launch_plan(const char* op, ChannelClusterWgmmaPlan plan, const Tensor& like) {
  const cudaStream_t stream = current_stream(like);
  Tensor packed = like;  // kept until the launches
  if (plan.packed_bytes > 0) {
    packed = pack_channel_gemm_weight<T, PackOrder::kPlain>(
        op, plan.params.product, plan.packed_bytes, plan.tiles_n * 64, like, stream);
  }
  switch (plan.tiles_n * 2 + plan.panels - 1) {
    case 3: return launch_tile<T, 1, 2>(op, plan, stream);
    case 4: return launch_tile<T, 2, 1>(op, plan, stream);
    default: return launch_tile<T, 2, 2>(op, plan, stream);
  }
}

template <typename T>
bool launch_as(const char* op, const ChannelGemmWgmmaParams& problem, int64_t batch,
               const Tensor& like) {
  const int device = like.get_device_index();
  const ChannelClusterWgmmaPlan plan = plan_channel_cluster_wgmma(
      problem, batch, sizeof(T), max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (plan.fits) {
    launch_plan<T>(op, plan, like);
  }
  return plan.fits;
}

}  // namespace

bool channel_long_sums_serve(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                             Precision precision, const Tensor& like) {
  return ChannelClusterPolicy::pays_for_long_sums(batch, pixels, n, k,
                                                  multiprocessor_count(like.get_device_index())) &&
         channel_gemm_wgmma_serves(batch * pixels, n, k, precision, like);
}

bool channel_clusters_serve(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                            Precision precision, const Tensor& like) {
  return ChannelClusterPolicy::pays(batch, pixels, n, k, element_size(like.scalar_type()),
                                    multiprocessor_count(like.get_device_index())) &&
         channel_gemm_wgmma_serves(batch * pixels, n, k, precision, like);
}

bool multiply_in_clusters(const char* op, const Tensor& images, const Tensor& weight,
                          bool transposed, const std::optional<Tensor>& bias, Activation activation,
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
