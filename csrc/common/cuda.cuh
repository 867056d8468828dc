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

/// activation(z) for an activation known only at run time, the same for every thread of a launch.
template <typename A>
__device__ __forceinline__ A apply_activation(Activation activation, A z) {
  switch (activation) {
    case Activation::kRelu: return Relu::forward(z);
    case Activation::kGelu: return Gelu::forward(z);
    case Activation::kGeluTanh: return GeluTanh::forward(z);
    case Activation::kSilu: return Silu::forward(z);
    default: return z;
  }
}

/// kSize elements moved as one aligned access.
template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Vec {
  T values[kSize];
};

constexpr int kVecBytes = 16;  // the widest load and store of one thread

/// Reads and writes of data that is touched once: evicted first, so that it does not push what is
/// used again out of the caches.
template <typename T, int kSize>
__device__ __forceinline__ Vec<T, kSize> load_streaming(const Vec<T, kSize>* address) {
  if constexpr (sizeof(Vec<T, kSize>) == kVecBytes) {
    const uint4 bits = __ldcs(reinterpret_cast<const uint4*>(address));
    return *reinterpret_cast<const Vec<T, kSize>*>(&bits);
  } else {
    return *address;
  }
}
template <typename T, int kSize>
__device__ __forceinline__ void store_streaming(Vec<T, kSize>* address,
                                                const Vec<T, kSize>& value) {
  if constexpr (sizeof(Vec<T, kSize>) == kVecBytes) {
    __stcs(reinterpret_cast<uint4*>(address), *reinterpret_cast<const uint4*>(&value));
  } else {
    *address = value;
  }
}

}  // namespace kernelopt
