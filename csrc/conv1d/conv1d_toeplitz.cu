#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_tensor_cores.h"
#include "conv1d/conv1d_toeplitz_launch.cuh"
#include "conv1d/conv1d_toeplitz_policy.h"

namespace kernelopt {

bool launch_conv1d_toeplitz(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  return tensor_cores_take(like.scalar_type(), problem.precision) &&
         compute_capability(like.get_device_index()) >= 80 && toeplitz_serves(problem) &&
         dispatch_tensor_core_type(like.scalar_type(), [&](auto operand) {
           return launch_conv1d_toeplitz_as<decltype(operand)>(op, problem, like);
         });
}

}  // namespace kernelopt
