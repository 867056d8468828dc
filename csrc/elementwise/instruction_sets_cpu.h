// Loops compiled for several instruction sets, of which the processor's best is taken at run time,
// and what they read and write the 16-bit types by.
#pragma once

#include "common/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define KERNELOPT_AVX2 __attribute__((target("avx2,fma,f16c")))
#define KERNELOPT_AVX512 \
  __attribute__((        \
      target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#endif

namespace kernelopt {

/// What every processor of the architecture has.
struct BaselineSet {};

/// to[i] = from[i] for `kCount` elements, a multiple of 8.
template <int kCount, typename From, typename To>
inline void convert(BaselineSet, const From* from, To* to) {
  for (int i = 0; i < kCount; ++i) {
    to[i] = static_cast<To>(from[i]);
  }
}

/// body(set, begin, end), with everything that it calls compiled for one set.
template <typename Body>
__attribute__((flatten)) void run_baseline(const Body& body, int64_t begin, int64_t end) {
  body(BaselineSet{}, begin, end);
}

#if defined(__x86_64__)

struct Avx2Set {};

template <int kCount, typename From, typename To>
KERNELOPT_AVX2 inline void convert(Avx2Set, const From* from, To* to) {
  convert<kCount>(BaselineSet{}, from, to);
}
// The compiler knows no vectors of these conversions.
template <int kCount>
KERNELOPT_AVX2 inline void convert(Avx2Set, const torch::headeronly::Half* from, float* to) {
  for (int i = 0; i < kCount; i += 8) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(packed));
  }
}
template <int kCount>
KERNELOPT_AVX2 inline void convert(Avx2Set, const float* from, torch::headeronly::Half* to) {
  for (int i = 0; i < kCount; i += 8) {
    const __m128i packed = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), packed);
  }
}

template <typename Body>
KERNELOPT_AVX2 __attribute__((flatten)) void run_avx2(const Body& body, int64_t begin,
                                                      int64_t end) {
  body(Avx2Set{}, begin, end);
}

struct Avx512Set : Avx2Set {};

template <int kCount>
KERNELOPT_AVX512 inline void convert(Avx512Set, const torch::headeronly::Half* from, float* to) {
  for (int i = 0; i < kCount; i += 16) {
    const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    _mm512_storeu_ps(to + i, _mm512_cvtph_ps(packed));
  }
}
template <int kCount>
KERNELOPT_AVX512 inline void convert(Avx512Set, const float* from, torch::headeronly::Half* to) {
  for (int i = 0; i < kCount; i += 16) {
    const __m256i packed = _mm512_cvtps_ph(_mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), packed);
  }
}

template <typename Body>
KERNELOPT_AVX512 __attribute__((flatten)) void run_avx512(const Body& body, int64_t begin,
                                                          int64_t end) {
  body(Avx512Set{}, begin, end);
}

#endif

/// Runs `body`, a function (set, begin, end), with the best instruction set that there is.
template <typename Body>
void run_vectorized(const Body& body, int64_t begin, int64_t end) {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                               __builtin_cpu_supports("f16c");
  static const bool has_avx512 =
      has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (has_avx512) {
    return run_avx512(body, begin, end);
  }
  if (has_avx2) {
    return run_avx2(body, begin, end);
  }
#endif
  run_baseline(body, begin, end);
}

}  // namespace kernelopt
