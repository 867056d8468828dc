#include "separable/channel_gemm_wgmma.h"

#include "separable/channel_gemm_policy.h"
#include "separable/channel_gemm_wgmma_launch.cuh"

namespace kernelopt {

bool channel_gemm_wgmma_serves(int64_t m, int64_t n, int64_t k, Precision precision,
                               const Tensor& like) {
  const ScalarType dtype = like.scalar_type();
  const bool precise =
      dtype == ScalarType::Double || (dtype == ScalarType::Float && precision == Precision::kIeee);
  return !precise && ChannelGemmWgmmaPolicy::pays(m, n, k) && has_wgmma(like.get_device_index());
}

bool multiply_pixel_rows(const char* op, const Tensor& images, const Tensor& weight,
                         bool transposed, const std::optional<Tensor>& bias, Activation activation,
                         Precision precision, const Tensor& result) {
  const int64_t pixels = result.size(0) * result.size(2) * result.size(3);
  const int64_t n = weight.size(transposed ? 1 : 0), k = weight.size(transposed ? 0 : 1);
  if (!channel_gemm_wgmma_serves(pixels, n, k, precision, images)) {
    return false;
  }
  ChannelGemmWgmmaParams problem{};
  problem.left = images.const_data_ptr();
  problem.right = weight.const_data_ptr();
  problem.bias = bias.has_value() ? bias->const_data_ptr() : nullptr;
  problem.result = result.mutable_data_ptr();
  problem.m = pixels;
  problem.n = static_cast<int>(n);
  problem.k = static_cast<int>(k);
  problem.right_n_stride = transposed ? 1 : k;
  problem.right_k_stride = transposed ? n : 1;
  problem.activation = activation;
  switch (images.scalar_type()) {
    case ScalarType::Half: return launch_channel_gemm_wgmma_as<__half>(op, problem, images);
    case ScalarType::BFloat16:
      return launch_channel_gemm_wgmma_as<__nv_bfloat16>(op, problem, images);
    default: return launch_channel_gemm_wgmma_as<float>(op, problem, images);
  }
}

}  // namespace kernelopt
