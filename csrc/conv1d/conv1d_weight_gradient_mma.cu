#include "conv1d/conv1d_weight_gradient_mma.h"

#include "conv1d/conv1d_policy.h"
#include "conv1d/conv1d_weight_gradient_mma_launch.cuh"
#include "conv1d/conv1d_weight_gradient_wgmma.h"

namespace kernelopt {
namespace {

template <typename T>
bool launch_as(const char* op, const Conv1dWeightGradientProblem& problem, const Tensor& gradient) {
  return launch_conv1d_weight_gradient_wgmma_as<T>(op, problem, gradient) ||
         launch_conv1d_weight_gradient_mma_as<T>(op, problem, gradient);
}

}  // namespace

bool conv1d_weight_gradient_on_tensor_cores(const Conv1dWeightGradientProblem& problem,
                                            const Tensor& gradient) {
  using Limits = WeightGradientLimits;
  const ScalarType dtype = gradient.scalar_type();
  const bool precise = dtype == ScalarType::Double ||
                       (dtype == ScalarType::Float && problem.precision == Precision::kIeee);
  return !precise && compute_capability(gradient.get_device_index()) >= 80 &&
         fits_32_bits(problem) && problem.steady_channels >= Limits::kMinChannels &&
         problem.shifted_channels >=
             (problem.kernel_size == 1 ? Limits::kMinTapChannels : Limits::kMinChannels) &&
         problem.steady_channels <= Limits::kMaxIndex && problem.groups <= Limits::kMaxIndex;
}

bool launch_conv1d_weight_gradient_mma(const char* op, const Conv1dWeightGradientProblem& problem,
                                       const Tensor& gradient) {
  if (!conv1d_weight_gradient_on_tensor_cores(problem, gradient)) {
    return false;
  }
  switch (gradient.scalar_type()) {
    case ScalarType::Half: return launch_as<__half>(op, problem, gradient);
    case ScalarType::BFloat16: return launch_as<__nv_bfloat16>(op, problem, gradient);
    default: return launch_as<float>(op, problem, gradient);
  }
}

void sum_conv1d_weight_gradient_shares(const char* op, const Conv1dWeightGradientProblem& problem,
                                       const Tensor& shares, bool taps_first,
                                       const Tensor& gradient) {
  switch (gradient.scalar_type()) {
    case ScalarType::Half:
      return sum_weight_gradient_shares_as<__half>(op, problem, shares, taps_first, gradient);
    case ScalarType::BFloat16:
      return sum_weight_gradient_shares_as<__nv_bfloat16>(op, problem, shares, taps_first,
                                                          gradient);
    default: return sum_weight_gradient_shares_as<float>(op, problem, shares, taps_first, gradient);
  }
}

}  // namespace kernelopt
