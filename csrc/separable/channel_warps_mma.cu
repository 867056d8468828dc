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

template <typename T, LineAccess kWeightAccess, bool kShares>
auto kernel_of(const ChannelWarpsMmaParams& p) {
  if (reads_along<T>(p.images, p.k, p.image_k_stride, p.image_pixel_stride)) {
    return channel_warps_mma_kernel<T, kWeightAccess, LineAccess::kAlong, kShares>;
  }
  const bool across = p.image_pixel_stride == 1 && p.pixels % 4 == 0 && p.image_k_stride % 4 == 0 &&
                      is_aligned(p.images, 4 * sizeof(T));
  return across ? channel_warps_mma_kernel<T, kWeightAccess, LineAccess::kAcross, kShares>
                : channel_warps_mma_kernel<T, kWeightAccess, LineAccess::kElements, kShares>;
}

template <typename T, bool kShares>
void launch_shares(const char* op, const ChannelWarpsMmaParams& p, int64_t images, bool all_warps,
                   cudaStream_t stream) {
  using Shape = ChannelWarpsMmaShape;
  const auto kernel = reads_along<T>(p.weight, p.k, p.weight_k_stride, p.weight_n_stride)
                          ? kernel_of<T, LineAccess::kAlong, kShares>(p)
                          : kernel_of<T, LineAccess::kElements, kShares>(p);
  const dim3 grid(static_cast<unsigned>(divide_up(p.pixels, Shape::kTile) * p.shares),
                  static_cast<unsigned>(divide_up(p.n, Shape::kTile)),
                  static_cast<unsigned>(images));
  const int64_t most = all_warps ? Shape::kMaxWarps : Shape::kMaxWarps / 2;
  const int64_t warps = std::min<int64_t>(most, divide_up(p.share_steps, Shape::kSteps));
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(p.shares);
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(warps * 32));
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = kShares ? 2 : 1;
  KERNELOPT_CUDA_CHECK(op, cudaLaunchKernelEx(&config, kernel, p));
}

template <typename T>
void launch_as(const char* op, ChannelWarpsMmaParams p, int64_t images, bool clusters,
               int multiprocessors, cudaStream_t stream) {
  using Shape = ChannelWarpsMmaShape;
  const int64_t blocks = divide_up(p.pixels, Shape::kTile) * divide_up(p.n, Shape::kTile) * images;
  p.shares = clusters ? FewPixelsPolicy::shares(blocks, p.pixels, p.k, p.image_k_stride == 1,
                                                sizeof(T), multiprocessors)
                      : 1;
  p.share_steps = static_cast<int>(round_up(divide_up(p.k, p.shares), int64_t{Shape::kSteps}));
  // Blocks of all their warps fill a multiprocessor's registers.
  const bool all_warps = blocks <= multiprocessors;
  if (p.shares > 1) {
    launch_shares<T, true>(op, p, images, all_warps, stream);
  } else {
    launch_shares<T, false>(op, p, images, all_warps, stream);
  }
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
  // As compiled: code for others, compiled again for a Hopper, has no shares.
  const bool clusters = has_wgmma(images.get_device_index());
  dispatch_up_to_32bit(images.scalar_type(), [&](auto tag) {
    launch_as<typename decltype(tag)::type>(op, p, blocks, clusters, multiprocessors, stream);
    return true;
  });
}

}  // namespace kernelopt
