// Argument checks. Every op runs them before any kernel reads: what passes here is in bounds.
// A message names the op, the argument, the value and what was expected; the type seen from Python
// is RuntimeError.
#pragma once

#include "common/torch_api.h"

#include <sstream>
#include <stdexcept>
#include <string>

namespace kernelopt {

template <typename... Parts>
[[noreturn]] void fail(const char* op, const Parts&... parts) {
  std::ostringstream message;
  message << "kernelopt::" << op << ": ";
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

#define KERNELOPT_CHECK(condition, op, ...) \
  do {                                      \
    if (!(condition)) {                     \
      ::kernelopt::fail(op, __VA_ARGS__);   \
    }                                       \
  } while (false)

/// "[2, 3, 5]"
std::string format_list(IntList values);

/// "float32", as torch prints it.
const char* dtype_name(ScalarType dtype);

/// A dense, floating (fp16, bf16, fp32, fp64) CPU or CUDA tensor whose every element lies inside
/// its storage: (offset + sum((size - 1) * stride) + 1) * itemsize <= storage bytes.
void check_tensor(const char* op, const char* name, const Tensor& tensor);

void check_rank(const char* op, const char* name, const Tensor& tensor, int64_t rank);

/// `tensor` has the dtype and the device of `reference`.
void check_matches(const char* op, const char* name, const Tensor& tensor,
                   const char* reference_name, const Tensor& reference);

void check_sizes(const char* op, const char* name, const Tensor& tensor, IntList expected);

/// A list argument of `count` integers, each at least `minimum`.
void check_int_list(const char* op, const char* name, IntList values, size_t count,
                    int64_t minimum);

/// An enumeration carried as an integer: 0 <= value < count.
void check_enum(const char* op, const char* name, int64_t value, int64_t count);

/// a * b and a + b of sizes; an overflow is an error that names `what`.
int64_t checked_mul(const char* op, const char* what, int64_t a, int64_t b);
int64_t checked_add(const char* op, const char* what, int64_t a, int64_t b);

}  // namespace kernelopt
