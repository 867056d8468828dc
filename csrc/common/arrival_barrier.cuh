// A barrier in shared memory on which some warps wait for the arrival of others, for sm_80 and
// later. Includes no torch header.
#pragma once

#include "common/mma.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_MMA

/// One phase after another, each complete with `arrivals` arrivals. What a thread wrote before it
/// arrived is visible to those that have waited for the phase.
class ArrivalBarrier {
 public:
  __device__ __forceinline__ void init(int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(&state_)), "r"(arrivals)
                 : "memory");
  }

  __device__ __forceinline__ void arrive() {
    asm volatile(
        "{\n"
        ".reg .b64 token;\n"
        "mbarrier.arrive.shared.b64 token, [%0];\n"
        "}\n" ::"r"(shared_address(&state_))
        : "memory");
  }

  /// All lanes of a warp have got here: one arrival.
  __device__ __forceinline__ void arrive_warp() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      arrive();
    }
  }

  /// Waits for the end of the phase of this parity: 0 for the first.
  __device__ __forceinline__ void wait(uint32_t parity) {
    const uint32_t address = shared_address(&state_);
    uint32_t done;
    do {
      asm volatile(
          "{\n"
          ".reg .pred p;\n"
          "mbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n"
          "selp.b32 %0, 1, 0, p;\n"
          "}\n"
          : "=r"(done)
          : "r"(address), "r"(parity)
          : "memory");
    } while (done == 0);
  }

 private:
  uint64_t state_;
};

#endif

}  // namespace kernelopt
