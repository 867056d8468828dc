// Declares the namespaces. Each op's schema and implementations stand in its family's folder.
#include "common/torch_api.h"

#include <string>

namespace kernelopt {
namespace {

// Variadic: the list of architectures holds commas.
#define KERNELOPT_TEXT_(...) #__VA_ARGS__
#define KERNELOPT_TEXT(...) KERNELOPT_TEXT_(__VA_ARGS__)

/// "torch=2.13.0 cuda=13.0 archs=9.0a": the headers, toolkit and GPU architectures of this build;
/// cuda and archs are "none" where it has no CUDA part.
std::string build_info() {
  return "torch=" TORCH_VERSION " cuda=" KERNELOPT_TEXT(
      KERNELOPT_CUDA_VERSION) " archs=" KERNELOPT_TEXT(KERNELOPT_CUDA_ARCHS);
}

}  // namespace

STABLE_TORCH_LIBRARY(kernelopt, m) {}

STABLE_TORCH_LIBRARY(kernelopt_runtime, m) {
  m.def("build_info() -> str");
  m.def("unavailable_reason(int device_index) -> str");
}

STABLE_TORCH_LIBRARY_IMPL(kernelopt_runtime, CompositeExplicitAutograd, m) {
  m.impl("build_info", TORCH_BOX(&build_info));
}

}  // namespace kernelopt
