// Making tensors and asking about their memory.
#pragma once

#include "common/torch_api.h"

#include <vector>

namespace kernelopt {

/// Bytes of one element of a floating dtype.
int64_t element_size(ScalarType dtype);

/// Bytes of a tensor of these sizes; raises where the number does not fit 64 bits.
int64_t checked_bytes(const char* op, IntList sizes, ScalarType dtype);

/// An uninitialized tensor on the device of `like`. A failed allocation throws a message that
/// begins with "CUDA out of memory" (or "CPU out of memory"), which Python turns into
/// torch.OutOfMemoryError.
Tensor empty_strided(const char* op, IntList sizes, IntList strides, ScalarType dtype,
                     const Tensor& like);

/// The same, contiguous.
Tensor empty_contiguous(const char* op, IntList sizes, ScalarType dtype, const Tensor& like);

/// The same, 4-D [N, C, H, W] with strides of torch.channels_last.
Tensor empty_channels_last(const char* op, IntList sizes, ScalarType dtype, const Tensor& like);

/// Contiguous strides of a shape.
std::vector<int64_t> contiguous_strides(IntList sizes);

/// 4-D and dense in torch.channels_last order, but not in the contiguous one.
/// The rule of every op for its output's format: channels_last in, channels_last out.
bool is_channels_last(const Tensor& tensor);

/// Strides of a result of shape `sizes` in the format of `input`: torch.channels_last where
/// is_channels_last(input), else contiguous.
std::vector<int64_t> strides_in_format_of(const Tensor& input, IntList sizes);

/// An uninitialized tensor with those strides, in the dtype and on the device of `input`.
Tensor empty_in_format_of(const char* op, const Tensor& input, IntList sizes);

/// Has exactly the strides of contiguous_strides(sizes); is_contiguous() overlooks those of
/// dimensions of size 1, which the fake functions foretell as well.
bool has_contiguous_strides(const Tensor& tensor);

/// A tensor's elements for reading and for writing.
template <typename T>
const T* const_data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <typename T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

}  // namespace kernelopt
