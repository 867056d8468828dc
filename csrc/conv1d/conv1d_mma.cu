#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_mma_launch.cuh"
#include "conv1d/conv1d_tensor_cores.h"

namespace kernelopt {

bool conv1d_on_tensor_cores(const Conv1dProblem& problem, const Tensor& like) {
  return tensor_cores_serve(problem, Conv1dPhases::of(problem), like);
}

bool launch_conv1d_mma(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
                       const Tensor& like) {
  return tensor_cores_serve(problem, phases, like) &&
         dispatch_tensor_core_type(like.scalar_type(), [&](auto operand) {
           return launch_conv1d_mma_as<decltype(operand)>(op, problem, phases, like);
         });
}

}  // namespace kernelopt
