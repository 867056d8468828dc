#include "common/device.h"
#include "common/dtype.cuh"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_phases_kernel.cuh"

#include <algorithm>

namespace kernelopt {
namespace {

template <typename T>
void launch(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  using Policy = Conv1dPhasesPolicy;
  const int phases = conv1d_phases_together(problem);
  const int64_t positions = (problem.out_length + problem.padding - 1) / problem.stride + 1;
  const int threads =
      static_cast<int>(std::min<int64_t>(Policy::kThreads, (positions + 31) / 32 * 32));
  const int64_t tiles = (positions - 1) / threads + 1;
  const int64_t phase_groups = (problem.stride - 1) / phases + 1;
  const int64_t rows = problem.batch * problem.groups * problem.out_channels;
  const unsigned blocks =
      grid_size(op, checked_mul(op, "the number of blocks", rows, phase_groups * tiles));
  const Conv1dPhasesGrid grid{static_cast<uint32_t>(phase_groups), static_cast<uint32_t>(tiles),
                              static_cast<int>(conv1d_taps_of_phases(problem))};
  const int shared_bytes = static_cast<int>(conv1d_phases_shared_bytes(problem));
  const auto kernel = phases == 2   ? conv1d_phases_kernel<T, 2>
                      : phases == 4 ? conv1d_phases_kernel<T, 4>
                                    : conv1d_phases_kernel<T, 8>;
  kernel<<<blocks, threads, shared_bytes, current_stream(like)>>>(problem, grid);
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace

bool launch_conv1d_phases(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  if (!phases_serve(problem)) {
    return false;
  }
  switch (like.scalar_type()) {
    case ScalarType::Float: launch<float>(op, problem, like); return true;
    case ScalarType::Half: launch<__half>(op, problem, like); return true;
    case ScalarType::BFloat16: launch<__nv_bfloat16>(op, problem, like); return true;
    default: return false;
  }
}

}  // namespace kernelopt
