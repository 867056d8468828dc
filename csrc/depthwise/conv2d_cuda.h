// What the CUDA entries of the 2-D convolution families share.
#pragma once

#include "elementwise/elementwise.h"

#include <optional>

namespace kernelopt {

/// The tensor in one of the two formats the kernels take; a copy of our own where it is in neither.
inline Tensor in_format(const char* op, const Tensor& tensor, bool channels_last) {
  return channels_last ? channels_last_cuda(op, tensor) : contiguous_cuda(op, tensor);
}

inline std::optional<Tensor> contiguous_bias(const char* op, const std::optional<Tensor>& bias) {
  return bias.has_value() ? std::optional<Tensor>(contiguous_cuda(op, *bias)) : std::nullopt;
}

template <typename T>
const T* data_or_null(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? static_cast<const T*>(tensor->const_data_ptr()) : nullptr;
}

/// What stands for a gradient nobody asked for.
inline Tensor no_gradient(const char* op, const Tensor& like) {
  return empty_contiguous(op, std::vector<int64_t>{0}, like.scalar_type(), like);
}

/// The sum of grad_z [N, C, H, W] over all but the channels, where it is wanted.
inline Tensor bias_gradient(const char* op, const Tensor& grad_z, bool wanted) {
  if (!wanted) {
    return no_gradient(op, grad_z);
  }
  const int64_t channels = grad_z.size(1);
  const Tensor sums = sum_to_size_cuda(op, grad_z, std::vector<int64_t>{1, channels, 1, 1}, 1.0);
  return torch::stable::view(sums, std::vector<int64_t>{channels});
}

}  // namespace kernelopt
