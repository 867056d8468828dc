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
  if (!channel_gemm_wgmma_serves(pixels, result.size(1), images.size(1), precision, images)) {
    return false;
  }
  const ChannelGemmWgmmaParams problem =
      channel_gemm_problem(images, weight, transposed, bias, activation, pixels, result);
  switch (images.scalar_type()) {
    case ScalarType::Half: return launch_channel_gemm_wgmma_as<__half>(op, problem, images);
    case ScalarType::BFloat16:
      return launch_channel_gemm_wgmma_as<__nv_bfloat16>(op, problem, images);
    default: return launch_channel_gemm_wgmma_as<float>(op, problem, images);
  }
}

}  // namespace kernelopt
