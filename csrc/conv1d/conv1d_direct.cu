#include "common/device.h"
#include "common/dtype.cuh"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_direct_kernel.cuh"

#include <limits>

namespace kernelopt {

unsigned grid_size(const char* op, int64_t blocks) {
  KERNELOPT_CHECK(blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 blocks, got ", blocks);
  return static_cast<unsigned>(blocks);
}

void launch_conv1d_direct(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
                          const Tensor& like) {
  constexpr int kThreads = Conv1dDirectPolicy::kThreads;
  constexpr int kItems = Conv1dDirectPolicy::kItems;
  // As many lanes as a short row has use for, the rest of a block for more rows.
  int lanes_log2 = 0;
  while ((1 << lanes_log2) < kThreads && (int64_t{kItems} << lanes_log2) < phases.outputs) {
    ++lanes_log2;
  }
  const int64_t rows = problem.batch * problem.groups * problem.out_channels;
  const int64_t position_tiles = (phases.outputs - 1) / (int64_t{kItems} << lanes_log2) + 1;
  const int64_t row_blocks = (rows - 1) / (kThreads >> lanes_log2) + 1;
  int64_t blocks = checked_mul(op, "the number of blocks", phases.count, position_tiles);
  blocks = checked_mul(op, "the number of blocks", blocks, row_blocks);
  const unsigned size = grid_size(op, blocks);
  const Conv1dDirectGrid grid{static_cast<uint32_t>(phases.count),
                              static_cast<uint32_t>(position_tiles), lanes_log2};
  const bool small = fits_32_bits(problem) && rows <= std::numeric_limits<int32_t>::max();
  const cudaStream_t stream = current_stream(like);
  dispatch_floating_cuda(op, like.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto kernel = small ? conv1d_direct_kernel<T, int32_t> : conv1d_direct_kernel<T, int64_t>;
    kernel<<<size, kThreads, 0, stream>>>(problem, phases, grid);
  });
  KERNELOPT_CHECK_LAUNCH(op);
}

void launch_conv1d_fill(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  constexpr int kThreads = Conv1dDirectPolicy::kThreads;
  const int64_t outputs =
      problem.batch * problem.groups * problem.out_channels * problem.out_length;
  const unsigned size = grid_size(op, (outputs - 1) / kThreads + 1);
  const cudaStream_t stream = current_stream(like);
  dispatch_floating_cuda(op, like.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    conv1d_fill_kernel<T><<<size, kThreads, 0, stream>>>(problem);
  });
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace kernelopt
