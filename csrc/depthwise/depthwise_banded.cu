#include "depthwise/depthwise_banded_launch.cuh"
#include "depthwise/depthwise_shapes.h"

namespace kernelopt {

bool is_banded(const DepthwiseParams& params, const DepthwiseOperands& operands) {
  const ScalarType dtype = operands.source.scalar_type();
  const bool slides = dispatch_shape(SlidingShapes{}, params.h.kernel_size, params.w.kernel_size, 1,
                                     1, [](auto) {});
  return dtype != ScalarType::Double &&
         (dtype != ScalarType::Float || operands.precision != Precision::kIeee) &&
         compute_capability(operands.source.get_device_index()) >= 80 && params.filters == 1 &&
         params.h.stride == 1 && params.w.stride == 1 && params.h.dilation == 1 &&
         params.w.dilation == 1 &&
         fits_32bit(params, params.batch * params.result_channels, kSlidingSlack) &&
         banded_pays(params, static_cast<int>(element_size(dtype)),
                     !operands.channels_last && slides_evenly(params), slides);
}

bool launch_depthwise_banded_columns(const char* op, const DepthwiseParams& params,
                                     const DepthwiseColumns& columns, ScalarType dtype,
                                     int multiprocessors, Activation activation,
                                     cudaStream_t stream) {
  // Of few planes as well: 1x128x74x74 -> 256 of a separable convolution 9.9 us on an H100, 9.6 by
  // the other kernel.
  const int64_t planes = params.batch * params.result_channels;
  if (!slides_evenly(params) || params.w.result_size < DepthwiseBandedPolicy::kMinColumns ||
      planes * params.h.result_size * params.w.result_size <
          DepthwiseBandedPolicy::min_even_results(2, kMaxIndex32) ||
      !fits_32bit(params, params.batch * params.result_channels, kSlidingSlack)) {
    return false;
  }
  const auto launch = dtype == ScalarType::Half ? launch_depthwise_banded_columns_as<__half>
                                                : launch_depthwise_banded_columns_as<__nv_bfloat16>;
  return launch(op, params, columns, multiprocessors, activation, stream);
}

bool launch_depthwise_banded(const char* op, const DepthwiseParams& params,
                             const DepthwiseOperands& operands, Activation activation,
                             cudaStream_t stream) {
  if (!is_banded(params, operands)) {
    return false;
  }
  return dispatch_up_to_32bit(operands.source.scalar_type(), [&](auto tag) {
    return launch_depthwise_banded_as<typename decltype(tag)::type>(op, params, operands,
                                                                    activation, stream);
  });
}

}  // namespace kernelopt
