// Bulk copies between global and shared memory and the barriers they complete on: Hopper's copy
// engine. Includes no torch header.
#pragma once

#include "common/mma.cuh"

#if !defined(__CUDA_ARCH__) || (__CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1000)
#define KERNELOPT_HAS_BULK_COPY 1
#else
#define KERNELOPT_HAS_BULK_COPY 0
#endif

namespace kernelopt {

#if KERNELOPT_HAS_BULK_COPY

/// A barrier in shared memory, by its shared address, that `arrivals` arrivals complete.
__device__ __forceinline__ void mbarrier_init(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Ends a barrier: its memory holds something else from here on.
__device__ __forceinline__ void mbarrier_invalidate(uint32_t barrier) {
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

/// Makes initialized barriers visible to the copy engine; a __syncthreads() makes them so to the
/// block.
__device__ __forceinline__ void mbarrier_fence_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Arrives, and makes the barrier's phase wait for `bytes` of bulk copies as well.
__device__ __forceinline__ void mbarrier_arrive_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

/// Waits for the end of the phase of this parity: 0 for a barrier's first.
__device__ __forceinline__ void mbarrier_wait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Starts a copy into shared memory that completes on a barrier. Addresses and size are multiples
/// of 16 bytes.
__device__ __forceinline__ void bulk_load(uint32_t destination, const void* source, uint32_t bytes,
                                          uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(destination),
      "l"(source), "r"(bytes), "r"(barrier)
      : "memory");
}

/// Starts a copy out of shared memory, as a member of this thread's current bulk group. Addresses
/// and size are multiples of 16 bytes.
__device__ __forceinline__ void bulk_store(void* destination, uint32_t source, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(destination),
               "r"(source), "r"(bytes)
               : "memory");
}

/// The same, of what the L2 cache need not keep.
__device__ __forceinline__ void bulk_store_streaming(void* destination, uint32_t source,
                                                     uint32_t bytes) {
  asm volatile(
      "{\n"
      ".reg .b64 policy;\n"
      "createpolicy.fractional.L2::evict_first.b64 policy, 1.0;\n"
      "cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%0], [%1], %2, policy;\n"
      "}\n" ::"l"(destination),
      "r"(source), "r"(bytes)
      : "memory");
}

/// Starts a copy of a tensor map's box into shared memory that completes on a barrier, the box's
/// bytes in all; elements outside the tensor become zeros. The destination is a multiple of 128.
/// @param map    a CUtensorMap among the kernel's parameters
/// @param begin  the box's first element, at a multiple of 16 bytes; else the instruction is
/// illegal
__device__ __forceinline__ void tensor_load(uint32_t destination, const void* map,
                                            const int (&begin)[4], uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %4, %5}], [%6];" ::"r"(destination),
      "l"(map), "r"(begin[0]), "r"(begin[1]), "r"(begin[2]), "r"(begin[3]), "r"(barrier)
      : "memory");
}

/// Starts a copy of a box out of shared memory, as a member of this thread's current bulk group;
/// elements outside the tensor are left out.
__device__ __forceinline__ void tensor_store(const void* map, const int (&begin)[4],
                                             uint32_t source) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(
          map),
      "r"(begin[0]), "r"(begin[1]), "r"(begin[2]), "r"(begin[3]), "r"(source)
      : "memory");
}

/// The same, of what the L2 cache need not keep.
__device__ __forceinline__ void tensor_store_streaming(const void* map, const int (&begin)[4],
                                                       uint32_t source) {
  asm volatile(
      "{\n"
      ".reg .b64 policy;\n"
      "createpolicy.fractional.L2::evict_first.b64 policy, 1.0;\n"
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group.L2::cache_hint "
      "[%0, {%1, %2, %3, %4}], [%5], policy;\n"
      "}\n" ::"l"(map),
      "r"(begin[0]), "r"(begin[1]), "r"(begin[2]), "r"(begin[3]), "r"(source)
      : "memory");
}

__device__ __forceinline__ void bulk_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/// Waits until all but this thread's kPending latest groups have read their shared memory.
template <int kPending>
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

/// Waits until all of this thread's groups are complete.
__device__ __forceinline__ void bulk_wait_all() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/// Orders this thread's ordinary accesses to shared memory before later ones of the copy engine
/// and of the tensor cores.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

#endif

}  // namespace kernelopt
