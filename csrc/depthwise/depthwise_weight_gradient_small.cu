#include "common/dtype.cuh"
#include "common/share_sum.cuh"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_shapes.h"
#include "depthwise/depthwise_weight_gradient_small_kernel.cuh"

#include <algorithm>

namespace kernelopt {
namespace {

/// Whether a thread's latencies cost less than the start of the other kernels.
bool small_gradient_pays(const DepthwiseWeightGradientParams& params, int element_bytes) {
  const int64_t results =
      params.batch * params.filters * params.h.result_size * params.w.result_size;
  return results * params.h.kernel_size * params.w.kernel_size <=
         DepthwiseSmallPolicy::max_gradient_products(element_bytes, params.h.stride);
}

template <typename T>
bool launch(const char* op, DepthwiseWeightGradientParams params, const Tensor& grad_z,
            const Tensor& input, const Tensor& grad_weight, cudaStream_t stream) {
  using Policy = DepthwiseSmallPolicy;
  return dispatch_shape(
      SmallShapes{}, params.h.kernel_size, params.w.kernel_size, params.h.stride, params.w.stride,
      [&](auto shape) {
        using Shape = decltype(shape);
        constexpr int kRows = Policy::kGradientRows;
        const int64_t strips = divide_up(params.h.result_size, kRows);
        const int64_t items = params.batch * strips * params.w.result_size;
        const int64_t threads = std::min<int64_t>(Policy::kGradientThreads, round_up(items, 32));
        const int64_t wanted = int64_t{multiprocessor_count(input.get_device_index())} *
                               Policy::kGradientBlocksPerMultiprocessor / params.filters;
        const int64_t shares =
            std::max<int64_t>(1, std::min(wanted, items / Policy::kMinGradientItems));
        params.share_length = round_up(divide_up(items, shares), threads);
        params.shares = divide_up(items, params.share_length);
        const Tensor partial =
            empty_shares<T>(op, params.shares == 1 ? 0 : params.shares, grad_weight.numel(), input);
        const auto kernel =
            depthwise_weight_gradient_small_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth,
                                                   Shape::kStride, kRows>;
        const dim3 grid(grid_size(op, params.filters * params.shares, 1));
        KERNELOPT_CUDA_CHECK(
            op, launch_dependent(kernel, grid, static_cast<unsigned>(threads), 0, stream, params,
                                 const_data<T>(grad_z), const_data<T>(input),
                                 mutable_data<float>(partial), mutable_data<T>(grad_weight),
                                 static_cast<int>(strips)));
        if (params.shares > 1) {
          launch_share_sum<T>(op, partial, grad_weight, stream);
        }
      });
}

}  // namespace

bool launch_depthwise_weight_gradient_small(const char* op,
                                            const DepthwiseWeightGradientParams& params,
                                            const Tensor& grad_z, const Tensor& input,
                                            const Tensor& grad_weight, cudaStream_t stream) {
  const bool served =
      params.h.dilation == 1 && params.w.dilation == 1 && params.batch > 0 && grad_z.numel() > 0 &&
      small_gradient_pays(params, static_cast<int>(element_size(input.scalar_type()))) &&
      fits_32bit(forward_of(params), grad_z.numel(), kSlidingSlack);
  return served && dispatch_up_to_32bit(input.scalar_type(), [&](auto tag) {
           return launch<typename decltype(tag)::type>(op, params, grad_z, input, grad_weight,
                                                       stream);
         });
}

}  // namespace kernelopt
