#include "common/device.h"
#include "common/dtype.cuh"
#include "elementwise/elementwise.h"
#include "elementwise/sum_to_size_kernel.cuh"

#include <algorithm>
#include <limits>

namespace kernelopt {
namespace {

/// Whether memory runs along the reduced dimensions first.
bool reduced_is_innermost(const Reduction& reduction) {
  if (reduction.kept.dims == 0 || reduction.reduced.dims == 0) {
    return reduction.kept.dims == 0;
  }
  return reduction.reduced.strides[0][0] < reduction.kept.strides[0][0];
}

/// Whether the reduced elements of every kept one are whole, aligned vectors of kVec.
template <int kVec, typename Source>
bool reduced_is_vectors(const Source* source, const Reduction& reduction) {
  const Iteration<1>&kept = reduction.kept, &reduced = reduction.reduced;
  if (reduced.dims == 0 || reduced.strides[0][0] != 1 || reduced.sizes[0] % kVec != 0 ||
      reinterpret_cast<uintptr_t>(source) % (kVec * sizeof(Source)) != 0) {
    return false;
  }
  const auto outer_is_aligned = [](const Iteration<1>& space, int first_dim) {
    for (int dim = first_dim; dim < space.dims; ++dim) {
      if (space.strides[0][dim] % kVec != 0) {
        return false;
      }
    }
    return true;
  };
  return outer_is_aligned(kept, 0) && outer_is_aligned(reduced, 1);
}

template <typename Source, typename Result>
void launch_sum(const char* op, const Source* source, Result* result, double scale,
                const Reduction& reduction, bool rows, int64_t shares, cudaStream_t stream) {
  using A = AccumulateType<Source>;
  constexpr int kThreads = SumPolicy::kThreads;
  constexpr int kVec = kVecBytes / sizeof(Source);
  const int64_t kept = reduction.kept.numel;
  const int64_t blocks = rows ? kept : (kept + kThreads - 1) / kThreads;
  KERNELOPT_CHECK(blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 sums, got ", kept);
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(shares));
  const A factor = static_cast<A>(scale);
  if (!rows) {
    sum_columns_kernel<Source, Result, A>
        <<<grid, kThreads, 0, stream>>>(source, result, factor, reduction.kept, reduction.reduced);
  } else if (reduced_is_vectors<kVec>(source, reduction)) {
    Iteration<1> vectors = reduction.reduced;
    vectors.numel /= kVec;
    vectors.sizes[0] /= kVec;
    vectors.strides[0][0] = kVec;
    sum_rows_kernel<Source, Result, A, kVec>
        <<<grid, kThreads, 0, stream>>>(source, result, factor, reduction.kept, vectors);
  } else {
    sum_rows_kernel<Source, Result, A, 1>
        <<<grid, kThreads, 0, stream>>>(source, result, factor, reduction.kept, reduction.reduced);
  }
  KERNELOPT_CHECK_LAUNCH(op);
}

/// Shares of the reduced range: enough blocks to fill the device, none with too little to do.
int64_t choose_shares(const Reduction& reduction, bool rows, int device_index) {
  constexpr int64_t kMaxShares = 65535;  // gridDim.y
  const int64_t kept = std::max<int64_t>(1, reduction.kept.numel);
  const int64_t columns = rows ? 1 : SumPolicy::kThreads;
  const int64_t blocks = (kept + columns - 1) / columns;
  const int64_t wanted =
      int64_t{multiprocessor_count(device_index)} * SumPolicy::kBlocksPerMultiprocessor;
  const int64_t useful = reduction.reduced.numel * columns / SumPolicy::kMinItemsPerBlock;
  return std::clamp<int64_t>(std::min((wanted + blocks - 1) / blocks, useful), 1, kMaxShares);
}

}  // namespace

Tensor sum_to_size_cuda(const char* op, const Tensor& source, IntList sizes, double scale) {
  Tensor output = empty_contiguous(op, sizes, source.scalar_type(), source);
  if (output.numel() == 0) {
    return output;
  }
  const torch::stable::accelerator::DeviceGuard guard(source.get_device_index());
  const cudaStream_t stream = current_stream(source);
  const Reduction reduction = plan_reduction(source, sizes);
  const bool rows = reduced_is_innermost(reduction);
  const int64_t shares = choose_shares(reduction, rows, source.get_device_index());
  dispatch_floating_cuda(op, source.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = AccumulateType<T>;
    if (shares == 1) {
      launch_sum(op, const_data<T>(source), mutable_data<T>(output), scale, reduction, rows, shares,
                 stream);
      return;
    }
    const int64_t kept = reduction.kept.numel;
    const ScalarType wide = std::is_same_v<A, double> ? ScalarType::Double : ScalarType::Float;
    const Tensor partial = empty_contiguous(op, std::vector<int64_t>{shares, kept}, wide, source);
    launch_sum(op, const_data<T>(source), mutable_data<A>(partial), 1.0, reduction, rows, shares,
               stream);
    const Reduction second = plan_reduction(partial, std::vector<int64_t>{kept});
    launch_sum(op, const_data<A>(partial), mutable_data<T>(output), scale, second, false, 1,
               stream);
  });
  return output;
}

}  // namespace kernelopt
