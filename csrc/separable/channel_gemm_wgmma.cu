#include "separable/channel_gemm_wgmma.h"

#include "common/dtype.cuh"
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
  return dispatch_up_to_32bit(images.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return launch_channel_gemm_wgmma_as<T>(op, problem, images);
  });
}

}  // namespace kernelopt
