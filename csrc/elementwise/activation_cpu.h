// The activations for the CPU's vector loops: the functions of common/math.h, by vector_math_cpu.h.
#pragma once

#include "common/math.h"
#include "elementwise/vector_math_cpu.h"

namespace kernelopt {

/// An activation's struct for values of type T on the CPU.
template <typename ActivationType, typename T>
struct OnCpu : ActivationType {};

template <typename T>
struct OnCpu<Gelu, T> {
  // The polynomials are the least that T's precision asks for. For the 16-bit types Phi(-a) is
  // within 3e-5 of itself. In float32 it is within 2^-24, and within 2^-15 of itself down to -8;
  // further down the terms nearly cancel, and it is within 2^-10.
  template <typename A>
  static A forward(A z) {
    if constexpr (std::is_same_v<T, double>) {
      return z * vector_math::Normal<A>(z).cdf;
    } else if constexpr (std::is_same_v<T, float>) {
      return vector_math::gelu_by_tail(z, -1.1511055f, -0.4592068f, -0.052486997f, 0.0070129572f,
                                       -4.591813e-05f, -0.00026651967f, 7.7717596e-05f,
                                       -1.2893961e-05f, 1.4074919e-06f, -1.0255107e-07f,
                                       4.806346e-09f, -1.3111369e-10f, 1.5822139e-12f);
    } else {
      return vector_math::gelu_by_tail(z, -1.1511374f, -0.4585378f, -0.05414343f, 0.008740249f,
                                       -0.0010375511f, 8.5889624e-05f, -4.6419027e-06f,
                                       1.4621212e-07f, -2.0270998e-09f);
    }
  }
  template <typename A>
  static A backward(A grad, A z) {
    const vector_math::Normal<A> normal(z);
    return grad * (normal.cdf + z * A(0.39894228040143267794) * normal.density);
  }
};

/// The logistic function, without cancellation and without overflow.
template <typename A>
struct Logistic {
  A numerator;
  A denominator;
  A slope;
  explicit Logistic(A v) {
    const A decay = vector_math::exp_of_negative(-std::abs(v));
    numerator = v < A(0) ? decay : A(1);
    denominator = A(1) + decay;
    slope = decay / (denominator * denominator);
  }
};

/// z / (1 + e^-v)
template <typename A>
inline A times_logistic(A z, A v) {
  const Logistic<A> logistic(v);
  return z * logistic.numerator / logistic.denominator;
}

/// grad * d/dz of that, by the slope of v.
template <typename A>
inline A times_logistic_backward(A grad, A z, A v, A v_slope) {
  const Logistic<A> logistic(v);
  return grad * (logistic.numerator / logistic.denominator + z * logistic.slope * v_slope);
}

template <typename T>
struct OnCpu<GeluTanh, T> {
  template <typename A>
  static A forward(A z) {
    return times_logistic(z, GeluTanh::two_u(z));
  }
  template <typename A>
  static A backward(A grad, A z) {
    // Bounded, so that a finite z whose square overflows does not become 0 * Inf.
    const A square = z * z < A(1e30) ? z * z : A(1e30);
    const A slope = A(1.59576912160573071176) * (A(1) + A(0.134145) * square);
    return times_logistic_backward(grad, z, GeluTanh::two_u(z), slope);
  }
};

template <typename T>
struct OnCpu<Silu, T> {
  template <typename A>
  static A forward(A z) {
    return times_logistic(z, z);
  }
  template <typename A>
  static A backward(A grad, A z) {
    return times_logistic_backward(grad, z, z, A(1));
  }
};

}  // namespace kernelopt
