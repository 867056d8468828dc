// The loading warps of the warpgroup kernel: chunks of 128 bytes of the rows of a tile, each as one
// row in shared memory. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/grid_dependency.cuh"
#include "common/wgmma.cuh"
#include "separable/channel_gemm_wgmma_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where unit `unit` of 16 bytes of a row stands in it. In 16 bit as the tensor cores expect; fp32
/// is read by threads, two rows of four units at a time.
template <typename T>
__device__ __forceinline__ int swizzled_unit(int unit, int row) {
  return sizeof(T) == 2 ? unit ^ (row & 7) : unit ^ (row & 1) * 4;
}

/// Starts copying `bytes` bytes each of `rows` of kRows rows, zeros for what is not there.
template <typename T, int kRows>
__device__ __forceinline__ void load_rows(uint32_t destination, const char* source, int64_t pitch,
                                          int rows, int bytes, int piece) {
  constexpr int kChunkBytes = ChannelGemmWgmmaShape::kChunkBytes;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  if (piece == 16) {
    constexpr int kStep = 16;  // rows of the four warps
    const int unit = lane % 8, first = warp * 4 + lane / 8;
    const bool valid = unit * 16 < bytes;
    const char* from = source + first * pitch + unit * 16;
    const uint32_t to = destination + first * kChunkBytes + swizzled_unit<T>(unit, first) * 16;
#pragma unroll
    for (int row = 0; row < kRows; row += kStep) {
      copy_async<16>(to + row * kChunkBytes, from, valid && first + row < rows);
      from += kStep * pitch;
    }
    return;
  }
  // A warp copies a row at a time, a thread four bytes of it.
  constexpr int kStep = 4, kUnroll = 8;
  const char* from = source + warp * pitch + lane * 4;
  const auto place = [&](int row) {
    return destination + row * kChunkBytes + swizzled_unit<T>(lane / 4, row) * 16 + lane % 4 * 4;
  };
  if (piece == 4) {
    const bool valid = lane * 4 < bytes;
#pragma unroll 4
    for (int row = warp; row < kRows; row += kStep) {
      copy_async<4>(place(row), from, valid && row < rows);
      from += kStep * pitch;
    }
    return;
  }
  const bool valid[2] = {lane * 4 < bytes, lane * 4 + 2 < bytes};
#pragma unroll 1
  for (int first = warp; first < kRows; first += kStep * kUnroll) {
    uint32_t words[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const bool inside = first + i * kStep < rows;
      const uint16_t* pair = reinterpret_cast<const uint16_t*>(from);
      const uint32_t low = inside && valid[0] ? pair[0] : 0;
      const uint32_t high = inside && valid[1] ? pair[1] : 0;
      words[i] = low | high << 16;
      from += kStep * pitch;
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      asm volatile("st.shared.b32 [%0], %1;" ::"r"(place(first + i * kStep)), "r"(words[i])
                   : "memory");
    }
  }
}

/// The stages of shared memory as the loading warps fill them, in order.
struct LoadRing {
  int stages;
  uint32_t full, empty;  // their barriers
  int stage = 0;         // that is filled next
  uint32_t parity = 1;
  int oldest = 0, loading = 0;  // started, and not handed over

  __device__ __forceinline__ LoadRing(int stages, uint32_t full, uint32_t empty)
      : stages(stages), full(full), empty(empty) {}

  /// Waits until the next stage may be filled.
  __device__ __forceinline__ void begin() const { mbarrier_wait(empty + stage * 8, parity); }

  /// To stand after the copies into it. Hands over the stage that was started kPending before.
  template <int kPending>
  __device__ __forceinline__ void end() {
    copy_async_commit();
    ++loading;
    hand_over<kPending>();
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }

  /// Hands over the last kPending stages, one by one as they arrive.
  template <int kPending>
  __device__ __forceinline__ void finish() {
    if constexpr (kPending > 0) {
      hand_over<kPending - 1>();
      finish<kPending - 1>();
    }
  }

 private:
  template <int kPending>
  __device__ __forceinline__ void hand_over() {
    copy_async_wait<kPending>();
    if (loading > kPending) {
      fence_async_proxy();
      __syncwarp();
      if (threadIdx.x % 32 == 0) {
        mbarrier_arrive(full + oldest * 8);
      }
      oldest = oldest + 1 == stages ? 0 : oldest + 1;
      --loading;
    }
  }
};

/// Loads all stages of the block's tiles.
/// @param full, empty, ready  barriers of the stages, and of the resident weights' chunks
template <typename T, int kTilesM, int kN>
__device__ __forceinline__ void load_channel_stages(const ChannelGemmWgmmaParams& p,
                                                    uint32_t resident, uint32_t stages,
                                                    uint32_t full, uint32_t empty, uint32_t ready) {
  using Shape = ChannelGemmWgmmaShape;
  constexpr int kRows = kTilesM * 64;
  constexpr int kPending = Shape::pending_stages(kTilesM, false);
  constexpr int kPendingTogether = Shape::pending_stages(kTilesM, true);
  constexpr int kLeftBytes = kRows * Shape::kChunkBytes, kRightBytes = kN * Shape::kChunkBytes;
  constexpr int kSize = static_cast<int>(sizeof(T));
  const int parts = p.together ? Shape::kWarpgroups : 1;
  const int left_bytes = parts * kLeftBytes;
  const int stage_bytes = left_bytes + (p.resident ? 0 : kRightBytes);
  const int64_t pitch = static_cast<int64_t>(p.k) * kSize;
  const int first_column = blockIdx.y * kN;
  const char* right = static_cast<const char*>(p.right) + first_column * pitch;
  LoadRing ring(p.stages, full, empty);
  for (int tile = blockIdx.x; tile < p.row_tiles; tile += gridDim.x) {
    const int64_t row = static_cast<int64_t>(tile) * parts * kRows;
    const int rows = static_cast<int>(min(static_cast<int64_t>(parts * kRows), p.m - row));
    const char* left = static_cast<const char*>(p.left) + row * pitch;
    const bool load_right = !p.resident || tile == static_cast<int>(blockIdx.x);
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      const int offset = chunk * Shape::kChunkBytes;
      const int bytes =
          static_cast<int>(min(static_cast<int64_t>(Shape::kChunkBytes), pitch - offset));
      ring.begin();
      const uint32_t left_place = stages + ring.stage * stage_bytes;
      if (load_right) {
        const uint32_t place =
            p.resident ? resident + chunk * kRightBytes : left_place + left_bytes;
        if (p.packed == nullptr) {
          load_rows<T, kN>(place, right + offset, pitch, p.n - first_column, bytes, 16);
        } else if (threadIdx.x % 128 == 0) {
          grid_dependency_wait();
          const uint32_t barrier = p.resident ? ready + chunk * 8 : full + ring.stage * 8;
          mbarrier_arrive_expect(barrier, kRightBytes);
          bulk_load(place,
                    static_cast<const char*>(p.packed) +
                        (static_cast<int64_t>(blockIdx.y) * p.chunks + chunk) * kRightBytes,
                    kRightBytes, barrier);
        }
      }
      for (int part = 0; part < parts; ++part) {
        load_rows<T, kRows>(left_place + part * kLeftBytes, left + offset + part * kRows * pitch,
                            pitch, rows - part * kRows, bytes, p.piece);
      }
      if (p.together) {
        ring.end<kPendingTogether>();
      } else {
        ring.end<kPending>();
      }
    }
  }
  ring.finish<kPending>();
}

#endif

}  // namespace kernelopt
