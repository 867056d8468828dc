// The copies of piece_copy.cuh for blocks that load once and store once. Where source or result is
// a single piece, few instructions stand before its copy: a block waits for nothing so long.
// Includes no torch header.
#pragma once

#include "common/grid_dependency.cuh"
#include "common/piece_copy.cuh"

namespace kernelopt {

/// Sets `barrier` up and, once the kernel in front has ended, starts loading pieces of a tensor of
/// elements T; every thread calls it. finish_loads<0>(barrier, 0) waits for them. Nothing that the
/// kernel in front may write is read before it.
template <typename T>
__device__ __forceinline__ void start_only_load(const CopyPieces& pieces, const char* tensor_begin,
                                                const char* tensor_end, uint64_t* barrier) {
#if KERNELOPT_HAS_BULK_COPY
  if (pieces.count == 1) {
    const CopyBody body = units_around(pieces.global, pieces.bytes, tensor_begin, tensor_end);
    if (threadIdx.x == 0) {
      mbarrier_init(shared_address(barrier), 1);
      mbarrier_fence_init();
      mbarrier_arrive_expect(shared_address(barrier), body.end - body.begin);
    }
    grid_dependency_wait();
    if (threadIdx.x == 0 && body.end > body.begin) {
      bulk_load(shared_address(pieces.shared + body.begin), pieces.global + body.begin,
                body.end - body.begin, shared_address(barrier));
    }
    // Less than two units at the ends of the tensor, an element a lane.
    if (threadIdx.x < 32) {
      const int offset = static_cast<int>(threadIdx.x * sizeof(T));
      const int step = static_cast<int>(sizeof(T));
      if (offset < min(body.begin, pieces.bytes)) {
        copy_elements<T>(pieces.shared, pieces.global, offset, offset + step);
      }
      if (body.end + offset < pieces.bytes) {
        copy_elements<T>(pieces.shared + body.end, pieces.global + body.end, offset, offset + step);
      }
    }
    return;
  }
#endif
  if (threadIdx.x == 0) {
    init_load_barrier(barrier, 1);
  }
  grid_dependency_wait();
  start_load<T>(pieces, tensor_begin, tensor_end, barrier);
  commit_loads();
}

/// Stores pieces that any of the block's threads has written in shared memory.
template <typename T>
__device__ __forceinline__ void store_only_pieces(const CopyPieces& pieces) {
#if KERNELOPT_HAS_BULK_COPY
  if (pieces.count == 1) {
    const CopyBody body = units_within(pieces.global, pieces.bytes);
    fence_async_proxy();
    __syncthreads();
    if (threadIdx.x < 32) {
      if (threadIdx.x == 0 && body.end > body.begin) {
        bulk_store(pieces.global + body.begin, shared_address(pieces.shared + body.begin),
                   body.end - body.begin);
      }
      const int offset = static_cast<int>(threadIdx.x * sizeof(T));
      const int step = static_cast<int>(sizeof(T));
      if (offset < min(body.begin, pieces.bytes)) {
        copy_elements<T>(pieces.global, pieces.shared, offset, offset + step);
      }
      if (body.end + offset < pieces.bytes) {
        copy_elements<T>(pieces.global + body.end, pieces.shared + body.end, offset, offset + step);
      }
      bulk_commit();
      bulk_wait_read<0>();
    }
    return;
  }
#endif
  store_pieces<T>(pieces);
}

}  // namespace kernelopt
