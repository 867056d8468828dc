// What activations take from the exponential and the reciprocal of the hardware, without branches.
// Includes no torch header.
#pragma once

namespace kernelopt {

/// c0 + x (c1 + x (...))
__device__ __forceinline__ float horner(float, float c0) { return c0; }
template <typename... Rest>
__device__ __forceinline__ float horner(float x, float c0, Rest... rest) {
  return fmaf(x, horner(x, rest...), c0);
}

/// 2^x by the hardware: within 2 units in the last place, no denormal results.
__device__ __forceinline__ float exp2_approximate(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// 1 / x within a unit in the last place, no denormal results.
__device__ __forceinline__ float reciprocal_approximate(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// z / (1 + 2^exponent)
__device__ __forceinline__ float times_logistic(float z, float exponent) {
  return z * reciprocal_approximate(1.0f + exp2_approximate(exponent));
}

/// z Phi(z), z = 2 half, as max(z, 0) - |z| Phi(-|z|), without branches: with h = |z| / 2, 2 Phi(-2
/// h) is 2 to the power of h (c0 + h (c1 + ...)), fitted on [0, largest], where it has become 0 to
/// the result. Inf and NaN come out as of the plain product.
/// @tparam kTailBits  the tail is computed times 2^kTailBits, for products among denormal numbers
template <int kTailBits = 0, typename... Coefficients>
__device__ __forceinline__ float gelu_by_tail(float half, float largest, Coefficients... c) {
  const float h = fminf(fabsf(half), largest);
  const float upper = half + fabsf(half);  // NaN for -Inf, whose product would be -Inf * 0
  if constexpr (kTailBits == 0) {
    return fmaf(-h, exp2_approximate(h * horner(h, c...)), upper);
  } else {
    constexpr float kScale = 1.0f / (1 << kTailBits);
    return fmaf(-kScale, h * exp2_approximate(fmaf(h, horner(h, c...), kTailBits)), upper);
  }
}

}  // namespace kernelopt
