#include "common/dtype.cuh"
#include "common/share_sum.cuh"
#include "depthwise/depthwise_banded_gradient_kernel.cuh"
#include "depthwise/depthwise_launch.h"

namespace kernelopt {
namespace {

template <typename T>
bool launch(const char* op, DepthwiseWeightGradientParams params, const Tensor& grad_z,
            const Tensor& input, const Tensor& grad_weight, cudaStream_t stream) {
  using Policy = DepthwiseBandedPolicy;
  const int device = input.get_device_index();
  const int multiprocessors = multiprocessor_count(device);
  const BandedPlan banded = plan_banded_gradient(forward_of(params), sizeof(T), multiprocessors);
  const SlidingPlan& plan = banded.block;
  const int shared_bytes = kBandZeros + 2 * plan.shared_bytes;
  if (shared_bytes > max_shared_bytes_per_block(device)) {
    return false;
  }
  const int64_t blocks = share_strips(
      &params, plan, int64_t{multiprocessors} * Policy::kGradientBlocksPerMultiprocessor);
  const Tensor partial = empty_shares<T>(op, params.shares, grad_weight.numel(), input);
  const auto kernel = depthwise_banded_gradient_kernel<T>;
  KERNELOPT_CUDA_CHECK(
      op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  kernel<<<grid_size(op, blocks, 1), plan.threads, shared_bytes, stream>>>(
      params, banded, const_data<T>(grad_z), const_data<T>(input), mutable_data<float>(partial));
  KERNELOPT_CHECK_LAUNCH(op);
  launch_share_sum<T>(op, partial, grad_weight, stream);
  return true;
}

}  // namespace

bool is_banded_gradient(const DepthwiseWeightGradientParams& params, const Tensor& input,
                        Precision precision) {
  const ScalarType dtype = input.scalar_type();
  return dtype != ScalarType::Double &&
         (dtype != ScalarType::Float || precision != Precision::kIeee) &&
         compute_capability(input.get_device_index()) >= 80 && params.h.stride == 1 &&
         params.w.stride == 1 && slides_over_strips(params) &&
         banded_gradient_pays(params, static_cast<int>(element_size(dtype)));
}

bool launch_depthwise_banded_gradient(const char* op, const DepthwiseWeightGradientParams& params,
                                      const Tensor& grad_z, const Tensor& input,
                                      const Tensor& grad_weight, Precision precision,
                                      cudaStream_t stream) {
  if (!is_banded_gradient(params, input, precision)) {
    return false;
  }
  return dispatch_up_to_32bit(input.scalar_type(), [&](auto tag) {
    return launch<typename decltype(tag)::type>(op, params, grad_z, input, grad_weight, stream);
  });
}

}  // namespace kernelopt
