#include "separable/relu_gradient.h"

#include "common/dtype.cuh"
#include "common/share_sum.cuh"
#include "separable/relu_gradient_kernel.cuh"

#include <limits>

namespace kernelopt {
namespace {

template <typename T, int kVec>
void launch(const char* op, const ReluGradientPlan& plan, bool channels_last, const Tensor& grad,
            const Tensor& relu, const Tensor& sums) {
  using A = AccumulateType<T>;
  const cudaStream_t stream = current_stream(grad);
  const Tensor partial =
      plan.shares == 1 ? sums : empty_shares<T>(op, plan.shares, plan.channels, grad);
  const auto kernel = channels_last ? relu_gradient_rows_kernel<T, A, kVec>
                                    : relu_gradient_planes_kernel<T, A, kVec>;
  KERNELOPT_CHECK(plan.blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 channels, got ", plan.channels);
  kernel<<<dim3(static_cast<unsigned>(plan.blocks), static_cast<unsigned>(plan.shares)),
           ReluGradientShape::kThreads, 0, stream>>>(
      const_data<T>(grad), const_data<T>(relu), mutable_data<T>(grad), mutable_data<T>(sums),
      static_cast<A*>(partial.mutable_data_ptr()), plan);
  KERNELOPT_CHECK_LAUNCH(op);
  if (plan.shares > 1) {
    launch_share_sum<T>(op, partial, sums, stream);
  }
}

}  // namespace

Tensor relu_gradient_with_sums(const char* op, const Tensor& grad, const Tensor& relu) {
  const torch::stable::accelerator::DeviceGuard guard(grad.get_device_index());
  const bool channels_last = is_channels_last(grad);
  const int64_t channels = grad.size(1);
  const Tensor sums =
      empty_contiguous(op, std::vector<int64_t>{channels}, grad.scalar_type(), grad);
  dispatch_floating_cuda(op, grad.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int kVec = kVecBytes / sizeof(T);
    const auto aligned = [](const Tensor& tensor) {
      return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % kVecBytes == 0;
    };
    const ReluGradientPlan plan = plan_relu_gradient(
        grad.size(0), channels, grad.size(2) * grad.size(3), channels_last,
        aligned(grad) && aligned(relu) ? kVec : 1, multiprocessor_count(grad.get_device_index()));
    if (plan.vec == kVec) {
      launch<T, kVec>(op, plan, channels_last, grad, relu, sums);
    } else {
      launch<T, 1>(op, plan, channels_last, grad, relu, sums);
    }
  });
  return sums;
}

}  // namespace kernelopt
