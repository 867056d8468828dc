// Tensor-core building blocks for sm_80 and later: mma.sync, cp.async, and the split of fp32 in two
// bf16 parts. Includes no torch header.
#pragma once

#include "common/cuda.cuh"

// Kernels out of these blocks are empty in code for older architectures, where nothing launches
// them: hosts ask compute_capability() first.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define KERNELOPT_HAS_MMA 1
#else
#define KERNELOPT_HAS_MMA 0
#endif

namespace kernelopt {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Copies kBytes from global to shared memory without registers; zeros where `valid` is false, and
/// then reads nothing. Both addresses aligned to kBytes.
template <int kBytes>
__device__ __forceinline__ void copy_async(uint32_t destination, const void* source, bool valid) {
  const int size = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(destination), "l"(source),
                 "r"(size)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(destination), "l"(source),
                 "n"(kBytes), "r"(size)
                 : "memory");
  }
}

/// Copies the first `bytes` of 16 and puts zeros behind them. Both addresses aligned to 16 bytes.
__device__ __forceinline__ void copy_async_part(uint32_t destination, const void* source,
                                                int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(destination), "l"(source),
               "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}

/// Waits until at most kPending of this thread's latest groups are under way.
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

/// What the tensor cores multiply for operands of type T: fp16 for fp16, bf16 for bf16 and for the
/// parts of fp32.
template <typename T>
struct MmaTraits {
  static constexpr int kParts = 1;
};
template <>
struct MmaTraits<float> {
  static constexpr int kParts = 2;  // high and low
};

/// d[16 x 8] += a[16 x 16] * b[16 x 8], fp32 accumulation; fragments as PTX lays out m16n8k16.
template <typename T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint4& a, uint32_t b0,
                                             uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
  }
}

/// d = c + a * b, where d may be another one than c: no moves to keep c.
template <typename T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint4& a, uint32_t b0,
                                             uint32_t b1, const float (&c)[4]) {
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%10, %11, %12, %13};\n"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]),
          "f"(c[3]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%10, %11, %12, %13};\n"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]),
          "f"(c[3]));
  }
}

/// Four 8 x 8 blocks of 16-bit elements out of fragments; a lane gives the address of a row of a
/// block.
__device__ __forceinline__ void store_blocks(uint32_t target, const uint32_t (&words)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(target),
               "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
}

/// Four 8 x 8 blocks of 16-bit elements out of fragments, transposed; a lane gives the address of a
/// row of a block, a column of the fragment's.
__device__ __forceinline__ void store_transposed(uint32_t target, const uint32_t (&words)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(target),
      "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
      : "memory");
}

/// Two fp32 values as packed bf16 high parts and low parts: value = high + low to 2^-17 of it. The
/// high part of a value beyond bf16's range is Inf, and then the low part is not finite either.
struct SplitPair {
  uint32_t high;
  uint32_t low;
};
__device__ __forceinline__ SplitPair split_bf16_unlimited(float first, float second) {
  SplitPair pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair.high) : "f"(second), "f"(first));
  const float first_low = first - __uint_as_float(pair.high << 16);
  const float second_low = second - __uint_as_float(pair.high & 0xffff0000u);
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair.low) : "f"(second_low), "f"(first_low));
  return pair;
}

/// Two fp32 values as packed bf16 high parts and low parts: value = high + low to 2^-17 of it. The
/// high part is rounded from the value limited to bf16's range, so that no finite value becomes
/// Inf; of Inf it is the largest bf16, and the low part Inf.
__device__ __forceinline__ SplitPair split_bf16(float first, float second) {
  constexpr float kLargest = 3.3895313892515355e38f;
  SplitPair pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
      : "=r"(pair.high)
      : "f"(fminf(fmaxf(second, -kLargest), kLargest)),
        "f"(fminf(fmaxf(first, -kLargest), kLargest)));
  const float first_low = first - __uint_as_float(pair.high << 16);
  const float second_low = second - __uint_as_float(pair.high & 0xffff0000u);
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair.low) : "f"(second_low), "f"(first_low));
  return pair;
}

/// Writes eight values as operands of the tensor cores, of fp32 the high and the low parts.
/// @param low  not written in 16 bits
template <typename T>
__device__ __forceinline__ void store_operands(const T (&values)[8], uint4* high, uint4* low) {
  alignas(16) uint32_t words[MmaTraits<T>::kParts][4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (MmaTraits<T>::kParts == 2) {
      const SplitPair pair = split_bf16(values[i * 2], values[i * 2 + 1]);
      words[0][i] = pair.high;
      words[1][i] = pair.low;
    } else {
      const T two[2] = {values[i * 2], values[i * 2 + 1]};
      words[0][i] = *reinterpret_cast<const uint32_t*>(two);
    }
  }
  *high = *reinterpret_cast<const uint4*>(words[0]);
  if constexpr (MmaTraits<T>::kParts == 2) {
    *low = *reinterpret_cast<const uint4*>(words[1]);
  }
}

}  // namespace kernelopt
