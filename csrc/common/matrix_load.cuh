// Fragments of the tensor cores' operands out of shared memory; common/mma.cuh has the way back.
// Includes no torch header.
#pragma once

#include <cstdint>

namespace kernelopt {

/// Four 8 x 8 blocks of 16-bit elements as fragments; a lane gives the shared address of a row of a
/// block.
__device__ __forceinline__ void load_blocks(uint32_t (&words)[4], uint32_t source) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(source)
               : "memory");
}

/// The same of transposed blocks: a row in memory is a column of the fragment's.
__device__ __forceinline__ void load_transposed(uint32_t (&words)[4], uint32_t source) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(source)
               : "memory");
}

}  // namespace kernelopt
