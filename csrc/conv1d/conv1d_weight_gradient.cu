#include "common/device.h"
#include "common/dtype.cuh"
#include "common/share_sum.cuh"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_weight_gradient_kernel.cuh"
#include "conv1d/conv1d_weight_gradient_mma.h"
#include "conv1d/conv1d_weight_gradient_mma_policy.h"
#include "conv1d/weight_gradient_unfold.cuh"
#include "separable/pointwise_weight_gradient.h"

namespace kernelopt {
namespace {

using Policy = Conv1dWeightGradientPolicy;

/// Blocks for the gradient's elements, and as many shares of the reduction as fill the device
/// without leaving a block too little to do.
struct Launch {
  WeightGradientGrid grid;
  int64_t shares;
  unsigned blocks;

  Launch(const char* op, const Conv1dWeightGradientProblem& problem, int64_t row_tiles,
         int64_t column_tiles, int64_t min_steps, int device_index) {
    int64_t tiles = checked_mul(op, "the number of blocks", row_tiles, column_tiles);
    tiles = checked_mul(op, "the number of blocks", tiles, problem.groups);
    const int64_t steps = problem.steps();
    const int64_t wanted =
        int64_t{multiprocessor_count(device_index)} * Policy::kBlocksPerMultiprocessor;
    const int64_t most =
        std::clamp<int64_t>(std::min((wanted - 1) / tiles + 1, steps / min_steps), 1, wanted);
    const int64_t steps_per_share = (steps - 1) / most + 1;
    shares = (steps - 1) / steps_per_share + 1;
    blocks = grid_size(op, checked_mul(op, "the number of blocks", tiles, shares));
    grid = {static_cast<uint32_t>(row_tiles), static_cast<uint32_t>(column_tiles),
            static_cast<uint32_t>(problem.groups), steps_per_share};
  }
};

/// Whether a problem is the weight gradient of a pointwise convolution over dense images.
bool is_pointwise(const Conv1dWeightGradientProblem& problem) {
  const auto is_dense = [&](const Strides1d& strides, int64_t channels) {
    return strides.length == 1 && strides.channel == problem.steady_length &&
           (problem.batch == 1 || strides.batch == channels * problem.steady_length);
  };
  return problem.kernel_size == 1 && problem.stride == 1 && problem.padding == 0 &&
         problem.groups == 1 && problem.steady_length == problem.shifted_length &&
         problem.steady_length > 1 && is_dense(problem.steady_strides, problem.steady_channels) &&
         is_dense(problem.shifted_strides, problem.shifted_channels);
}

bool launch_on_tensor_cores(const char* op, const Conv1dWeightGradientProblem& problem,
                            const Tensor& gradient) {
  return (is_pointwise(problem) && channel_gradient_serves(problem, gradient) &&
          channel_gradient(op, problem, gradient)) ||
         launch_conv1d_weight_gradient_mma(op, problem, gradient);
}

/// Whether taps as channels of their own are few beside the steady channels, and enough for the
/// tensor cores.
bool unfolds(const Conv1dWeightGradientProblem& problem, const Tensor& gradient) {
  Conv1dWeightGradientProblem unfolded = problem;
  unfolded.shifted_channels *= problem.kernel_size;
  unfolded.kernel_size = 1;
  return problem.kernel_size > 1 && problem.steps() >= WeightGradientLimits::kMinUnfoldedSteps &&
         unfolded.shifted_channels <= problem.steady_channels &&
         conv1d_weight_gradient_on_tensor_cores(unfolded, gradient);
}

}  // namespace

void conv1d_weight_gradient_cuda(const char* op, const Conv1dWeightGradientProblem& problem,
                                 const Tensor& gradient) {
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  if (launch_on_tensor_cores(op, problem, gradient)) {
    return;
  }
  if (unfolds(problem, gradient)) {
    bool launched = false;
    dispatch_floating_cuda(op, gradient.scalar_type(), [&](auto tag) {
      const UnfoldedTaps<typename decltype(tag)::type> taps(op, problem, gradient);
      launched = launch_on_tensor_cores(op, taps.problem, gradient);
    });
    if (launched) {
      return;
    }
  }
  const cudaStream_t stream = current_stream(gradient);
  const int64_t columns = problem.shifted_channels * problem.kernel_size;
  const bool small = fits_32_bits(problem);
  const bool gemm = small && problem.steady_channels >= Policy::kMinGemmChannels &&
                    columns >= Policy::kMinGemmColumns;
  const int64_t tap_tiles = (problem.kernel_size - 1) / Policy::kDirectTaps + 1;
  const Launch launch =
      gemm ? Launch(op, problem, (problem.steady_channels - 1) / Policy::Tile::kTileM + 1,
                    (columns - 1) / Policy::Tile::kTileN + 1, Policy::kMinStepsPerShare,
                    gradient.get_device_index())
           : Launch(op, problem, problem.steady_channels, problem.shifted_channels * tap_tiles,
                    Policy::kMinDirectStepsPerShare, gradient.get_device_index());
  const int threads = gemm ? Policy::Tile::kThreads : Policy::kDirectThreads;
  dispatch_floating_cuda(op, gradient.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = AccumulateType<T>;
    const auto kernel = gemm    ? conv1d_weight_gradient_gemm_kernel<T>
                        : small ? conv1d_weight_gradient_direct_kernel<T, int32_t>
                                : conv1d_weight_gradient_direct_kernel<T, int64_t>;
    // One share of a wide dtype is the gradient itself.
    const bool whole = launch.shares == 1 && std::is_same_v<T, A>;
    const Tensor partial =
        whole ? gradient : empty_shares<T>(op, launch.shares, problem.numel(), gradient);
    KERNELOPT_CUDA_CHECK(op, launch_kernel(problem.operands_ready, kernel, dim3(launch.blocks),
                                           static_cast<unsigned>(threads), 0, stream, problem,
                                           launch.grid, mutable_data<A>(partial)));
    if (!whole) {
      launch_share_sum<T>(op, partial, gradient, stream);
    }
  });
}

}  // namespace kernelopt
