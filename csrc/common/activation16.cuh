// Activations for results that are rounded to 16 bits, in half the instructions of those in math.h:
// their error is a small part of that rounding's over the whole range, in the negative tails too.
// Inf and NaN come out as there. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

namespace kernelopt {

/// c0 + x (c1 + x (...))
__device__ __forceinline__ float horner(float, float c0) { return c0; }
template <typename... Rest>
__device__ __forceinline__ float horner(float x, float c0, Rest... rest) {
  return fmaf(x, horner(x, rest...), c0);
}

/// The hardware's exp2 and reciprocal know no denormal numbers, but the tails reach bfloat16's
/// smallest ones: values below 1 are computed times 2^kTailBits.
constexpr float kTailBits = 24;
constexpr float kTailScale = 1.0f / (1 << 24);  // 2^-kTailBits

/// 2^(x - kTailBits)
__device__ __forceinline__ float exp2_of_tail(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result * kTailScale;
}

/// 1 / (1 + 2^(x + kTailBits))
__device__ __forceinline__ float logistic_of_tail(float x) {
  float power, result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(power + kTailScale));
  return result * kTailScale;
}

/// The upper tail of the normal distribution, Phi(-a), is 2 to the power of a polynomial in a. So
/// is the slope of the lower half of GELU, over its zero. Fitted in the maximum norm on
/// [0, kLargest]; beyond it both are 0 in 16 bits.
struct Gelu16 {
  static constexpr float kLargest = 14.5f;
  static constexpr float kSlopeZero = 0.75179152f;  // GELU falls until -kSlopeZero

  /// Relative error 2^-16 below 4.3, where results are normal numbers of float16; 2^-13.2 above.
  static __device__ __forceinline__ float forward(float z) {
    const float a = fminf(fabsf(z), kLargest);
    const float tail = exp2_of_tail(horner(
        a, kTailBits - 1.0000224f, -1.15105057f, -0.458699673f, -0.0539833046f, 0.00865657255f,
        -0.00101358921f, 8.20244677e-05f, -4.2925908e-06f, 1.29734858e-07f, -1.71158054e-09f));
    return z * (z < 0 ? tail : 1 - tail);
  }

  /// Relative error 2^-15 below 4.3, 2^-12.5 above.
  static __device__ __forceinline__ float backward(float grad, float z) {
    const float a = fminf(fabsf(z), kLargest);
    const float tail =
        exp2_of_tail(horner(a, kTailBits - 0.588447511f, -0.382293552f, -0.56373179f,
                            -0.0509074479f, 0.0123684946f, -0.00216891058f, 0.000264984585f,
                            -2.17386805e-05f, 1.13382589e-06f, -3.38276784e-08f, 4.38351633e-10f));
    return grad * (z < 0 ? tail * (z + kSlopeZero) : fmaf(tail, z - kSlopeZero, 1.0f));
  }
};

/// z / (1 + 2^t(z)) and its gradient, t' = -slope / ln 2.
struct GeluTanh16 {
  static constexpr float kLinear = -2.30220819f, kCubic = -0.102943242f;  // of t, 2 sqrt(2/pi)/ln 2
  static __device__ __forceinline__ float logistic(float z) {
    return logistic_of_tail(fmaf(z, fmaf(kCubic * z, z, kLinear), -kTailBits));
  }
  static __device__ __forceinline__ float forward(float z) { return z * logistic(z); }
  static __device__ __forceinline__ float backward(float grad, float z) {
    const float value = logistic(z);
    // Bounded, so that a finite z whose square overflows does not become 0 * Inf.
    const float slope = fmaf(fminf(z * z, 1e30f), 0.214064369f, 1.59576912f);
    return grad * fmaf(z * value, (1 - value) * slope, value);
  }
};

struct Silu16 {
  static __device__ __forceinline__ float logistic(float z) {
    return logistic_of_tail(fmaf(z, -1.44269504f, -kTailBits));
  }
  static __device__ __forceinline__ float forward(float z) { return z * logistic(z); }
  static __device__ __forceinline__ float backward(float grad, float z) {
    const float value = logistic(z);
    return grad * fmaf(z * value, 1 - value, value);
  }
};

template <typename ActivationType>
struct In16Bits {
  using type = ActivationType;
};
template <>
struct In16Bits<Gelu> {
  using type = Gelu16;
};
template <>
struct In16Bits<GeluTanh> {
  using type = GeluTanh16;
};
template <>
struct In16Bits<Silu> {
  using type = Silu16;
};

/// The struct that computes an activation for results of type T.
template <typename T, typename ActivationType>
using ActivationFor =
    typename std::conditional_t<std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>,
                                In16Bits<ActivationType>, std::common_type<ActivationType>>::type;

}  // namespace kernelopt
