#include "common/tensor.h"

#include "common/check.h"

#include <algorithm>

namespace kernelopt {

int64_t element_size(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Double: return 8;
    case ScalarType::Float: return 4;
    default: return 2;
  }
}

int64_t checked_bytes(const char* op, IntList sizes, ScalarType dtype) {
  int64_t bytes = element_size(dtype);
  for (const int64_t size : sizes) {
    bytes = checked_mul(op, "the output's size in bytes", bytes, size);
  }
  return bytes;
}

Tensor empty_strided(const char* op, IntList sizes, IntList strides, ScalarType dtype,
                     const Tensor& like) {
  const int64_t bytes = checked_bytes(op, sizes, dtype);
  int32_t device_type = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  AtenTensorHandle handle = nullptr;
  const AOTITorchError error = aoti_torch_empty_strided(
      static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(),
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype)), device_type,
      like.get_device_index(), &handle);
  if (error != TORCH_SUCCESS) {
    throw std::runtime_error(std::string(like.is_cuda() ? "CUDA" : "CPU") +
                             " out of memory. kernelopt::" + op + " tried to allocate " +
                             std::to_string(bytes) + " bytes for a tensor of shape " +
                             format_list(sizes));
  }
  return Tensor(handle);
}

std::vector<int64_t> contiguous_strides(IntList sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t dim = sizes.size(); dim-- > 0;) {
    strides[dim] = stride;
    stride *= sizes[dim] > 1 ? sizes[dim] : 1;
  }
  return strides;
}

namespace {

std::vector<int64_t> channels_last_strides(IntList sizes) {
  const int64_t channels = sizes[1], height = sizes[2], width = sizes[3];
  return {height * width * channels, 1, width * channels, channels};
}

}  // namespace

bool has_contiguous_strides(const Tensor& tensor) {
  const std::vector<int64_t> expected = contiguous_strides(tensor.sizes());
  return std::equal(expected.begin(), expected.end(), tensor.strides().begin());
}

Tensor empty_contiguous(const char* op, IntList sizes, ScalarType dtype, const Tensor& like) {
  return empty_strided(op, sizes, contiguous_strides(sizes), dtype, like);
}

Tensor empty_channels_last(const char* op, IntList sizes, ScalarType dtype, const Tensor& like) {
  return empty_strided(op, sizes, channels_last_strides(sizes), dtype, like);
}

bool is_channels_last(const Tensor& tensor) {
  if (tensor.dim() != 4 || tensor.is_contiguous()) {
    return false;
  }
  int64_t expected = 1;
  for (const int64_t dim : {1, 3, 2, 0}) {
    if (tensor.size(dim) != 1 && tensor.stride(dim) != expected) {
      return false;
    }
    expected *= tensor.size(dim);
  }
  return true;
}

std::vector<int64_t> strides_in_format_of(const Tensor& input, IntList sizes) {
  return is_channels_last(input) ? channels_last_strides(sizes) : contiguous_strides(sizes);
}

Tensor empty_in_format_of(const char* op, const Tensor& input, IntList sizes) {
  return empty_strided(op, sizes, strides_in_format_of(input, sizes), input.scalar_type(), input);
}

}  // namespace kernelopt
