// The pointwise product of few pixels, on the host side.
#pragma once

#include "common/math.h"
#include "common/tensor.h"

#include <optional>

namespace kernelopt {

/// Whether multiply_few_pixels() is worth having for `images` images of `pixels` pixels, `n`
/// channels of the result and `k` of the sum, in the dtype of `like`.
/// @param channels_last  images and result are
bool few_pixels_serve(int64_t images, int64_t pixels, int64_t n, int64_t k, bool channels_last,
                      Precision precision, const Tensor& like);

/// The same of contiguous planes that do not begin on 16 bytes, before other kernels of these.
bool short_sums_serve(int64_t images, int64_t pixels, int64_t n, int64_t k, Precision precision,
                      const Tensor& like);

/// result = act(bias + images * weight) at every pixel, where one of these serves. The formats of
/// images and result may differ; weight and bias are contiguous.
/// @param weight  [C_out, C_in, 1, 1]; where `transposed`, the images have C_out channels
void multiply_few_pixels(const char* op, const Tensor& images, const Tensor& weight,
                         bool transposed, const std::optional<Tensor>& bias, Activation activation,
                         bool channels_last, const Tensor& result);

}  // namespace kernelopt
