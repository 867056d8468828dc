#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_banded_plan.h"
#include "depthwise/depthwise_direct_kernel.cuh"
#include "depthwise/depthwise_launch.h"

#include <limits>

namespace kernelopt {

unsigned grid_size(const char* op, int64_t items, int64_t items_per_block) {
  const int64_t blocks = (items + items_per_block - 1) / items_per_block;
  KERNELOPT_CHECK(blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 blocks, got ", blocks);
  return static_cast<unsigned>(blocks);
}

namespace {

template <typename T, typename Index>
void launch_direct(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
                   Activation activation, int64_t strips, int64_t items, int vec,
                   cudaStream_t stream) {
  constexpr int kThreads = DepthwisePolicy::kThreads;
  constexpr int kVec = kVecBytes / sizeof(T);
  const auto kernel = !operands.channels_last ? depthwise_direct_kernel<T, Index>
                      : vec == kVec           ? depthwise_channels_last_kernel<T, kVec, Index>
                                              : depthwise_channels_last_kernel<T, 1, Index>;
  kernel<<<grid_size(op, items, kThreads), kThreads, 0, stream>>>(
      params, const_data<T>(operands.source), const_data<T>(operands.weight),
      data_or_null<T>(operands.bias), mutable_data<T>(operands.result), activation,
      static_cast<Index>(strips), static_cast<Index>(items));
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace

void launch_depthwise_correlation(const char* op, const DepthwiseParams& params,
                                  const DepthwiseOperands& operands, Activation activation,
                                  cudaStream_t stream) {
  const auto launch_sliding =
      operands.channels_last ? launch_depthwise_channels_last_sliding : launch_depthwise_sliding;
  const auto launch_banded =
      operands.channels_last ? launch_depthwise_banded_channels_last : launch_depthwise_banded;
  const bool banded_first =
      !operands.channels_last &&
      has_results_for_even_slides(params,
                                  static_cast<int>(element_size(operands.source.scalar_type())));
  const auto launch_first = banded_first ? launch_banded : launch_depthwise_small;
  const auto launch_second = banded_first ? launch_depthwise_small : launch_banded;
  for (const auto launch : {launch_first, launch_second, launch_sliding, launch_depthwise_rows,
                            launch_depthwise_tile}) {
    if (launch(op, params, operands, activation, stream)) {
      return;
    }
  }
  const Tensor filter = depthwise_kernel_weight(op, operands.weight, operands.channels_last);
  const DepthwiseOperands reordered{operands.source, filter, operands.bias, operands.result,
                                    operands.channels_last};
  constexpr int kItems = DepthwisePolicy::kDirectItems;
  dispatch_floating_cuda(op, operands.source.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int vec = operands.channels_last ? channel_vector_size<T>(params, reordered) : 1;
    const int64_t strip_axis = operands.channels_last ? params.w.result_size : params.h.result_size;
    const int64_t line_axis = operands.channels_last ? params.h.result_size : params.w.result_size;
    const int64_t strips = (strip_axis + kItems - 1) / kItems;
    const int64_t items = params.batch * (params.result_channels / vec) * strips * line_axis;
    if (fits_32bit(params, items, kItems)) {
      launch_direct<T, int32_t>(op, params, reordered, activation, strips, items, vec, stream);
    } else {
      launch_direct<T, int64_t>(op, params, reordered, activation, strips, items, vec, stream);
    }
  });
}

}  // namespace kernelopt
