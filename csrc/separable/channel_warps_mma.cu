#include "separable/channel_warps_mma.h"

#include "common/device.h"
#include "common/dtype.cuh"
#include "elementwise/elementwise.h"
#include "separable/channel_gemm_policy.h"
#include "separable/channel_warps_mma_kernel.cuh"

#include <algorithm>

namespace kernelopt {
namespace {

bool is_aligned(const void* data, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % bytes == 0;
}

/// Whether a sum's channels can be read 16 bytes at a time.
template <typename T>
bool reads_along(const void* data, int64_t k, int64_t k_stride, int64_t line_stride) {
  constexpr int64_t kVec = kVecBytes / sizeof(T);
  return k_stride == 1 && k % kVec == 0 && line_stride % kVec == 0 && is_aligned(data, kVecBytes);
}

template <typename T, LineAccess kWeightAccess>
auto kernel_of(const ChannelWarpsMmaParams& p) {
  if (reads_along<T>(p.images, p.k, p.image_k_stride, p.image_pixel_stride)) {
    return channel_warps_mma_kernel<T, kWeightAccess, LineAccess::kAlong>;
  }
  const bool across = p.image_pixel_stride == 1 && p.pixels % 4 == 0 && p.image_k_stride % 4 == 0 &&
                      is_aligned(p.images, 4 * sizeof(T));
  return across ? channel_warps_mma_kernel<T, kWeightAccess, LineAccess::kAcross>
                : channel_warps_mma_kernel<T, kWeightAccess, LineAccess::kElements>;
}

template <typename T>
void launch_as(const char* op, const ChannelWarpsMmaParams& p, int64_t images, int multiprocessors,
               cudaStream_t stream) {
  using Shape = ChannelWarpsMmaShape;
  const auto kernel = reads_along<T>(p.weight, p.k, p.weight_k_stride, p.weight_n_stride)
                          ? kernel_of<T, LineAccess::kAlong>(p)
                          : kernel_of<T, LineAccess::kElements>(p);
  const dim3 grid(static_cast<unsigned>(divide_up(p.pixels, Shape::kTile)),
                  static_cast<unsigned>(divide_up(p.n, Shape::kTile)),
                  static_cast<unsigned>(images));
  // Blocks of all their warps fill a multiprocessor's registers.
  const int64_t most = int64_t{grid.x} * grid.y * grid.z <= multiprocessors ? Shape::kMaxWarps
                                                                            : Shape::kMaxWarps / 2;
  const int64_t warps = std::min<int64_t>(most, divide_up(p.k, Shape::kSteps));
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, grid, static_cast<unsigned>(warps * 32), 0, stream, p));
}

/// Whether the kernel takes such a product.
bool serves(int64_t m, int64_t n, int64_t k, Precision precision, const Tensor& like) {
  const ScalarType dtype = like.scalar_type();
  const bool precise =
      dtype == ScalarType::Double || (dtype == ScalarType::Float && precision == Precision::kIeee);
  return !precise && ChannelGemmWgmmaPolicy::pays(m, n, k) &&
         compute_capability(like.get_device_index()) >= 80;
}

}  // namespace

bool few_pixels_serve(int64_t images, int64_t pixels, int64_t n, int64_t k, bool channels_last,
                      Precision precision, const Tensor& like) {
  return FewPixelsPolicy::pays(images, pixels, n, k, channels_last || pixels == 1,
                               element_size(like.scalar_type()),
                               multiprocessor_count(like.get_device_index())) &&
         serves(images * pixels, n, k, precision, like);
}

bool short_sums_serve(int64_t images, int64_t pixels, int64_t n, int64_t k, Precision precision,
                      const Tensor& like) {
  return FewPixelsPolicy::pays_for_shifted_planes(images, pixels, n, k,
                                                  element_size(like.scalar_type()),
                                                  multiprocessor_count(like.get_device_index())) &&
         serves(images * pixels, n, k, precision, like);
}

void multiply_few_pixels(const char* op, const Tensor& images, const Tensor& weight,
                         bool transposed, const std::optional<Tensor>& bias, Activation activation,
                         bool channels_last, const Tensor& result) {
  const int plane = static_cast<int>(result.size(2) * result.size(3));
  const int n = static_cast<int>(result.size(1)), k = static_cast<int>(images.size(1));
  // An image of one pixel is a row in either format.
  const bool image_rows = plane == 1 || is_channels_last(images);
  const bool result_rows = plane == 1 || channels_last;
  const bool joined = image_rows && result_rows;
  ChannelWarpsMmaParams p{};
  const Tensor dense = is_channels_last(images) ? images : contiguous_cuda(op, images);
  p.images = dense.const_data_ptr();
  p.weight = weight.const_data_ptr();
  p.bias = bias.has_value() ? bias->const_data_ptr() : nullptr;
  p.result = result.mutable_data_ptr();
  p.image_size = int64_t{k} * plane;
  p.result_size = int64_t{n} * plane;
  p.pixels = joined ? static_cast<int>(result.size(0)) * plane : plane;
  p.n = n;
  p.k = k;
  p.image_pixel_stride = image_rows ? k : 1;
  p.image_k_stride = image_rows ? 1 : plane;
  p.weight_n_stride = transposed ? 1 : k;
  p.weight_k_stride = transposed ? n : 1;
  p.result_pixel_stride = result_rows ? n : 1;
  p.result_n_stride = result_rows ? 1 : plane;
  p.activation = activation;
  const int64_t blocks = joined ? 1 : result.size(0);
  const cudaStream_t stream = current_stream(images);
  const int multiprocessors = multiprocessor_count(images.get_device_index());
  dispatch_up_to_32bit(images.scalar_type(), [&](auto tag) {
    launch_as<typename decltype(tag)::type>(op, p, blocks, multiprocessors, stream);
    return true;
  });
}

}  // namespace kernelopt
