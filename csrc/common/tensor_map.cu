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

}  // namespace

bool encode_tensor_map(const TensorMapShape& shape, const void* base, CUtensorMap* map) {
  constexpr int kRank = TensorMapShape::kRank;
  const EncodeTiled encode = encode_tiled();
  cuuint64_t sizes[kRank], strides[kRank - 1];
  cuuint32_t box[kRank], steps[kRank];
  std::copy_n(shape.sizes, kRank, sizes);
  std::copy_n(shape.strides, kRank - 1, strides);
  std::copy_n(shape.box, kRank, box);
  std::fill_n(steps, kRank, 1u);
  if (encode == nullptr) {
    return false;
  }
  const auto fill = [&] {
    return encode(map,
                  shape.element_bytes == 8   ? CU_TENSOR_MAP_DATA_TYPE_FLOAT64
                  : shape.element_bytes == 4 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
                                             : CU_TENSOR_MAP_DATA_TYPE_UINT16,
                  kRank, const_cast<void*>(base), sizes, strides, box, steps,
                  CU_TENSOR_MAP_INTERLEAVE_NONE,
                  shape.swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  CUresult result = fill();
  int device = 0;
  if (result != CUDA_SUCCESS && result != CUDA_ERROR_INVALID_VALUE &&
      cudaGetDevice(&device) == cudaSuccess && cudaSetDevice(device) == cudaSuccess) {
    // This thread had no context yet, as autograd's at its first backward. Now it has the device's.
    result = fill();
  }
  return result == CUDA_SUCCESS;
}

}  // namespace kernelopt
