// The step of the product over padded columns: one instruction for all columns of a tile, which
// reads the left operand once. Includes no torch header.
#pragma once

#include "common/wgmma.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

// 96 accumulators as operands of an asm statement.
#define KERNELOPT_OUTPUTS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define KERNELOPT_OUTPUTS_16(i)                                                   \
  KERNELOPT_OUTPUTS_4(i), KERNELOPT_OUTPUTS_4(i + 4), KERNELOPT_OUTPUTS_4(i + 8), \
      KERNELOPT_OUTPUTS_4(i + 12)
#define KERNELOPT_OUTPUTS_96                                                   \
  KERNELOPT_OUTPUTS_16(0), KERNELOPT_OUTPUTS_16(16), KERNELOPT_OUTPUTS_16(32), \
      KERNELOPT_OUTPUTS_16(48), KERNELOPT_OUTPUTS_16(64), KERNELOPT_OUTPUTS_16(80)
#define KERNELOPT_WGMMA_192(kType)                                                       \
  asm volatile(                                                                          \
      "{\n"                                                                              \
      ".reg .pred p;\n"                                                                  \
      "setp.ne.b32 p, %98, 0;\n"                                                         \
      "wgmma.mma_async.sync.aligned.m64n192k16.f32." kType "." kType                     \
      " {"                                                                               \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, " \
      "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, " \
      "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, " \
      "%66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, " \
      "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
      "}, %96, %97, p, 1, 1, 0, 1;\n"                                                    \
      "}\n"                                                                              \
      : KERNELOPT_OUTPUTS_96                                                             \
      : "l"(a), "l"(b), "r"(accumulate))

/// As wgmma_m64k16() with both operands in shared memory, rows of the right one along its columns;
/// also for 192 columns.
template <typename T, int kRegisters>
__device__ __forceinline__ void multiply_columns(float (&d)[kRegisters], uint64_t a, uint64_t b,
                                                 int accumulate) {
  if constexpr (kRegisters < 96) {
    wgmma_m64k16<T, false, true>(d, a, b, accumulate);
  } else if constexpr (std::is_same_v<T, __half>) {
    KERNELOPT_WGMMA_192("f16");
  } else {
    KERNELOPT_WGMMA_192("bf16");
  }
}

#undef KERNELOPT_WGMMA_192
#undef KERNELOPT_OUTPUTS_96
#undef KERNELOPT_OUTPUTS_16
#undef KERNELOPT_OUTPUTS_4

#endif

}  // namespace kernelopt
