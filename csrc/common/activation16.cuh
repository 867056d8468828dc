// Activations for results that are rounded to 16 bits, in half the instructions of those in math.h:
// their error is a small part of that rounding's over the whole range, in the negative tails too.
// Inf and NaN come out as there. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

namespace kernelopt {

/// The hardware's exp2 and reciprocal know no denormal numbers, but the tails reach bfloat16's
/// smallest ones: values below 1 are computed times 2^kTailBits.
constexpr int kTailBits = 24;
constexpr float kTailScale = 1.0f / (1 << 24);  // 2^-kTailBits

/// 2^(x - kTailBits)
__device__ __forceinline__ float exp2_of_tail(float x) { return exp2_approximate(x) * kTailScale; }

/// 1 / (1 + 2^(x + kTailBits))
__device__ __forceinline__ float logistic_of_tail(float x) {
  return reciprocal_approximate(exp2_approximate(x) + kTailScale) * kTailScale;
}

/// The slope of the lower half of GELU, over its zero, is 2 to the power of a polynomial in -z as
/// well. Fitted in the maximum norm on [0, kLargest]; beyond it the slope is 0 in 16 bits.
template <typename T>
struct Gelu16 {
  static constexpr float kLargest = 14.5f;
  static constexpr float kSlopeZero = 0.75179152f;  // GELU falls until -kSlopeZero

  /// Within 0.52 of a unit in the last place, rounding included.
  static __device__ __forceinline__ float forward(float z) {
    if constexpr (std::is_same_v<T, __half>) {
      return gelu_by_tail(0.5f * z, 3.1f, -2.30219674f, -1.8361249f, -0.42545107f, 0.127986133f,
                          -0.0243238676f, 0.00213462929f);
    } else {
      return gelu_by_tail<kTailBits>(0.5f * z, 7.0f, -2.29958701f, -1.84757805f, -0.410132349f,
                                     0.120754078f, -0.0244465023f, 0.00315923477f, -0.000232456907f,
                                     7.37007031e-06f);
    }
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

template <typename T, typename ActivationType>
struct In16Bits {
  using type = ActivationType;
};
template <typename T>
struct In16Bits<T, Gelu> {
  using type = Gelu16<T>;
};
template <typename T>
struct In16Bits<T, GeluTanh> {
  using type = GeluTanh16;
};
template <typename T>
struct In16Bits<T, Silu> {
  using type = Silu16;
};

/// The struct that computes an activation for results of type T.
template <typename T, typename ActivationType>
using ActivationFor =
    typename std::conditional_t<std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>,
                                In16Bits<T, ActivationType>,
                                std::common_type<ActivationType>>::type;

// After a convolution's sum in fp32, whose own error is larger: forms as short as can be, since the
// products wait for them. What would be denormal becomes 0.

struct GeluTanhOfSum {
  static __device__ __forceinline__ float forward(float z) {
    return times_logistic(z, z * fmaf(GeluTanh16::kCubic * z, z, GeluTanh16::kLinear));
  }
};
struct SiluOfSum {
  static __device__ __forceinline__ float forward(float z) {
    return times_logistic(z, z * -1.44269504f);
  }
};
template <typename T>
struct GeluOfSum {
  /// Of z = 2 half. Above -4 within 0.66 of a unit in the last place of float16 and 0.71 of
  /// bfloat16, rounding included, below within 2e-8; in float32 within 2^-20 |z|.
  static __device__ __forceinline__ float of_half(float half) {
    if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      return gelu_by_tail(half, 8.0f, -2.28108025f, -1.93414116f, -0.280138344f, 0.037001323f);
    } else if constexpr (std::is_same_v<T, __half>) {
      return gelu_by_tail(half, 3.1f, -2.299891f, -1.85146546f, -0.392278671f, 0.0966830403f,
                          -0.0109191248f);
    } else {
      return gelu_by_tail(half, 6.7f, -2.30229425f, -1.83566272f, -0.425905466f, 0.127639383f,
                          -0.0236759577f, 0.00191514392f);
    }
  }
  static __device__ __forceinline__ float forward(float z) { return of_half(0.5f * z); }
};

template <typename T, typename ActivationType>
struct OfSum {
  using type = ActivationFor<T, ActivationType>;
};
template <typename T>
struct OfSum<T, GeluTanh> {
  using type = GeluTanhOfSum;
};
template <typename T>
struct OfSum<T, Silu> {
  using type = SiluOfSum;
};
template <typename T>
struct OfSum<T, Gelu> {
  using type = GeluOfSum<T>;
};

/// The struct with the forward function that finishes a convolution's fp32 sum for results of type
/// T.
template <typename T, typename ActivationType>
using ActivationOfSum = typename OfSum<T, ActivationType>::type;

/// activation(sum + bias); a bias serves several sums.
template <typename T, typename ActivationType>
__device__ __forceinline__ float activate_sum(float sum, float bias) {
  if constexpr (std::is_same_v<ActivationType, GeluOfSum<T>>) {
    return ActivationType::of_half(fmaf(0.5f, sum, 0.5f * bias));
  } else {
    return ActivationType::forward(sum + bias);
  }
}

}  // namespace kernelopt
