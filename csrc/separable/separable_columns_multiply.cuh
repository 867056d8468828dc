// The step of the product over padded columns: one instruction for all columns of a tile, which
// reads the left operand once. Includes no torch header.
#pragma once

#include "common/wgmma.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

// Accumulators as operands of an asm statement.
#define KERNELOPT_OUTPUTS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define KERNELOPT_OUTPUTS_16(i)                                                   \
  KERNELOPT_OUTPUTS_4(i), KERNELOPT_OUTPUTS_4(i + 4), KERNELOPT_OUTPUTS_4(i + 8), \
      KERNELOPT_OUTPUTS_4(i + 12)
#define KERNELOPT_OUTPUTS_32 KERNELOPT_OUTPUTS_16(0), KERNELOPT_OUTPUTS_16(16)
#define KERNELOPT_OUTPUTS_64 \
  KERNELOPT_OUTPUTS_32, KERNELOPT_OUTPUTS_16(32), KERNELOPT_OUTPUTS_16(48)
#define KERNELOPT_OUTPUTS_80 KERNELOPT_OUTPUTS_64, KERNELOPT_OUTPUTS_16(64)
#define KERNELOPT_OUTPUTS_96 KERNELOPT_OUTPUTS_80, KERNELOPT_OUTPUTS_16(80)
#define KERNELOPT_OUTPUTS_104 \
  KERNELOPT_OUTPUTS_96, KERNELOPT_OUTPUTS_4(96), KERNELOPT_OUTPUTS_4(100)
#define KERNELOPT_NAMES_32                                            \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, " \
  "%15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, " \
  "%28, %29, %30, %31"
#define KERNELOPT_NAMES_64                                              \
  KERNELOPT_NAMES_32                                                    \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, " \
  "%45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, "   \
  "%58, %59, %60, %61, %62, %63"
#define KERNELOPT_NAMES_80                                              \
  KERNELOPT_NAMES_64                                                    \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, " \
  "%77, %78, %79"
#define KERNELOPT_NAMES_96                                              \
  KERNELOPT_NAMES_80                                                    \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, " \
  "%93, %94, %95"
#define KERNELOPT_NAMES_104 \
  KERNELOPT_NAMES_96        \
  ", %96, %97, %98, %99, %100, %101, %102, %103"
#define KERNELOPT_COLUMNS_WGMMA(kN, kRegisters, kType, left, end, predicate, ...) \
  asm volatile(                                                                   \
      "{\n"                                                                       \
      ".reg .pred p;\n"                                                           \
      "setp.ne.b32 p, " predicate                                                 \
      ", 0;\n"                                                                    \
      "wgmma.mma_async.sync.aligned.m64n" #kN "k16.f32." kType "." kType          \
      " {" KERNELOPT_NAMES_##kRegisters "}, " left ", p, 1, 1, " end              \
                                        ";\n"                                     \
                                        "}\n"                                     \
      : KERNELOPT_OUTPUTS_##kRegisters                                            \
      : __VA_ARGS__, "l"(b), "r"(accumulate))

/// As wgmma_m64k16() with both operands in shared memory, rows of the right one along its columns;
/// also for 160, 192 and 208 columns.
template <typename T, int kRegisters>
__device__ __forceinline__ void multiply_columns(float (&d)[kRegisters], uint64_t a, uint64_t b,
                                                 int accumulate) {
  if constexpr (kRegisters < 80) {
    wgmma_m64k16<T, false, true>(d, a, b, accumulate);
  } else if constexpr (kRegisters == 80) {
    if constexpr (std::is_same_v<T, __half>) {
      KERNELOPT_COLUMNS_WGMMA(160, 80, "f16", "%80, %81", "0, 1", "%82", "l"(a));
    } else {
      KERNELOPT_COLUMNS_WGMMA(160, 80, "bf16", "%80, %81", "0, 1", "%82", "l"(a));
    }
  } else if constexpr (kRegisters == 104) {
    if constexpr (std::is_same_v<T, __half>) {
      KERNELOPT_COLUMNS_WGMMA(208, 104, "f16", "%104, %105", "0, 1", "%106", "l"(a));
    } else {
      KERNELOPT_COLUMNS_WGMMA(208, 104, "bf16", "%104, %105", "0, 1", "%106", "l"(a));
    }
  } else if constexpr (std::is_same_v<T, __half>) {
    KERNELOPT_COLUMNS_WGMMA(192, 96, "f16", "%96, %97", "0, 1", "%98", "l"(a));
  } else {
    KERNELOPT_COLUMNS_WGMMA(192, 96, "bf16", "%96, %97", "0, 1", "%98", "l"(a));
  }
}

#undef KERNELOPT_COLUMNS_WGMMA
#undef KERNELOPT_NAMES_104
#undef KERNELOPT_NAMES_96
#undef KERNELOPT_NAMES_80
#undef KERNELOPT_NAMES_64
#undef KERNELOPT_NAMES_32
#undef KERNELOPT_OUTPUTS_104
#undef KERNELOPT_OUTPUTS_96
#undef KERNELOPT_OUTPUTS_80
#undef KERNELOPT_OUTPUTS_64
#undef KERNELOPT_OUTPUTS_32
#undef KERNELOPT_OUTPUTS_16
#undef KERNELOPT_OUTPUTS_4

#endif

}  // namespace kernelopt
