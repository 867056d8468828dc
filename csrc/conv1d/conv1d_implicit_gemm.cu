#include "common/device.h"
#include "common/dtype.cuh"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_implicit_gemm_kernel.cuh"

namespace kernelopt {
namespace {

template <typename T, typename Tile>
void launch(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
            cudaStream_t stream) {
  const int64_t channel_tiles = (problem.out_channels - 1) / Tile::kTileM + 1;
  const int64_t position_tiles = (problem.batch * phases.outputs - 1) / Tile::kTileN + 1;
  int64_t blocks = checked_mul(op, "the number of blocks", channel_tiles, phases.count);
  blocks = checked_mul(op, "the number of blocks", blocks, position_tiles);
  blocks = checked_mul(op, "the number of blocks", blocks, problem.groups);
  const unsigned size = grid_size(op, blocks);
  const Conv1dGrid grid{static_cast<uint32_t>(channel_tiles), static_cast<uint32_t>(phases.count),
                        static_cast<uint32_t>(position_tiles)};
  conv1d_implicit_gemm_kernel<T, Tile><<<size, Tile::kThreads, 0, stream>>>(problem, phases, grid);
}

}  // namespace

void launch_conv1d_implicit_gemm(const char* op, const Conv1dProblem& problem,
                                 const Conv1dPhases& phases, bool flat, const Tensor& like) {
  const cudaStream_t stream = current_stream(like);
  dispatch_floating_cuda(op, like.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto launch_tile = flat ? launch<T, FlatTile> : launch<T, SquareTile>;
    launch_tile(op, problem, phases, stream);
  });
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace kernelopt
