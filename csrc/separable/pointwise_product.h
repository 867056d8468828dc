// The pointwise product and the ways it is computed in, on the host side.
#pragma once

#include "conv1d/conv1d_problem.h"
#include "common/tensor.h"

#include <optional>

namespace kernelopt {

/// The product with contiguous pixels as a one-dimensional convolution over the pixels of an image:
/// of the input, or of the output's gradient where `transposed`. Pointers are left null.
Conv1dProblem problem_of_images(int64_t batch, int64_t plane, const Tensor& weight, bool transposed,
                                Activation activation, Precision precision);

/// Whether images are multiplied as rows of pixels: they are such, or are changed to it.
bool as_pixel_rows(const Tensor& images, int64_t n, int64_t k, Precision precision,
                   bool channels_last);

/// Whether contiguous images are multiplied as they are by a kernel of long sums, or of small
/// images.
bool as_small_images(int64_t batch, int64_t plane, int64_t n, int64_t k, Precision precision,
                     const Tensor& like);

/// result = act(bias + images * weight). Weight and bias are contiguous.
/// @param transposed     the images are the output's gradient, the result is the input's
/// @param channels_last  the result's format; dense images may be in the other one
void multiply_pixels(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
                     const std::optional<Tensor>& bias, Activation activation, Precision precision,
                     bool channels_last, const Tensor& result);

/// Computes a one-dimensional convolution with one tap as a pointwise one of images of one row,
/// where the kernels of these are the faster ones; whether it did. The problem's memory need not be
/// named.
bool multiply_rows_of_one_tap(const char* op, const Conv1dProblem& problem, const Tensor& input,
                              const Tensor& weight, const std::optional<Tensor>& bias,
                              const Tensor& output);

}  // namespace kernelopt
