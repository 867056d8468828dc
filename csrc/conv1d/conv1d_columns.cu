#include "conv1d/conv1d_columns_launch.cuh"
#include "conv1d/conv1d_columns_policy.h"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_tensor_cores.h"

namespace kernelopt {

namespace {

/// Whether the kernels that pack the input serve what they are the faster ones for.
bool others_pack(const Conv1dProblem& problem, const Tensor& like) {
  return has_wgmma(like.get_device_index()) && problem.input_strides.length == 1 &&
         problem.out_channels >= CorrelationLimits::kMinChannels;
}

}  // namespace

bool launch_conv1d_columns(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  const Conv1dColumnsForm form = conv1d_columns_form(problem);
  return form != Conv1dColumnsForm::kNone &&
         !(form == Conv1dColumnsForm::kPacked && others_pack(problem, like)) &&
         tensor_cores_take(like.scalar_type(), problem.precision) &&
         compute_capability(like.get_device_index()) >= 80 &&
         dispatch_tensor_core_type(like.scalar_type(), [&](auto operand) {
           launch_conv1d_columns_as<decltype(operand)>(op, problem,
                                                       form == Conv1dColumnsForm::kGathered, like);
           return true;
         });
}

}  // namespace kernelopt
