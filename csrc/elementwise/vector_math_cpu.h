// Exponentials and the normal distribution on the CPU, without calls and without branches, so that
// the compiler turns a loop over them into vectors.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace kernelopt::vector_math {

/// c[kFirst] + x c[kFirst + kStep] + x^2 c[kFirst + 2 kStep] + ... to before kEnd, unrolled.
template <int kFirst, int kStep, int kEnd, int kCount, typename A>
inline A horner(A x, const A (&c)[kCount]) {
  if constexpr (kFirst + kStep < kEnd) {
    return c[kFirst] + x * horner<kFirst + kStep, kStep, kEnd>(x, c);
  } else {
    return c[kFirst];
  }
}

/// first + x (others[0] + others[1] x + ...), the even and the odd powers of the others apart: two
/// short chains of dependent operations are done sooner than one long one.
template <typename A, typename... Others>
inline A polynomial(A x, A first, Others... others) {
  constexpr int kCount = sizeof...(others);
  const A c[] = {others...};
  const A square = x * x;
  return first + x * (horner<0, 2, kCount>(square, c) + x * horner<1, 2, kCount>(square, c));
}

/// What differs between the two precisions. The polynomials are minimax fits (Remez) in the
/// relative error given with each.
template <typename A>
struct Constants;

template <>
struct Constants<float> {
  using Bits = uint32_t;
  static constexpr int kMantissaBits = 23;
  static constexpr float kRound = 12583039.0f;     // 1.5 * 2^23 + 127, see exp_of_negative
  static constexpr float kLn2High = 0.693359375f;  // 9 bits
  static constexpr float kLn2Low = -2.12194440e-4f;
  static constexpr float kExpLowest = -87.3f;  // beneath, e^x is no normal number
  static constexpr float kTailCenter = 3.0f;

  /// e^f for |f| <= 0.4, 2^-28.
  static float exp(float f) {
    return polynomial(f, 1.0f, 1.0f, 0.49999964f, 0.16666399f, 0.04167476f, 0.008376319f,
                      0.0013464808f);
  }
  /// Phi(-a) e^(a^2 / 2) (a + c) in t, for 1 <= a <= 13.4, 2^-26.
  static float tail(float t) {
    return polynomial(t, 0.7290837f, -0.50933194f, 0.23001674f, -0.047265f, -0.010444182f,
                      0.006982124f, 0.00090887287f, -0.0010197201f);
  }
  /// (Phi(z) - 1/2) / z in u = z^2 for u <= 1, 2^-30.
  static float center(float u) {
    return polynomial(u, 0.3989423f, -0.06649036f, 0.009973323f, -0.0011863271f, 0.000113482754f,
                      -7.652613e-06f);
  }
};

template <>
struct Constants<double> {
  using Bits = uint64_t;
  static constexpr int kMantissaBits = 52;
  static constexpr double kRound = 6755399441056767.0;            // 1.5 * 2^52 + 1023
  static constexpr double kLn2High = 6.93147180369123816490e-01;  // 32 bits
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kExpLowest = -708.3;
  static constexpr double kTailCenter = 5.0;

  /// 2^-58.
  static double exp(double f) {
    return polynomial(f, 1.0, 1.0, 0.5000000000000018, 0.16666666666666166, 0.04166666666649227,
                      0.008333333333559997, 0.001388888895135984, 0.00019841269431698666,
                      2.48014863742818e-05, 2.7557623017410546e-06, 2.7632348185001345e-07,
                      2.499425598895513e-08);
  }
  /// For 1 <= a <= 37.8, 2^-54.
  static double tail(double t) {
    return polynomial(t, 0.769193049750063, -0.665382502890058, 0.49530561596998246,
                      -0.3135331566711607, 0.16502036616996282, -0.06911863871128628,
                      0.020795066811099328, -0.002993376692613212, -0.0007978695474760236,
                      0.0005448984067570645, -5.937460651134059e-05, -4.975955658799299e-05,
                      1.667614347801015e-05, 3.971142444865537e-06, -2.7552824695387137e-06,
                      -3.190457952914701e-07, 4.1021058257941274e-07, 2.4228684274736526e-08,
                      -4.550403015083147e-08);
  }
  /// 2^-55.
  static double center(double u) {
    return polynomial(u, 0.39894228040143265, -0.06649038006690376, 0.009973557009980958,
                      -0.0011873282147828752, 0.000115434683100855, -9.444639429727965e-06,
                      6.659310410385665e-07, -4.117244049722433e-08, 2.2267268359785095e-09,
                      -9.018254576514613e-11);
  }
};

template <typename To, typename From>
inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

/// e^x for x <= 0; 0 where it is no normal number. e^x = 2^n e^f, n the integer next to x / ln 2
/// (Cody and Waite, 1980).
template <typename A>
inline A exp_of_negative(A x) {
  using K = Constants<A>;
  using Bits = typename K::Bits;
  // A number added to 1.5 * 2^23 (2^52) is rounded to an integer, and that is the last bits of the
  // sum; with the exponent's bias added as well they are the exponent of 2^n.
  const A shifted = x * A(1.44269504088896340736) + K::kRound;
  const A n = shifted - K::kRound;
  const A f = (x - n * K::kLn2High) - n * K::kLn2Low;
  const A power = bits_as<A>(bits_as<Bits>(shifted) << K::kMantissaBits);
  return x < K::kExpLowest ? A(0) : K::exp(f) * power;
}

/// The normal distribution function Phi(z), and its density times sqrt(2 pi).
///
/// Beneath -1, Phi(-a) e^(a^2 / 2) is a polynomial in t = (a - c) / (a + c) over a + c (the form of
/// Shepherd and Laframboise, 1981, for erfc), which keeps its digits in the tail, where 1 + erf has
/// none. Between -1 and 1 an odd polynomial is closer.
template <typename A>
struct Normal {
  A cdf;
  A density;
  explicit Normal(A z) {
    using K = Constants<A>;
    const A a = std::abs(z);
    const A square = z * z;
    density = exp_of_negative(A(-0.5) * square);
    const A inverse = A(1) / (a + K::kTailCenter);
    const A tail = density * (inverse * K::tail(A(1) - A(2) * K::kTailCenter * inverse));
    const A outer = z < A(0) ? tail : A(1) - tail;
    cdf = square < A(1) ? A(0.5) + z * K::center(square) : outer;
  }
};

/// z Phi(z) as max(z, 0) - |z| Phi(-|z|), with `coefficients` of (1 + log2 Phi(-a)) / a.
template <typename... Coefficients>
inline float gelu_by_tail(float z, Coefficients... coefficients) {
  using K = Constants<float>;
  constexpr float kEnd = 12.8f;  // beyond, Phi(-a) is no normal number
  const float a = std::abs(z);
  // In two chains as well, but not of odd and even powers, which nearly cancel. Taken apart further
  // up, the tail loses digits: at the power 6 half as much again.
  constexpr int kSplit = 4;
  const float c[] = {coefficients...};
  const float square = a * a;
  const float exponent = a * (horner<0, 1, kSplit>(a, c) +
                              square * square * horner<kSplit, 1, sizeof...(coefficients)>(a, c));
  constexpr float kRound = K::kRound - 1;  // for half the power of two
  const float shifted = exponent + kRound;
  const float f = exponent - (shifted - kRound);
  const float power = bits_as<float>(bits_as<uint32_t>(shifted) << K::kMantissaBits);
  const float tail = power * polynomial(f, 1.0f, 0.6931472f, 0.24022646f, 0.055503286f,
                                        0.009618489f, 0.0013399931f, 0.00015345776f);
  const float upper = 0.5f * z + 0.5f * a;  // NaN for -Inf, whose product is -Inf * 0
  return upper - (a > kEnd ? 0.0f : a * tail);
}

}  // namespace kernelopt::vector_math
