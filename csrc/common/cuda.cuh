// Device side of dtypes and 16-byte accesses. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace kernelopt {

template <typename T>
__device__ __forceinline__ AccumulateType<T> to_accumulate(T value) {
  return static_cast<AccumulateType<T>>(value);
}
template <>
__device__ __forceinline__ float to_accumulate(__half value) {
  return __half2float(value);
}
template <>
__device__ __forceinline__ float to_accumulate(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

/// Rounds to nearest even.
template <typename T>
__device__ __forceinline__ T from_accumulate(AccumulateType<T> value) {
  return static_cast<T>(value);
}
template <>
__device__ __forceinline__ __half from_accumulate<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_accumulate<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

/// activation(z).
template <typename A>
__device__ __forceinline__ A apply_activation(Activation activation, A z) {
  return with_activation(activation, [z](auto kind) { return decltype(kind)::forward(z); });
}

/// kSize elements moved as one aligned access.
template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Vec {
  T values[kSize];
};

constexpr int kVecBytes = 16;  // the widest load and store of one thread

}  // namespace kernelopt
