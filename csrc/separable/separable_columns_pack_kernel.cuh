// Writes contiguous images as padded columns in the parts that the tensor cores multiply, and packs
// the weight beside: what separable_columns_depthwise_kernel.cuh does where there is no depthwise
// half. A block's planes are one run of memory. Includes no torch header.
#pragma once

#include "separable/separable_columns_depthwise_kernel.cuh"

namespace kernelopt {

template <typename T>
__global__ void __launch_bounds__(SeparableColumnsShape::kPackThreads)
    separable_columns_pack_kernel(const __grid_constant__ SeparableColumnsParams p) {
#if KERNELOPT_HAS_BULK_COPY
  constexpr int kHead = SeparableColumnsShape::kDepthwiseHead;
  // A barrier, the source.
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t barrier = shared_address(shared);
  if (!begins_columns<T>(p, barrier)) {
    return;
  }
  const int first_plane = blockIdx.x * p.block_planes;
  const int planes = min(p.block_planes, p.source_planes - first_plane);
  const T* const input = static_cast<const T*>(p.problem.input);
  const T* const source = input + int64_t{first_plane} * p.plane;
  load_run<T>(reinterpret_cast<T*>(shared + kHead), source, planes * p.plane,
              input + int64_t{p.source_planes} * p.plane, barrier);
  mbarrier_wait(barrier, 0);
  __syncthreads();
  const T* const values =
      reinterpret_cast<const T*>(shared + kHead + reinterpret_cast<uintptr_t>(source) % 16);
  const int64_t next_part = int64_t{p.problem.channels} * p.total;
  const unsigned pairs = planes * p.units.divisor;
#pragma unroll 4
  for (unsigned pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
    const unsigned plane = p.units.quotient(pair);
    const int pixel = static_cast<int>(pair - plane * p.units.divisor) * 2;
    const unsigned n = p.channels.quotient(first_plane + plane);
    const unsigned channel = first_plane + plane - n * p.channels.divisor;
    const T* const from = values + plane * p.plane + pixel;
    uint16_t* const to =
        static_cast<uint16_t*>(p.columns) + int64_t{channel} * p.total + n * p.pitch + pixel;
    const T zero = from_accumulate<T>(0.0f);
    const T first = pixel < p.plane ? from[0] : zero;
    const T second = pixel + 1 < p.plane ? from[1] : zero;
    if constexpr (MmaTraits<T>::kParts == 2) {
      const SplitPair split = split_bf16(first, second);
      *reinterpret_cast<uint32_t*>(to) = split.high;
      *reinterpret_cast<uint32_t*>(to + next_part) = split.low;
    } else {
      *reinterpret_cast<uint32_t*>(to) =
          *reinterpret_cast<const uint16_t*>(&first) |
          static_cast<uint32_t>(*reinterpret_cast<const uint16_t*>(&second)) << 16;
    }
  }
#endif
}

}  // namespace kernelopt
