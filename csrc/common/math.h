// Scalar arithmetic shared by CPU loops and GPU kernels. Includes no torch header.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
#include "common/hardware_math.cuh"
#define KERNELOPT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define KERNELOPT_HOST_DEVICE inline
#endif

namespace kernelopt {

/// a / b rounded up; a at least 0, b at least 1.
constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// a rounded up to a multiple of b.
constexpr int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

/// The type arithmetic is done in: fp64 for fp64, fp32 for everything narrower.
template <typename T>
using AccumulateType = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Activations, numbered as in kernelopt.Activation (Python); as wide as a schema's int, so that no
/// conversion to it loses a wrong number's high bits.
enum class Activation : int64_t { kNone = 0, kRelu = 1, kGelu = 2, kGeluTanh = 3, kSilu = 4 };
constexpr int kNumActivations = 5;

/// Precision of float32 convolutions, numbered as in kernelopt.Precision (Python).
enum class Precision : int64_t { kDefault = 0, kIeee = 1 };
constexpr int kNumPrecisions = 2;

// Each activation: forward(z), and backward(grad, z) = grad * activation'(z).

struct Identity {
  template <typename A>
  static KERNELOPT_HOST_DEVICE A forward(A z) {
    return z;
  }
  template <typename A>
  static KERNELOPT_HOST_DEVICE A backward(A grad, A) {
    return grad;
  }
};

struct Relu {
  // The comparison is written so that NaN passes through, as in torch.
  template <typename A>
  static KERNELOPT_HOST_DEVICE A forward(A z) {
    return z < A(0) ? A(0) : z;
  }
  // As torch: where relu stops a gradient it is 0, even one that is not finite.
  template <typename A>
  static KERNELOPT_HOST_DEVICE A backward(A grad, A z) {
    return z <= A(0) ? A(0) : grad;
  }
};

/// z * Phi(z), Phi the standard normal distribution function.
struct Gelu {
  template <typename A>
  static KERNELOPT_HOST_DEVICE A cdf(A z) {
    constexpr A kRoot = A(0.70710678118654752440);
#if defined(__CUDA_ARCH__)
    // As torch; the lower tail loses its digits.
    return A(0.5) * (A(1) + erf(z * kRoot));
#else
    return A(0.5) * std::erfc(-z * kRoot);  // 1 + erf would lose the lower tail's digits
#endif
  }
  template <typename A>
  static KERNELOPT_HOST_DEVICE A forward(A z) {
#if defined(__CUDA_ARCH__)
    if constexpr (std::is_same_v<A, float>) {
      // 15 instructions to erf's 31, and closer than it: within 8e-8 |z|.
      return gelu_by_tail(0.5f * z, 6.7f, -2.30221009f, -1.83686006f, -0.419625193f, 0.111273587f,
                          8.95010817e-05f, -0.0182920136f, 0.0102019552f, -0.00301433331f,
                          0.000489673985f, -3.42290332e-05f);
    }
#endif
    return z * cdf(z);
  }
  template <typename A>
  static KERNELOPT_HOST_DEVICE A backward(A grad, A z) {
    using std::exp;
    return grad * (cdf(z) + z * A(0.39894228040143267794) * exp(A(-0.5) * z * z));
  }
};

/// The logistic function of v and its slope, without cancellation and without overflow.
template <typename A>
struct Sigmoid {
  A value;
  A slope;
  explicit KERNELOPT_HOST_DEVICE Sigmoid(A v) {
    using std::abs;
    using std::exp;
    const A decay = exp(-abs(v));
    const A larger = A(1) / (A(1) + decay);
    value = v < A(0) ? decay * larger : larger;
    slope = decay * larger * larger;
  }
};

/// 0.5 z (1 + tanh(u)), u = sqrt(2/pi) (z + 0.044715 z^3), computed as z / (1 + exp(-2u)):
/// the same function with one exponential and no cancellation for negative z.
struct GeluTanh {
  template <typename A>
  static KERNELOPT_HOST_DEVICE A two_u(A z) {
    return A(1.59576912160573071176) * (z + A(0.044715) * z * z * z);
  }
  template <typename A>
  static KERNELOPT_HOST_DEVICE A forward(A z) {
    using std::exp;
    return z / (A(1) + exp(-two_u(z)));
  }
  template <typename A>
  static KERNELOPT_HOST_DEVICE A backward(A grad, A z) {
    const Sigmoid<A> sigmoid(two_u(z));
    // Bounded, so that a finite z whose square overflows does not become 0 * Inf.
    const A square = z * z < A(1e30) ? z * z : A(1e30);
    const A two_u_slope = A(1.59576912160573071176) * (A(1) + A(0.134145) * square);
    return grad * (sigmoid.value + z * sigmoid.slope * two_u_slope);
  }
};

struct Silu {
  template <typename A>
  static KERNELOPT_HOST_DEVICE A forward(A z) {
    using std::exp;
    return z * (A(1) / (A(1) + exp(-z)));
  }
  template <typename A>
  static KERNELOPT_HOST_DEVICE A backward(A grad, A z) {
    const Sigmoid<A> sigmoid(z);
    return grad * (sigmoid.value + z * sigmoid.slope);
  }
};

/// Calls `function(A{})` with A the struct of an activation that is known only at run time.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable  // `function` runs where the caller does
#endif
template <typename Function>
KERNELOPT_HOST_DEVICE auto with_activation(Activation activation, Function&& function) {
  switch (activation) {
    case Activation::kRelu: return function(Relu{});
    case Activation::kGelu: return function(Gelu{});
    case Activation::kGeluTanh: return function(GeluTanh{});
    case Activation::kSilu: return function(Silu{});
    default: return function(Identity{});
  }
}

}  // namespace kernelopt
