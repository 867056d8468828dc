#include "common/device.h"
#include "common/dtype.cuh"
#include "common/grid_dependency.cuh"
#include "elementwise/elementwise.h"
#include "elementwise/sum_to_size_kernel.cuh"
#include "elementwise/sum_to_size_plan.h"

#include <limits>

namespace kernelopt {
namespace {

/// When a sum may begin: after all kernels in front; with the last one, whose result it reads; or
/// with the last one, which does not touch the source.
enum class SumOrder { kAfterAll, kBehind, kBeside };

template <typename Source, typename Result, int kVec>
cudaError_t launch_vectors(const SumLaunch& launch, const Source* source, Result* result,
                           AccumulateType<Source> scale, const Reduction& reduction, SumOrder order,
                           cudaStream_t stream) {
  using A = AccumulateType<Source>;
  const dim3 grid(static_cast<unsigned>(launch.blocks), static_cast<unsigned>(launch.shares));
  const bool dependent = order != SumOrder::kAfterAll;
  const bool source_ready = order == SumOrder::kBeside;
  return launch.rows
             ? launch_kernel(dependent, sum_rows_kernel<Source, Result, A, kVec>, grid,
                             SumPolicy::kThreads, 0, stream, source, result, scale, reduction.kept,
                             reduction.reduced, launch.run_items, launch.items, source_ready)
             : launch_kernel(dependent, sum_columns_kernel<Source, Result, A, kVec>, grid,
                             SumPolicy::kThreads, 0, stream, source, result, scale, reduction.kept,
                             reduction.reduced, launch.lanes, source_ready);
}

template <typename Source, typename Result>
void launch_sum(const char* op, const SumLaunch& launch, const Source* source, Result* result,
                double scale, const Reduction& reduction, SumOrder order, cudaStream_t stream) {
  using A = AccumulateType<Source>;
  constexpr int kVec = kVecBytes / sizeof(Source);
  KERNELOPT_CHECK(launch.blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 sums, got ", reduction.kept.numel);
  const auto launch_sums =
      launch.vec == 1 ? launch_vectors<Source, Result, 1> : launch_vectors<Source, Result, kVec>;
  KERNELOPT_CUDA_CHECK(
      op, launch_sums(launch, source, result, static_cast<A>(scale), reduction, order, stream));
}

Tensor sum_to_size(const char* op, const Tensor& source, IntList sizes, double scale,
                   SumOrder order) {
  Tensor output = empty_contiguous(op, sizes, source.scalar_type(), source);
  if (output.numel() == 0) {
    return output;
  }
  const torch::stable::accelerator::DeviceGuard guard(source.get_device_index());
  const cudaStream_t stream = current_stream(source);
  const Reduction reduction = plan_reduction(source, sizes);
  const int multiprocessors = multiprocessor_count(source.get_device_index());
  const SumLaunch first = plan_sum(source.const_data_ptr(), element_size(source.scalar_type()),
                                   reduction, reduced_is_innermost(reduction), multiprocessors);
  dispatch_floating_cuda(op, source.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = AccumulateType<T>;
    if (first.shares == 1) {
      launch_sum(op, first, const_data<T>(source), mutable_data<T>(output), scale, reduction, order,
                 stream);
      return;
    }
    const int64_t kept = reduction.kept.numel;
    const ScalarType wide = std::is_same_v<A, double> ? ScalarType::Double : ScalarType::Float;
    const Tensor partial =
        empty_contiguous(op, std::vector<int64_t>{first.shares, kept}, wide, source);
    launch_sum(op, first, const_data<T>(source), mutable_data<A>(partial), 1.0, reduction, order,
               stream);
    const Reduction second = plan_reduction(partial, std::vector<int64_t>{kept});
    SumLaunch last = plan_sum(partial.const_data_ptr(), sizeof(A), second, false, multiprocessors);
    last.shares = 1;
    launch_sum(op, last, const_data<A>(partial), mutable_data<T>(output), scale, second,
               SumOrder::kBehind, stream);
  });
  return output;
}

}  // namespace

Tensor sum_to_size_cuda(const char* op, const Tensor& source, IntList sizes, double scale) {
  return sum_to_size(op, source, sizes, scale, SumOrder::kAfterAll);
}

Tensor sum_to_size_beside_cuda(const char* op, const Tensor& source, IntList sizes, double scale) {
  return sum_to_size(op, source, sizes, scale, SumOrder::kBeside);
}

}  // namespace kernelopt
