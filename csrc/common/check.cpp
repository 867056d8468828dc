#include "common/check.h"

#include "common/tensor.h"

#include <algorithm>

namespace kernelopt {

std::string format_list(IntList values) {
  std::ostringstream text;
  text << "[";
  for (size_t i = 0; i < values.size(); ++i) {
    text << (i == 0 ? "" : ", ") << values[i];
  }
  text << "]";
  return text.str();
}

const char* dtype_name(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    default: return torch::headeronly::toString(dtype);
  }
}

namespace {

const char* device_name(const Tensor& tensor) {
  return tensor.is_cpu() ? "cpu" : tensor.is_cuda() ? "cuda" : "another device";
}

bool is_floating(ScalarType dtype) {
  return dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::Half ||
         dtype == ScalarType::BFloat16;
}

void check_inside_storage(const char* op, const char* name, const Tensor& tensor) {
  if (tensor.numel() == 0) {
    return;
  }
  const IntList sizes = tensor.sizes(), strides = tensor.strides();
  int64_t last = tensor.storage_offset();
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    const int64_t span = checked_mul(op, "a tensor's extent", sizes[dim] - 1, strides[dim]);
    last = checked_add(op, "a tensor's extent", last, span);
  }
  int64_t storage_bytes = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_storage_size(tensor.get(), &storage_bytes));
  const int64_t itemsize = element_size(tensor.scalar_type());
  KERNELOPT_CHECK(last < storage_bytes / itemsize, op, "expected ", name,
                  " to lie inside its storage, got sizes ", format_list(sizes), ", strides ",
                  format_list(strides), " and offset ", tensor.storage_offset(),
                  " over a storage of ", storage_bytes, " bytes");
}

}  // namespace

void check_tensor(const char* op, const char* name, const Tensor& tensor) {
  KERNELOPT_CHECK(tensor.defined(), op, "expected ", name, " to be a tensor, got an undefined one");
  KERNELOPT_CHECK(tensor.is_cpu() || tensor.is_cuda(), op, "expected ", name,
                  " to be on a cpu or cuda device, got ", device_name(tensor));
  int32_t layout = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_layout(tensor.get(), &layout));
  KERNELOPT_CHECK(layout == aoti_torch_layout_strided(), op, "expected ", name,
                  " to have the strided layout, got layout number ", layout);
  KERNELOPT_CHECK(is_floating(tensor.scalar_type()), op, "expected ", name,
                  " to be float16, bfloat16, float32 or float64, got ",
                  dtype_name(tensor.scalar_type()));
  check_inside_storage(op, name, tensor);
}

void check_rank(const char* op, const char* name, const Tensor& tensor, int64_t rank) {
  KERNELOPT_CHECK(tensor.dim() == rank, op, "expected ", name, " to have ", rank,
                  " dimensions, got shape ", format_list(tensor.sizes()));
}

void check_matches(const char* op, const char* name, const Tensor& tensor,
                   const char* reference_name, const Tensor& reference) {
  KERNELOPT_CHECK(tensor.scalar_type() == reference.scalar_type(), op, "expected ", name,
                  " to have the dtype of ", reference_name, ", ",
                  dtype_name(reference.scalar_type()), ", got ", dtype_name(tensor.scalar_type()));
  KERNELOPT_CHECK(tensor.is_cuda() == reference.is_cuda() &&
                      tensor.get_device_index() == reference.get_device_index(),
                  op, "expected ", name, " to be on the device of ", reference_name, ", ",
                  device_name(reference), ":", reference.get_device_index(), ", got ",
                  device_name(tensor), ":", tensor.get_device_index());
}

void check_sizes(const char* op, const char* name, const Tensor& tensor, IntList expected) {
  const IntList sizes = tensor.sizes();
  const bool equal = std::equal(sizes.begin(), sizes.end(), expected.begin(), expected.end());
  KERNELOPT_CHECK(equal, op, "expected ", name, " to have shape ", format_list(expected), ", got ",
                  format_list(sizes));
}

void check_int_list(const char* op, const char* name, IntList values, size_t count,
                    int64_t minimum) {
  KERNELOPT_CHECK(values.size() == count, op, "expected ", name, " to have ", count,
                  count == 1 ? " value" : " values", ", got ", format_list(values));
  for (const int64_t value : values) {
    KERNELOPT_CHECK(value >= minimum, op, "expected ", name, " to be at least ", minimum, ", got ",
                    format_list(values));
  }
}

void check_enum(const char* op, const char* name, int64_t value, int64_t count) {
  KERNELOPT_CHECK(value >= 0 && value < count, op, "expected ", name, " to be from 0 to ",
                  count - 1, ", got ", value);
}

int64_t checked_mul(const char* op, const char* what, int64_t a, int64_t b) {
  int64_t result = 0;
  KERNELOPT_CHECK(!__builtin_mul_overflow(a, b, &result), op, "expected ", what,
                  " to fit 64 bits, got ", a, " * ", b);
  return result;
}

int64_t checked_add(const char* op, const char* what, int64_t a, int64_t b) {
  int64_t result = 0;
  KERNELOPT_CHECK(!__builtin_add_overflow(a, b, &result), op, "expected ", what,
                  " to fit 64 bits, got ", a, " + ", b);
  return result;
}

}  // namespace kernelopt
