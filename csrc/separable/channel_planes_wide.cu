#include "separable/channel_planes_wide.h"

#include "common/dtype.cuh"
#include "separable/channel_gemm_wgmma_launch.cuh"
#include "separable/channel_planes_wide_kernel.cuh"

namespace kernelopt {
namespace {

template <typename T>
bool launch_as(const char* op, const ChannelGemmWgmmaParams& problem, int64_t batch,
               const Tensor& like) {
  const int device = like.get_device_index();
  const cudaStream_t stream = current_stream(like);
  ChannelPlanesWidePlan plan = plan_channel_planes_wide(
      problem, batch, sizeof(T), max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits || !encode_tensor_map(plan.map, problem.left, &plan.params.map)) {
    return false;
  }
  ChannelGemmWgmmaParams& product = plan.params.product;
  const std::vector<int64_t> words{plan.grid_y};  // of four bytes
  const Tensor taken = empty_contiguous(op, words, ScalarType::Float, like);
  product.taken = static_cast<int*>(taken.mutable_data_ptr());
  const Tensor packed = pack_channel_gemm_weight<T, PackOrder::kPlain>(
      op, product, plan.packed_bytes, plan.tiles_m * 64, like, stream);
  const auto kernel =
      plan.tiles_m == 1 ? channel_planes_wide_kernel<T, 1> : channel_planes_wide_kernel<T, 2>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, dim3(plan.grid_x, plan.grid_y), ChannelPlanesWideShape::kThreads,
                           plan.shared_bytes, stream, plan.params));
  return true;
}

}  // namespace

bool multiply_wide_planes(const char* op, const ChannelGemmWgmmaParams& problem, int64_t batch,
                          const Tensor& like) {
  return dispatch_up_to_32bit(like.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return launch_as<T>(op, problem, batch, like);
  });
}

}  // namespace kernelopt
