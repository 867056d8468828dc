// Launches of the warpgroup kernel of the pointwise product for one operand type; one .cu file a
// type instantiates it, so that they compile side by side.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "separable/channel_gemm_wgmma_kernel.cuh"
#include "separable/channel_gemm_wgmma_pack_kernel.cuh"
#include "separable/channel_gemm_wgmma_plan.h"

#include <optional>

namespace kernelopt {

/// The product as its kernels take it, not yet planned.
/// @param transposed  the images are the output's gradient, the result is the input's
/// @param rows        pixels of all images, or of one
inline ChannelGemmWgmmaParams channel_gemm_problem(const Tensor& images, const Tensor& weight,
                                                   bool transposed,
                                                   const std::optional<Tensor>& bias,
                                                   Activation activation, int64_t rows,
                                                   const Tensor& result) {
  ChannelGemmWgmmaParams problem{};
  problem.left = images.const_data_ptr();
  problem.right = weight.const_data_ptr();
  problem.bias = bias.has_value() ? bias->const_data_ptr() : nullptr;
  problem.result = result.mutable_data_ptr();
  problem.m = rows;
  problem.n = static_cast<int>(result.size(1));
  problem.k = static_cast<int>(images.size(1));
  problem.right_n_stride = transposed ? 1 : problem.k;
  problem.right_k_stride = transposed ? problem.n : 1;
  problem.activation = activation;
  return problem;
}

template <typename T, int kTilesM, int kN>
void launch_channel_gemm_wgmma_tile(const char* op, const ChannelGemmWgmmaPlan& plan,
                                    cudaStream_t stream) {
  const auto kernel = channel_gemm_wgmma_kernel<T, kTilesM, kN>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  const dim3 grid(plan.grid_x, plan.grid_y);
  constexpr unsigned kThreads = ChannelGemmWgmmaShape::kThreads;
  if (plan.packed_bytes > 0) {
    // It starts beside the packing kernel, and waits where it needs that one's weights.
    KERNELOPT_CUDA_CHECK(
        op, launch_dependent(kernel, grid, kThreads, plan.shared_bytes, stream, plan.params));
    return;
  }
  kernel<<<grid, kThreads, plan.shared_bytes, stream>>>(plan.params);
  KERNELOPT_CHECK_LAUNCH(op);
}

template <typename T, int kTilesM>
void launch_channel_gemm_wgmma_rows(const char* op, const ChannelGemmWgmmaPlan& plan,
                                    cudaStream_t stream) {
  switch (plan.block_n) {
    case 32: return launch_channel_gemm_wgmma_tile<T, kTilesM, 32>(op, plan, stream);
    case 64: return launch_channel_gemm_wgmma_tile<T, kTilesM, 64>(op, plan, stream);
    case 96: return launch_channel_gemm_wgmma_tile<T, kTilesM, 96>(op, plan, stream);
    default: return launch_channel_gemm_wgmma_tile<T, kTilesM, 128>(op, plan, stream);
  }
}

/// Packs the weights of `params` and tells it of them; they live as long as the tensor.
template <typename T, PackOrder kOrder>
Tensor pack_channel_gemm_weight(const char* op, ChannelGemmWgmmaParams& params,
                                int64_t packed_bytes, int block_n, const Tensor& like,
                                cudaStream_t stream) {
  const std::vector<int64_t> words{packed_bytes / 4};
  const Tensor packed = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* packed_weight = static_cast<uint4*>(packed.mutable_data_ptr());
  params.packed = packed_weight;
  constexpr int kPackThreads = 256;
  const int64_t vectors = packed_bytes / (16 * MmaTraits<T>::kParts);
  const unsigned blocks = static_cast<unsigned>((vectors + kPackThreads - 1) / kPackThreads);
  pack_channel_gemm_weight_kernel<T, kOrder>
      <<<blocks, kPackThreads, 0, stream>>>(params, packed_weight, block_n, vectors);
  KERNELOPT_CHECK_LAUNCH(op);
  return packed;
}

/// Computes a problem; false where the kernel does not fit it.
template <typename T>
bool launch_channel_gemm_wgmma_as(const char* op, const ChannelGemmWgmmaParams& problem,
                                  const Tensor& like) {
  const int device = like.get_device_index();
  const cudaStream_t stream = current_stream(like);
  ChannelGemmWgmmaPlan plan = plan_channel_gemm_wgmma<T>(
      problem, max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  Tensor packed = like;  // kept until the launches
  if (plan.packed_bytes > 0) {
    packed = pack_channel_gemm_weight<T, PackOrder::kFragments>(op, plan.params, plan.packed_bytes,
                                                                plan.block_n, like, stream);
  }
  if (plan.tiles_m == 1) {
    launch_channel_gemm_wgmma_rows<T, 1>(op, plan, stream);
  } else {
    launch_channel_gemm_wgmma_rows<T, 2>(op, plan, stream);
  }
  return true;
}

extern template bool launch_channel_gemm_wgmma_as<float>(const char*, const ChannelGemmWgmmaParams&,
                                                         const Tensor&);
extern template bool launch_channel_gemm_wgmma_as<__half>(const char*,
                                                          const ChannelGemmWgmmaParams&,
                                                          const Tensor&);
extern template bool launch_channel_gemm_wgmma_as<__nv_bfloat16>(const char*,
                                                                 const ChannelGemmWgmmaParams&,
                                                                 const Tensor&);

}  // namespace kernelopt
