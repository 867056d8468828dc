#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_tensor_cores.h"
#include "conv1d/conv1d_wgmma_launch.cuh"

namespace kernelopt {

namespace {

int64_t min_out_channels(const Conv1dProblem& problem, const Conv1dPhases& phases) {
  using Limits = CorrelationLimits;
  const int64_t taps = (problem.kernel_size - 1) / phases.tap_step + 1;
  return problem.in_channels >= Limits::kMinFewOutputsChannels &&
                 phases.count <= Limits::kMaxFewOutputsPhases &&
                 problem.in_channels * taps >= Limits::kMinFewOutputsReduction
             ? 1
             : Limits::kMinChannels;
}

}  // namespace

bool launch_conv1d_wgmma(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
                         const Tensor& like) {
  return has_wgmma(like.get_device_index()) && problem.output_strides.length == 1 &&
         tensor_cores_serve(problem, phases, like, min_out_channels(problem, phases)) &&
         dispatch_tensor_core_type(like.scalar_type(), [&](auto operand) {
           return launch_conv1d_wgmma_as<decltype(operand)>(op, problem, like);
         });
}

}  // namespace kernelopt
