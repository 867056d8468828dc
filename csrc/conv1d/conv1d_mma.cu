#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_mma_launch.cuh"
#include "conv1d/conv1d_policy.h"

namespace kernelopt {
namespace {

/// What the tensor cores are worth having for: 16-bit operands, or fp32 that need not be IEEE; rows
/// that run along the length; channels that fill at least half of a 16 x 16 fragment.
bool tensor_cores_serve(const Conv1dProblem& problem, const Conv1dPhases& phases,
                        const Tensor& like) {
  const ScalarType dtype = like.scalar_type();
  const int64_t taps = (problem.kernel_size - 1) / phases.tap_step + 1;  // of a phase, at most
  const bool precise = dtype == ScalarType::Double ||
                       (dtype == ScalarType::Float && problem.precision == Precision::kIeee);
  const double products = static_cast<double>(problem.batch) * problem.groups *
                          problem.out_channels * problem.in_channels * phases.count *
                          phases.outputs * taps;
  return !precise && products >= CorrelationLimits::kMinProducts &&
         compute_capability(like.get_device_index()) >= 80 && problem.input_strides.length == 1 &&
         fits_32_bits(problem) && problem.batch <= CorrelationLimits::kMaxBatch &&
         problem.in_channels >= CorrelationLimits::kMinChannels &&
         problem.out_channels >= CorrelationLimits::kMinChannels &&
         phases.count <= CorrelationLimits::kMaxPhases;
}

}  // namespace

bool launch_conv1d_mma(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
                       const Tensor& like) {
  if (!tensor_cores_serve(problem, phases, like)) {
    return false;
  }
  switch (like.scalar_type()) {
    case ScalarType::Half: return launch_conv1d_mma_as<__half>(op, problem, phases, like);
    case ScalarType::BFloat16:
      return launch_conv1d_mma_as<__nv_bfloat16>(op, problem, phases, like);
    default: return launch_conv1d_mma_as<float>(op, problem, phases, like);
  }
}

}  // namespace kernelopt
