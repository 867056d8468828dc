// The weight gradient of the pointwise convolution in channels_last on Hopper's tensor cores, 16
// bit:
//   partial[share, o, c] = sum over the share's pixels of grad[p, o] * input[p, c]
// A block owns a share and 128 x kN channels. Four warps copy chunks of 64 pixels, two warpgroups
// multiply 64 output channels each: the sum runs across the rows of both operands, which wgmma
// takes from shared memory in 16 bit. Rows are contiguous and begin on 16 bytes.
#pragma once

#include "separable/channel_gemm_wgmma_load.cuh"
#include "separable/channel_gradient_wgmma_plan.h"

namespace kernelopt {

template <typename T, int kN>
__global__ void __launch_bounds__(ChannelGradientWgmmaShape::kThreads, 1)
    channel_gradient_wgmma_kernel(const __grid_constant__ ChannelGradientWgmmaParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = ChannelGradientWgmmaShape;
  constexpr int kLeftPanels = Shape::kTileM / Shape::kColumns, kRightPanels = kN / Shape::kColumns;
  constexpr int kStageBytes = Shape::stage_bytes(kN), kPanelBytes = Shape::kPanelBytes;
  constexpr int kWarpgroups = ChannelGemmWgmmaShape::kWarpgroups;
  static_assert(kLeftPanels == kWarpgroups, "a panel to a warpgroup");

  extern __shared__ __align__(1024) unsigned char shared[];  // stages, barriers
  const uint32_t stages = shared_address(shared);
  const uint32_t full = stages + p.stages * kStageBytes, empty = full + p.stages * 8;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.stages; ++stage) {
      mbarrier_init(full + stage * 8, 4);
      mbarrier_init(empty + stage * 8, kWarpgroups * 4);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpgroup = warp / 4;
  const int first_row = static_cast<int>(blockIdx.y) / p.column_tiles * Shape::kTileM;
  const int first_column = static_cast<int>(blockIdx.y) % p.column_tiles * kN;
  const int64_t begin = blockIdx.x * p.share_pixels;
  const int64_t end = min(begin + p.share_pixels, p.pixels);
  if (warpgroup == kWarpgroups) {
    LoadRing ring(p.stages, full, empty);
    const auto load_panel = [&](int panel, const void* source, int64_t pixel, int channels,
                                int channel) {
      load_rows<T, Shape::kPixels>(
          stages + ring.stage * kStageBytes + panel * kPanelBytes,
          static_cast<const char*>(source) + (pixel * channels + channel) * 2,
          static_cast<int64_t>(channels) * 2, static_cast<int>(min(end - pixel, int64_t{1} << 30)),
          (channels - channel) * 2, 16);
    };
    for (int64_t pixel = begin; pixel < end; pixel += Shape::kPixels) {
      ring.begin();
#pragma unroll
      for (int i = 0; i < kLeftPanels; ++i) {
        load_panel(i, p.grad, pixel, p.out_channels, first_row + i * Shape::kColumns);
      }
#pragma unroll
      for (int i = 0; i < kRightPanels; ++i) {
        load_panel(kLeftPanels + i, p.input, pixel, p.channels, first_column + i * Shape::kColumns);
      }
      ring.end<Shape::kPending>();
    }
    ring.finish<Shape::kPending>();
    return;
  }

  float accumulators[kN / 2];
  int stage = 0, previous = -1;
  uint32_t parity = 0;
  const auto release = [&] {
    __syncwarp();
    if (lane == 0 && previous >= 0) {
      mbarrier_arrive(empty + previous * 8);
    }
  };
  for (int64_t pixel = begin; pixel < end; pixel += Shape::kPixels) {
    mbarrier_wait(full + stage * 8, parity);
    const uint32_t place = stages + stage * kStageBytes;
    const uint64_t left = wgmma_column_descriptor(place + warpgroup * kPanelBytes, kPanelBytes);
    const uint64_t right = wgmma_column_descriptor(place + kLeftPanels * kPanelBytes, kPanelBytes);
    constexpr int kStep = 16 * ChannelGemmWgmmaShape::kChunkBytes / 16;  // of a descriptor
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < Shape::kPixels / 16; ++step) {
      wgmma_m64k16<T, true>(accumulators, left + step * kStep, right + step * kStep,
                            step == 0 ? previous + 1 : 1);
    }
    wgmma_commit();
    wgmma_wait<1>();
    release();
    previous = stage;
    if (++stage == p.stages) {
      stage = 0;
      parity ^= 1;
    }
  }
  wgmma_wait<0>();
  wgmma_hold(accumulators);

  const int row = first_row + warpgroup * Shape::kColumns + warp % 4 * 16 + lane / 4;
  const int column = first_column + lane % 4 * 2;
  float* partial =
      p.partial + (static_cast<int64_t>(blockIdx.x) * p.out_channels + row) * p.channels + column;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int i = 0; i < kN / 8; ++i) {
      if (row + half * 8 < p.out_channels && column + i * 8 < p.channels) {
        *reinterpret_cast<float2*>(partial + int64_t{half} * 8 * p.channels + i * 8) =
            make_float2(accumulators[i * 4 + half * 2], accumulators[i * 4 + half * 2 + 1]);
      }
    }
  }
#endif
}

}  // namespace kernelopt
