// The pointwise product on Hopper's tensor cores, on the host side.
#pragma once

#include "common/math.h"
#include "common/tensor.h"

#include <optional>

namespace kernelopt {

/// Whether the tensor cores are worth having for `m` pixels, `n` channels of the result and `k` of
/// the sum, in the dtype of `like`.
bool channel_gemm_wgmma_serves(int64_t m, int64_t n, int64_t k, Precision precision,
                               const Tensor& like);

/// result = act(bias + images * weight) at every pixel, where the tensor cores serve it; whether
/// they did. Images and result are channels_last, weight and bias contiguous.
/// @param weight  [C_out, C_in, 1, 1]; where `transposed`, the images have C_out channels
bool multiply_pixel_rows(const char* op, const Tensor& images, const Tensor& weight,
                         bool transposed, const std::optional<Tensor>& bias, Activation activation,
                         Precision precision, const Tensor& result);

/// Whether multiply_images() is worth having, for images of `pixels` pixels each.
bool channel_images_serve(int64_t batch, int64_t pixels, int64_t n, int64_t k, Precision precision,
                          const Tensor& like);

/// The same as multiply_pixel_rows() of small contiguous images, for which channel_images_serve(),
/// and a contiguous result.
bool multiply_images(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
                     const std::optional<Tensor>& bias, Activation activation,
                     const Tensor& result);

/// Whether multiply_in_clusters() is worth having, for images of `pixels` pixels each: for its long
/// sums, before other kernels, or for few tiles, after them.
bool channel_long_sums_serve(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                             Precision precision, const Tensor& like);
bool channel_clusters_serve(int64_t batch, int64_t pixels, int64_t n, int64_t k,
                            Precision precision, const Tensor& like);

/// The same of contiguous images, for which one of these, and a contiguous result.
bool multiply_in_clusters(const char* op, const Tensor& images, const Tensor& weight,
                          bool transposed, const std::optional<Tensor>& bias, Activation activation,
                          const Tensor& result);

/// The same of contiguous images and a contiguous result, whose planes begin on 16 bytes.
bool multiply_planes(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
                     const std::optional<Tensor>& bias, Activation activation, Precision precision,
                     const Tensor& result);

}  // namespace kernelopt
