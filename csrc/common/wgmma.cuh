// wgmma, Hopper's asynchronous tensor-core product of a warpgroup (4 consecutive warps, the first a
// multiple of 4). Includes no torch header.
#pragma once

#include "common/mma.cuh"

// Hopper alone has these instructions, in code for sm_90a. Kernels out of them are empty in other
// code, where nothing launches them: hosts ask has_wgmma() first.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define KERNELOPT_HAS_WGMMA 1
#else
#define KERNELOPT_HAS_WGMMA 0
#endif

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Moves registers between the warpgroups of a block: this one has kRegisters a thread from here
/// on. All its warps call it.
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// A barrier among `threads` threads of a block; 0 is __syncthreads()'s.
__device__ __forceinline__ void named_barrier(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

/// The same; true where `condition` is for one of the threads.
__device__ __forceinline__ bool named_barrier_any(int barrier, int threads, bool condition) {
  int any;
  asm volatile(
      "{\n"
      ".reg .pred p, q;\n"
      "setp.ne.b32 p, %3, 0;\n"
      "barrier.cta.red.or.pred q, %1, %2, p;\n"
      "selp.b32 %0, 1, 0, q;\n"
      "}\n"
      : "=r"(any)
      : "r"(barrier), "r"(threads), "r"(static_cast<int>(condition))
      : "memory");
  return any != 0;
}

/// Orders this thread's register writes before the products that follow.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/// Waits until at most kPending of the latest groups are under way.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Keeps registers that products under way read or write where they are: to stand after the wait
/// for those products.
template <int kCount>
__device__ __forceinline__ void wgmma_hold(uint32_t (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    asm volatile("" : "+r"(registers[i])::"memory");
  }
}
template <int kCount>
__device__ __forceinline__ void wgmma_hold(float (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    asm volatile("" : "+f"(registers[i])::"memory");
  }
}

/// The descriptor of an operand [k16][n] in shared memory that lies as [k / 8][n][k % 8], 16-bit
/// elements, without swizzle: 8 x 8 core matrices of 128 contiguous bytes, so that a shift by one n
/// is a shift by 16 bytes.
/// @param n  rows of the operand
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t shared_address, int n) {
  return static_cast<uint64_t>((shared_address & 0x3ffff) >> 4) | static_cast<uint64_t>(n) << 16 |
         uint64_t{128 >> 4} << 32;
}

/// The descriptor of an operand [rows][64] in shared memory whose rows of 128 bytes run along k,
/// the 16-byte unit u of row r at u ^ r % 8; 16-bit elements. The address is that of a row which is
/// a multiple of 8, plus 32 bytes for every 16 k; row 0 lies at a multiple of 1024 bytes.
__device__ __forceinline__ uint64_t wgmma_swizzled_descriptor(uint32_t shared_address) {
  return static_cast<uint64_t>((shared_address & 0x3ffff) >> 4) | uint64_t{1} << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

/// The descriptor of an operand [k][columns] in shared memory whose rows of 128 bytes run along 64
/// columns, the 16-byte unit u of row r at u ^ r % 8; 16-bit elements. The address is that of a row
/// which is a multiple of 8; row 0 lies at a multiple of 1024 bytes.
/// @param next_columns  bytes from 64 columns to the next 64
__device__ __forceinline__ uint64_t wgmma_column_descriptor(uint32_t shared_address,
                                                            int next_columns) {
  return static_cast<uint64_t>((shared_address & 0x3ffff) >> 4) |
         static_cast<uint64_t>(next_columns >> 4) << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}

/// The descriptor of an operand [k][columns] in shared memory that lies as [columns / 8][k][columns
/// % 8], 16-bit elements, without swizzle: a shift by one k is a shift by 16 bytes.
/// @param rows  of k from eight columns to the next eight
__device__ __forceinline__ uint64_t wgmma_interleaved_descriptor(uint32_t shared_address,
                                                                 int rows) {
  return static_cast<uint64_t>((shared_address & 0x3ffff) >> 4) | uint64_t{128 >> 4} << 16 |
         static_cast<uint64_t>(rows) << 32;
}

// The accumulators as operands of an asm statement.
#define KERNELOPT_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define KERNELOPT_NAMES_16 KERNELOPT_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define KERNELOPT_NAMES_32                                                 \
  KERNELOPT_NAMES_16                                                       \
  ", "                                                                     \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, " \
  "%30, %31"
#define KERNELOPT_NAMES_48                                                 \
  KERNELOPT_NAMES_32                                                       \
  ", "                                                                     \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, " \
  "%46, %47"
#define KERNELOPT_NAMES_64                                                 \
  KERNELOPT_NAMES_48                                                       \
  ", "                                                                     \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
  "%62, %63"
#define KERNELOPT_NAMES_128                                                          \
  KERNELOPT_NAMES_64                                                                 \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95" \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109" \
  ", %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122"   \
  ", %123, %124, %125, %126, %127"
#define KERNELOPT_OUTPUTS_8(i)                                                                \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define KERNELOPT_OUTPUTS_16(i) KERNELOPT_OUTPUTS_8(i), KERNELOPT_OUTPUTS_8(i + 8)
#define KERNELOPT_OUTPUTS_32(i) KERNELOPT_OUTPUTS_16(i), KERNELOPT_OUTPUTS_16(i + 16)
#define KERNELOPT_OUTPUTS_48(i) KERNELOPT_OUTPUTS_32(i), KERNELOPT_OUTPUTS_16(i + 32)
#define KERNELOPT_OUTPUTS_64(i) KERNELOPT_OUTPUTS_32(i), KERNELOPT_OUTPUTS_32(i + 32)
#define KERNELOPT_OUTPUTS_128(i) KERNELOPT_OUTPUTS_64(i), KERNELOPT_OUTPUTS_64(i + 64)

// d += a * b for kN columns, kRegisters = kN / 2 accumulators a thread; the operands that follow
// the accumulators are named by number.
#define KERNELOPT_WGMMA(kN, kRegisters, kType, columns, a0, a1, a2, a3, b, predicate) \
  asm volatile(                                                                       \
      "{\n"                                                                           \
      ".reg .pred p;\n"                                                               \
      "setp.ne.b32 p, " predicate                                                     \
      ", 0;\n"                                                                        \
      "wgmma.mma_async.sync.aligned.m64n" #kN "k16.f32." kType "." kType              \
      " {" KERNELOPT_NAMES_##kRegisters "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " b     \
                                        ", p, 1, 1, " columns                         \
                                        ";\n"                                         \
                                        "}\n"                                         \
      : KERNELOPT_OUTPUTS_##kRegisters(0)                                             \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(descriptor), "r"(accumulate))

#define KERNELOPT_WGMMA_TYPES(kN, kRegisters, columns, a0, a1, a2, a3, b, predicate) \
  if constexpr (kHalf) {                                                             \
    KERNELOPT_WGMMA(kN, kRegisters, "f16", columns, a0, a1, a2, a3, b, predicate);   \
  } else {                                                                           \
    KERNELOPT_WGMMA(kN, kRegisters, "bf16", columns, a0, a1, a2, a3, b, predicate);  \
  }

/// d[64 x 2 * kRegisters] = a[64 x 16] * b[16 x 2 * kRegisters], plus d where `accumulate` is not
/// 0; asynchronous. Operands of type fp16 for T = __half, else bf16; fp32 accumulation. `a` and `d`
/// lie as those of mma.m16n8k16, 16 rows a warp.
/// @tparam kRightColumns  rows of `b` run along its columns, 64 of them, as
/// wgmma_interleaved_descriptor() has them
template <typename T, bool kRightColumns = false, int kRegisters>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[kRegisters], const uint32_t (&a)[4],
                                             uint64_t descriptor, int accumulate) {
  constexpr bool kHalf = std::is_same_v<T, __half>;
  static_assert(kRegisters == 16 || kRegisters == 32 || kRegisters == 48 || kRegisters == 64 ||
                    kRegisters == 128,
                "32, 64, 96, 128 or 256 columns");
  static_assert(!kRightColumns || kRegisters == 32, "64 columns");
  if constexpr (kRightColumns) {
    KERNELOPT_WGMMA_TYPES(64, 32, "1", "%32", "%33", "%34", "%35", "%36", "%37");
  } else if constexpr (kRegisters == 16) {
    KERNELOPT_WGMMA_TYPES(32, 16, "0", "%16", "%17", "%18", "%19", "%20", "%21");
  } else if constexpr (kRegisters == 32) {
    KERNELOPT_WGMMA_TYPES(64, 32, "0", "%32", "%33", "%34", "%35", "%36", "%37");
  } else if constexpr (kRegisters == 48) {
    KERNELOPT_WGMMA_TYPES(96, 48, "0", "%48", "%49", "%50", "%51", "%52", "%53");
  } else if constexpr (kRegisters == 64) {
    KERNELOPT_WGMMA_TYPES(128, 64, "0", "%64", "%65", "%66", "%67", "%68", "%69");
  } else if constexpr (kRegisters == 128) {
    KERNELOPT_WGMMA_TYPES(256, 128, "0", "%128", "%129", "%130", "%131", "%132", "%133");
  }
}

// The same with both operands in shared memory; `columns` are 1 for a left one whose rows run along
// m, and for a right one along n.
#define KERNELOPT_WGMMA_SHARED(kN, kRegisters, kType, columns, left, right, predicate) \
  asm volatile(                                                                        \
      "{\n"                                                                            \
      ".reg .pred p;\n"                                                                \
      "setp.ne.b32 p, " predicate                                                      \
      ", 0;\n"                                                                         \
      "wgmma.mma_async.sync.aligned.m64n" #kN "k16.f32." kType "." kType               \
      " {" KERNELOPT_NAMES_##kRegisters "}, " left ", " right ", p, 1, 1, " columns    \
                                        ";\n"                                          \
                                        "}\n"                                          \
      : KERNELOPT_OUTPUTS_##kRegisters(0)                                              \
      : "l"(a), "l"(b), "r"(accumulate))
#define KERNELOPT_WGMMA_COLUMNS(kN, kRegisters, kType, left, right, predicate)     \
  if constexpr (kLeftColumns && kRightColumns) {                                   \
    KERNELOPT_WGMMA_SHARED(kN, kRegisters, kType, "1, 1", left, right, predicate); \
  } else if constexpr (kRightColumns) {                                            \
    KERNELOPT_WGMMA_SHARED(kN, kRegisters, kType, "0, 1", left, right, predicate); \
  } else {                                                                         \
    KERNELOPT_WGMMA_SHARED(kN, kRegisters, kType, "0, 0", left, right, predicate); \
  }
#define KERNELOPT_WGMMA_SHARED_TYPES(kN, kRegisters, left, right, predicate) \
  if constexpr (kHalf) {                                                     \
    KERNELOPT_WGMMA_COLUMNS(kN, kRegisters, "f16", left, right, predicate)   \
  } else {                                                                   \
    KERNELOPT_WGMMA_COLUMNS(kN, kRegisters, "bf16", left, right, predicate)  \
  }

/// The same as above, both operands in shared memory as wgmma_descriptor() or
/// wgmma_swizzled_descriptor() describes them, or with k...Columns as wgmma_column_descriptor()
/// does.
template <typename T, bool kLeftColumns = false, bool kRightColumns = kLeftColumns, int kRegisters>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[kRegisters], uint64_t a, uint64_t b,
                                             int accumulate) {
  constexpr bool kHalf = std::is_same_v<T, __half>;
  static_assert(kRightColumns || !kLeftColumns, "none, both, or the right one");
  static_assert(kRegisters == 8 || kRegisters == 16 || kRegisters == 32 || kRegisters == 48 ||
                    kRegisters == 64 || kRegisters == 128,
                "16, 32, 64, 96, 128 or 256 columns");
  if constexpr (kRegisters == 8) {
    KERNELOPT_WGMMA_SHARED_TYPES(16, 8, "%8", "%9", "%10");
  } else if constexpr (kRegisters == 16) {
    KERNELOPT_WGMMA_SHARED_TYPES(32, 16, "%16", "%17", "%18");
  } else if constexpr (kRegisters == 32) {
    KERNELOPT_WGMMA_SHARED_TYPES(64, 32, "%32", "%33", "%34");
  } else if constexpr (kRegisters == 48) {
    KERNELOPT_WGMMA_SHARED_TYPES(96, 48, "%48", "%49", "%50");
  } else if constexpr (kRegisters == 64) {
    KERNELOPT_WGMMA_SHARED_TYPES(128, 64, "%64", "%65", "%66");
  } else if constexpr (kRegisters == 128) {
    KERNELOPT_WGMMA_SHARED_TYPES(256, 128, "%128", "%129", "%130");
  }
}

#undef KERNELOPT_WGMMA_SHARED_TYPES
#undef KERNELOPT_WGMMA_COLUMNS
#undef KERNELOPT_WGMMA_SHARED
#undef KERNELOPT_WGMMA_TYPES
#undef KERNELOPT_WGMMA
#undef KERNELOPT_OUTPUTS_128
#undef KERNELOPT_OUTPUTS_64
#undef KERNELOPT_OUTPUTS_48
#undef KERNELOPT_OUTPUTS_32
#undef KERNELOPT_OUTPUTS_16
#undef KERNELOPT_OUTPUTS_8
#undef KERNELOPT_NAMES_128
#undef KERNELOPT_NAMES_64
#undef KERNELOPT_NAMES_48
#undef KERNELOPT_NAMES_32
#undef KERNELOPT_NAMES_16
#undef KERNELOPT_NAMES_8

#endif

}  // namespace kernelopt
