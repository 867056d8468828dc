#include "common/tensor_map.h"

#include <cuda_runtime.h>

#include <algorithm>

namespace kernelopt {
namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

/// The driver's function, asked for at run time: the module does not link the driver.
EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    void* address = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address,
                                                               12000, cudaEnableDefault, &found);
    return error == cudaSuccess && found == cudaDriverEntryPointSuccess
               ? reinterpret_cast<EncodeTiled>(address)
               : nullptr;
  }();
  return function;
}

/// Gives this thread the current device's context. The driver refuses a thread that has none yet,
/// as autograd's at its first backward.
void bind_context() {
  thread_local bool bound = false;
  int device = 0;
  if (!bound && cudaGetDevice(&device) == cudaSuccess) {
    bound = cudaSetDevice(device) == cudaSuccess;
  }
}

}  // namespace

bool encode_tensor_map(const TensorMapShape& shape, const void* base, CUtensorMap* map) {
  bind_context();
  constexpr int kRank = TensorMapShape::kRank;
  const EncodeTiled encode = encode_tiled();
  cuuint64_t sizes[kRank], strides[kRank - 1];
  cuuint32_t box[kRank], steps[kRank];
  std::copy_n(shape.sizes, kRank, sizes);
  std::copy_n(shape.strides, kRank - 1, strides);
  std::copy_n(shape.box, kRank, box);
  std::fill_n(steps, kRank, 1u);
  return encode != nullptr &&
         encode(map,
                shape.element_bytes == 8   ? CU_TENSOR_MAP_DATA_TYPE_FLOAT64
                : shape.element_bytes == 4 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
                                           : CU_TENSOR_MAP_DATA_TYPE_UINT16,
                kRank, const_cast<void*>(base), sizes, strides, box, steps,
                CU_TENSOR_MAP_INTERLEAVE_NONE,
                shape.swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace kernelopt
