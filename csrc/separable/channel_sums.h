// The pointwise product with few channels of the result, on the host side.
#pragma once

#include "common/math.h"
#include "common/tensor.h"

#include <optional>

namespace kernelopt {

/// Whether sum_channels() is worth having for images of `pixels` pixels and `n` channels of the
/// result, in the dtype of `like`.
bool channel_sums_serve(int64_t pixels, int64_t n, const Tensor& like);

/// result = act(bias + images * weight) at every pixel, where channel_sums_serve(). Images and
/// result are contiguous, weight and bias too.
/// @param weight  [C_out, C_in, 1, 1]; where `transposed`, the images have C_out channels
void sum_channels(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
                  const std::optional<Tensor>& bias, Activation activation, const Tensor& result);

}  // namespace kernelopt
