#include "separable/channel_sums.h"

#include "common/device.h"
#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "separable/channel_sums_kernel.cuh"
#include "separable/pointwise_product_policy.h"

#include <limits>
#include <type_traits>

namespace kernelopt {
namespace {

template <typename T, int kChannels, int kWidth, int kShares>
void launch(const char* op, ChannelSumsParams& p, int64_t images, cudaStream_t stream) {
  p.tiles = divide_up(p.pixels, ChannelSumsShape::tile_pixels(sizeof(T), kShares));
  const int64_t blocks = images * p.tiles;
  KERNELOPT_CHECK(blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 blocks, got ", blocks);
  KERNELOPT_CUDA_CHECK(op, launch_dependent(channel_sums_kernel<T, kChannels, kWidth, kShares>,
                                            dim3(static_cast<unsigned>(blocks)),
                                            ChannelSumsShape::kThreads, 0, stream, p));
}

template <typename T, int kChannels>
void launch_channels(const char* op, ChannelSumsParams& p, int64_t images, int multiprocessors,
                     cudaStream_t stream) {
  constexpr int kVec = ChannelSumsShape::kVecBytes / static_cast<int>(sizeof(T));
  const auto aligned = [](const void* data) {
    return reinterpret_cast<uintptr_t>(data) % ChannelSumsShape::kVecBytes == 0;
  };
  const bool vectors = p.pixels % kVec == 0 && aligned(p.images) && aligned(p.result);
  const int64_t tiles = images * divide_up(p.pixels, ChannelSumsShape::tile_pixels(sizeof(T), 1));
  const auto launch_shares = [&](auto shares) {
    constexpr int kShares = decltype(shares)::value;
    vectors ? launch<T, kChannels, kVec, kShares>(op, p, images, stream)
            : launch<T, kChannels, 1, kShares>(op, p, images, stream);
  };
  switch (ChannelSumsPolicy::shares(tiles, multiprocessors)) {
    case 1: return launch_shares(std::integral_constant<int, 1>{});
    case 4: return launch_shares(std::integral_constant<int, 4>{});
    default: return launch_shares(std::integral_constant<int, 8>{});
  }
}

}  // namespace

bool channel_sums_serve(int64_t pixels, int64_t n, const Tensor& like) {
  return like.scalar_type() != ScalarType::Double && ChannelSumsPolicy::pays(pixels, n);
}

void sum_channels(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
                  const std::optional<Tensor>& bias, Activation activation, const Tensor& result) {
  const int64_t n = result.size(1), k = images.size(1);
  ChannelSumsParams p{};
  p.images = images.const_data_ptr();
  p.weight = weight.const_data_ptr();
  p.bias = bias.has_value() ? bias->const_data_ptr() : nullptr;
  p.result = result.mutable_data_ptr();
  p.pixels = result.size(2) * result.size(3);
  p.n = static_cast<int>(n);
  p.k = k;
  p.weight_n_stride = transposed ? 1 : k;
  p.weight_k_stride = transposed ? n : 1;
  p.activation = activation;
  const cudaStream_t stream = current_stream(result);
  const int multiprocessors = multiprocessor_count(result.get_device_index());
  dispatch_up_to_32bit(result.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t images_count = result.size(0);
    if (n == 1) {
      launch_channels<T, 1>(op, p, images_count, multiprocessors, stream);
    } else if (n == 2) {
      launch_channels<T, 2>(op, p, images_count, multiprocessors, stream);
    } else if (n <= 4) {
      launch_channels<T, 4>(op, p, images_count, multiprocessors, stream);
    } else {
      launch_channels<T, 8>(op, p, images_count, multiprocessors, stream);
    }
    return true;
  });
}

}  // namespace kernelopt
