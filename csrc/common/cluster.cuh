// Blocks of a cluster, Hopper's, which read each other's shared memory. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_BULK_COPY

/// A barrier of all threads of the cluster that have not ended.
__device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

/// The place in block `rank` of what lies at `address` in this one.
__device__ __forceinline__ uint32_t cluster_address(uint32_t address, int rank) {
  uint32_t other;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(other) : "r"(address), "r"(rank));
  return other;
}

__device__ __forceinline__ float cluster_load(uint32_t address) {
  float value;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  return value;
}

__device__ __forceinline__ float4 cluster_load_vector(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

#endif

}  // namespace kernelopt
