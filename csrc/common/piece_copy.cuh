// Contiguous pieces of tensors on their way between global and shared memory, whatever their
// alignment: a piece lies in shared memory at its global address modulo 16, so that all but its
// ends moves in units of 16 bytes. On Hopper by the bulk copy engine, which needs one instruction
// for a piece and no register; elsewhere by the threads. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"

namespace kernelopt {

/// `count` pieces of `bytes` each. In shared memory piece i begins at shared + i * shared_pitch;
/// both pitches and both beginnings are equal modulo 16. The 16-byte units that pieces overlap in
/// shared memory belong to one piece each, unless there is a single piece.
struct CopyPieces {
  char* global;
  int64_t global_pitch;
  unsigned char* shared;
  int shared_pitch;
  int bytes;
  int count;
};

/// What of a piece moves in 16-byte units: [begin, end) relative to its first byte. What lies
/// before and behind moves element by element.
struct CopyBody {
  int begin;
  int end;
};

__device__ __forceinline__ int address_modulo_16(const void* address) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(address) & 15);
}

/// Where in an area of shared memory, aligned to kCopyAlignment bytes, a piece belongs: at its own
/// address modulo kCopyAlignment, as the copy engine is fastest between equally aligned places.
constexpr int kCopyAlignment = 128;
__device__ __forceinline__ int place_in_area(const void* global) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(global) & (kCopyAlignment - 1));
}

/// The units that hold a piece, but for those that reach outside its tensor.
__device__ __forceinline__ CopyBody units_around(const char* piece, int bytes,
                                                 const char* tensor_begin, const char* tensor_end) {
  const int phase = address_modulo_16(piece);
  int begin = -phase;
  int end = ((phase + bytes + 15) & ~15) - phase;
  begin += piece + begin < tensor_begin ? 16 : 0;
  end -= piece + end > tensor_end ? 16 : 0;
  if (end <= begin) {
    begin = end = begin > 0 ? begin : 0;
  }
  return {begin, end};
}

/// The units inside a piece.
__device__ __forceinline__ CopyBody units_within(const char* piece, int bytes) {
  const int phase = address_modulo_16(piece);
  const int begin = (16 - phase) & 15;
  const int end = ((phase + bytes) & ~15) - phase;
  return {begin, end < begin ? begin : end};
}

template <typename T>
__device__ __forceinline__ void copy_elements(void* to, const void* from, int begin, int end) {
#pragma unroll 1
  for (int offset = begin; offset < end; offset += sizeof(T)) {
    *reinterpret_cast<T*>(static_cast<char*>(to) + offset) =
        *reinterpret_cast<const T*>(static_cast<const char*>(from) + offset);
  }
}

/// Of a barrier that start_load() uses; called by thread 0, before it starts a load.
/// @param loads  between two calls of finish_load()
__device__ __forceinline__ void init_load_barrier(uint64_t* barrier, int loads) {
#if KERNELOPT_HAS_BULK_COPY
  mbarrier_init(shared_address(barrier), 32 * loads);
  mbarrier_fence_init();
#endif
}

/// Before a barrier's memory is used for something else; called by thread 0, when all loads have
/// been waited for. Without it, what was stored there was seen to change.
__device__ __forceinline__ void end_load_barrier(uint64_t* barrier) {
#if KERNELOPT_HAS_BULK_COPY
  mbarrier_invalidate(shared_address(barrier));
#endif
}

/// Starts loading pieces of a tensor of elements T; every thread calls it. Reads nothing outside
/// [tensor_begin, tensor_end); beside a piece, up to 15 bytes are written in shared memory.
template <typename T>
__device__ __forceinline__ void start_load(const CopyPieces& pieces, const char* tensor_begin,
                                           const char* tensor_end, uint64_t* barrier) {
#if KERNELOPT_HAS_BULK_COPY
  constexpr int kLanes = 32;
  if (threadIdx.x >= kLanes) {
    return;
  }
  const int lane = threadIdx.x;
  __syncwarp();
  int expected = 0;
  for (int i = lane; i < pieces.count; i += kLanes) {
    const CopyBody body = units_around(pieces.global + i * pieces.global_pitch, pieces.bytes,
                                       tensor_begin, tensor_end);
    expected += body.end - body.begin;
  }
  mbarrier_arrive_expect(shared_address(barrier), expected);
  for (int i = lane; i < pieces.count; i += kLanes) {
    const char* from = pieces.global + i * pieces.global_pitch;
    unsigned char* to = pieces.shared + i * pieces.shared_pitch;
    const CopyBody body = units_around(from, pieces.bytes, tensor_begin, tensor_end);
    if (body.end > body.begin) {
      bulk_load(shared_address(to + body.begin), from + body.begin, body.end - body.begin,
                shared_address(barrier));
    }
    copy_elements<T>(to, from, 0, body.begin < pieces.bytes ? body.begin : pieces.bytes);
    copy_elements<T>(to, from, body.end, pieces.bytes);
  }
#else
  for (int i = 0; i < pieces.count; ++i) {
    const char* from = pieces.global + i * pieces.global_pitch;
    unsigned char* to = pieces.shared + i * pieces.shared_pitch;
    const CopyBody body = units_around(from, pieces.bytes, tensor_begin, tensor_end);
#pragma unroll 4
    for (int offset = body.begin + 16 * static_cast<int>(threadIdx.x); offset < body.end;
         offset += 16 * blockDim.x) {
#if KERNELOPT_HAS_MMA
      copy_async<16>(shared_address(to + offset), from + offset, true);
#else
      *reinterpret_cast<uint4*>(to + offset) = *reinterpret_cast<const uint4*>(from + offset);
#endif
    }
    if (threadIdx.x == 0) {
      copy_elements<T>(to, from, 0, body.begin < pieces.bytes ? body.begin : pieces.bytes);
      copy_elements<T>(to, from, body.end, pieces.bytes);
    }
  }
#endif
}

/// Ends a stage of loads.
__device__ __forceinline__ void commit_loads() {
#if !KERNELOPT_HAS_BULK_COPY && KERNELOPT_HAS_MMA
  copy_async_commit();
#endif
}

/// Returns when a stage of loads is there for every thread.
/// @tparam kLater  stages that were committed after it
/// @param parity   0, 1, 0, ... from call to call with the same barrier
template <int kLater>
__device__ __forceinline__ void finish_loads(uint64_t* barrier, int parity) {
#if KERNELOPT_HAS_BULK_COPY
  __syncthreads();  // for the barrier's initialization and the elements beside the bulk copies
  mbarrier_wait(shared_address(barrier), parity);
#else
#if KERNELOPT_HAS_MMA
  copy_async_wait<kLater>();
#endif
  __syncthreads();
#endif
}

/// Stores pieces that any of the block's threads has written in shared memory.
template <typename T>
__device__ __forceinline__ void store_pieces(const CopyPieces& pieces) {
#if KERNELOPT_HAS_BULK_COPY
  fence_async_proxy();
  __syncthreads();
  // A thread to each piece's end as well: they are few, and latency is what they cost.
  constexpr int kEnd = 16 / sizeof(T);  // elements that an end has room for
  for (int item = threadIdx.x; item < pieces.count * 2 * kEnd; item += blockDim.x) {
    const int i = item / (2 * kEnd);
    char* to = pieces.global + i * pieces.global_pitch;
    const unsigned char* from = pieces.shared + i * pieces.shared_pitch;
    const CopyBody body = units_within(to, pieces.bytes);
    const int place = item % (2 * kEnd);
    const int offset = static_cast<int>(sizeof(T)) * (place % kEnd) + (place < kEnd ? 0 : body.end);
    if (offset < (place < kEnd && body.begin < pieces.bytes ? body.begin : pieces.bytes)) {
      *reinterpret_cast<T*>(to + offset) = *reinterpret_cast<const T*>(from + offset);
    }
    if (place == 0 && body.end > body.begin) {
      bulk_store(to + body.begin, shared_address(from + body.begin), body.end - body.begin);
    }
  }
  bulk_commit();
  bulk_wait_read<0>();
#else
  __syncthreads();
  for (int i = 0; i < pieces.count; ++i) {
    char* to = pieces.global + i * pieces.global_pitch;
    const unsigned char* from = pieces.shared + i * pieces.shared_pitch;
    const CopyBody body = units_within(to, pieces.bytes);
#pragma unroll 4
    for (int offset = body.begin + 16 * static_cast<int>(threadIdx.x); offset < body.end;
         offset += 16 * blockDim.x) {
      *reinterpret_cast<uint4*>(to + offset) = *reinterpret_cast<const uint4*>(from + offset);
    }
    const int element = sizeof(T) * static_cast<int>(threadIdx.x);
    const int head = body.begin < pieces.bytes ? body.begin : pieces.bytes;
    if (element < head) {
      copy_elements<T>(to, from, element, element + 1);
    }
    if (body.end + element < pieces.bytes) {
      copy_elements<T>(to, from, body.end + element, body.end + element + 1);
    }
  }
#endif
}

}  // namespace kernelopt
