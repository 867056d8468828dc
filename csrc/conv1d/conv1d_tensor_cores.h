// What the tensor-core kernels have in common on the host.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_mma_policy.h"
#include "conv1d/conv1d_policy.h"

namespace kernelopt {

/// Whether the tensor cores can compute with a dtype: 16-bit operands, or fp32 that need not be
/// IEEE.
inline bool tensor_cores_take(ScalarType dtype, Precision precision) {
  return dtype != ScalarType::Double &&
         (dtype != ScalarType::Float || precision != Precision::kIeee);
}

/// What the tensor cores are worth having for: their operands; rows that run along the length;
/// channels that fill at least half of a 16 x 16 fragment.
/// @param min_out_channels  of a group
inline bool tensor_cores_serve(const Conv1dProblem& problem, const Conv1dPhases& phases,
                               const Tensor& like,
                               int64_t min_out_channels = CorrelationLimits::kMinChannels) {
  const int64_t taps = (problem.kernel_size - 1) / phases.tap_step + 1;  // of a phase, at most
  const double products = static_cast<double>(problem.batch) * problem.groups *
                          problem.out_channels * problem.in_channels * phases.count *
                          phases.outputs * taps;
  const bool enough = products >= CorrelationLimits::kMinProducts ||
                      (has_wgmma(like.get_device_index()) &&
                       problem.in_channels * taps >= CorrelationLimits::kMinHopperReduction);
  return tensor_cores_take(like.scalar_type(), problem.precision) && enough &&
         compute_capability(like.get_device_index()) >= 80 && problem.input_strides.length == 1 &&
         fits_32_bits(problem) && problem.batch <= CorrelationLimits::kMaxBatch &&
         problem.in_channels >= CorrelationLimits::kMinChannels &&
         problem.out_channels >= min_out_channels && phases.count <= CorrelationLimits::kMaxPhases;
}

/// Calls `function(T{})` with the operand type of a dtype that tensor_cores_serve() admits.
template <typename Function>
bool dispatch_tensor_core_type(ScalarType dtype, Function&& function) {
  switch (dtype) {
    case ScalarType::Half: return function(__half{});
    case ScalarType::BFloat16: return function(__nv_bfloat16{});
    default: return function(float{});
  }
}

}  // namespace kernelopt
