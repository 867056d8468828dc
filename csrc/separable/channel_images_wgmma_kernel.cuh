// The pointwise product of small contiguous images on Hopper's tensor cores (wgmma):
//   result[b, n, m] = act(bias[n] + sum over k of right[n, k] * left[b, k, m])
// An image's pixels are on no 16-byte boundary, but its channels follow each other: a chunk of the
// sum is one run of memory an image. The copy engine brings those of several whole images and the
// packed weights; two warpgroups read 64 pixels each as fragments, split in two bf16 parts in fp32,
// and the result leaves as runs as well (channel_images_wgmma_store.cuh). Which channels of a
// chunk the four threads of a fragment's row have is chosen so that they lie in different banks.
#pragma once

#include "common/grid_dependency.cuh"
#include "separable/channel_gemm_wgmma_pack_kernel.cuh"
#include "separable/channel_images_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

template <typename T>
__device__ __forceinline__ T load_shared(uint32_t address) {
  if constexpr (sizeof(T) == 2) {
    uint16_t bits;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(bits) : "r"(address));
    return *reinterpret_cast<T*>(&bits);
  } else {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address));
    return value;
  }
}

/// 64 pixels x 16 channels of the left operand.
template <typename T>
struct ImagesFragment {
  static constexpr int kParts = MmaTraits<T>::kParts;
  uint32_t words[kParts][4];

  /// @param rows   the thread's two pixels, at its first channel of the step
  /// @param next   bytes from there to its second channel, and to its third
  __device__ __forceinline__ void load(const uint32_t (&rows)[2], const uint32_t (&next)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        const uint32_t address = rows[half] + pair * next[1];
        const T first = load_shared<T>(address), second = load_shared<T>(address + next[0]);
        uint32_t& word = words[0][half + pair * 2];
        if constexpr (kParts == 2) {
          const SplitPair split = split_bf16_unlimited(first, second);
          word = split.high;
          words[1][half + pair * 2] = split.low;
        } else {
          word = *reinterpret_cast<const uint16_t*>(&first) |
                 static_cast<uint32_t>(*reinterpret_cast<const uint16_t*>(&second)) << 16;
        }
      }
    }
  }
  __device__ __forceinline__ void hold() {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      wgmma_hold(words[part]);
    }
  }
};

/// Starts the copies of all stages, by one warp.
template <typename T, int kTilesM, int kN>
__device__ __forceinline__ void load_images(const ChannelImagesWgmmaParams& p,
                                            unsigned char* shared, uint32_t full, uint32_t empty) {
  using Shape = ChannelImagesWgmmaShape;
  constexpr int kChunkK = Shape::kChunkBytes / static_cast<int>(sizeof(T));
  constexpr int kWeightBytes = kN * Shape::kChunkBytes;
  constexpr int kStageBytes = kWeightBytes + Shape::rows(kTilesM) * Shape::kChunkBytes;
  const ChannelGemmWgmmaParams& product = p.product;
  const int m = static_cast<int>(product.m), lane = threadIdx.x % 32;
  const int pitch = m * static_cast<int>(sizeof(T)), place_bytes = m * Shape::kChunkBytes;
  int stage = 0;
  uint32_t parity = 1;
  bool wait = true;  // for the packed weights
  for (int at = blockIdx.x; at < p.items; at += gridDim.x) {
    const int first = at / p.column_blocks * p.tile_images;
    const int images = min(p.images - first, p.tile_images);
    const char* left = static_cast<const char*>(product.left) + int64_t{first} * product.k * pitch;
    const char* packed = static_cast<const char*>(product.packed) +
                         int64_t{at % p.column_blocks} * product.chunks * kWeightBytes;
    for (int chunk = 0; chunk < product.chunks; ++chunk) {
      mbarrier_wait(empty + stage * 8, parity);
      unsigned char* place = shared + stage * kStageBytes;
      unsigned char* raw = place + kWeightBytes;
      const int bytes = min(product.k - chunk * kChunkK, kChunkK) * pitch;
      if (bytes < place_bytes) {
        // Channels beyond the last one meet weights of zero, and may not be NaN.
        for (int image = 0; image < images; ++image) {
          for (int i = bytes + lane * 16; i < place_bytes; i += 32 * 16) {
            *reinterpret_cast<uint4*>(raw + image * place_bytes + i) = make_uint4(0, 0, 0, 0);
          }
        }
        fence_async_proxy();
      }
      // Each lane arrives after the zeros it wrote.
      const uint32_t barrier = full + stage * 8;
      if (lane != 0) {
        mbarrier_arrive(barrier);
      } else {
        mbarrier_arrive_expect(barrier, images * bytes + kWeightBytes);
        for (int image = 0; image < images; ++image) {
          bulk_load(shared_address(raw) + image * place_bytes,
                    left + int64_t{image} * product.k * pitch + int64_t{chunk} * place_bytes, bytes,
                    barrier);
        }
        if (wait) {
          grid_dependency_wait();
        }
        bulk_load(shared_address(place), packed + int64_t{chunk} * kWeightBytes, kWeightBytes,
                  barrier);
      }
      wait = false;
      if (++stage == product.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

#endif

template <typename T, int kTilesM, int kN>
__global__ void __launch_bounds__(ChannelImagesWgmmaShape::kThreads, 1)
    channel_images_wgmma_kernel(const __grid_constant__ ChannelImagesWgmmaParams p) {
#if KERNELOPT_HAS_WGMMA
  using Shape = ChannelImagesWgmmaShape;
  constexpr int kSize = static_cast<int>(sizeof(T));
  constexpr int kWeightBytes = kN * Shape::kChunkBytes;
  constexpr int kStageBytes = kWeightBytes + Shape::rows(kTilesM) * Shape::kChunkBytes;
  constexpr int kBufferBytes = Shape::rows(kTilesM) * Shape::kStoredChannels * kSize;
  constexpr int kLow = Shape::kChunkBytes / 2 / 16;  // units from high parts of weights to low ones
  const ChannelGemmWgmmaParams& product = p.product;

  // Stages, buffers of results, biases, barriers.
  extern __shared__ __align__(1024) unsigned char shared[];
  unsigned char* results = shared + product.stages * kStageBytes;
  float* biases = reinterpret_cast<float*>(results + Shape::kStoreBuffers * kBufferBytes);
  const uint32_t full = shared_address(biases + kN);
  const uint32_t empty = full + product.stages * 8;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < product.stages; ++stage) {
      mbarrier_init(full + stage * 8, 32);  // the loading warp's lanes
      mbarrier_init(empty + stage * 8, Shape::kWarpgroups * 4);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp >= Shape::kWarpgroups * 4) {
    give_registers<Shape::kLoadRegisters>();
    if (warp == Shape::kWarpgroups * 4) {
      load_images<T, kTilesM, kN>(p, shared, full, empty);
    }
    return;
  }
  take_registers<Shape::kProductRegisters>();

  const int m = static_cast<int>(product.m);
  const uint32_t pitch = m * kSize;
  ImagesRows<kTilesM> rows;
  uint32_t offsets[kTilesM][2];  // in a stage, of the thread's first channel
#pragma unroll
  for (int tile = 0; tile < kTilesM; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = (warp / 4 * kTilesM + tile) * 64 + warp % 4 * 16 + lane / 4 + half * 8;
      rows.image[tile][half] = row / m;
      rows.pixel[tile][half] = row % m;
      // Rows beyond the last image read some pixel that is there.
      const int image = row / m < p.tile_images ? row / m : 0;
      offsets[tile][half] = kWeightBytes + image * m * Shape::kChunkBytes +
                            lane % 4 * product.spread * pitch + row % m * kSize;
    }
  }
  const auto distance = [&](int r) { return spread_channel(0, r, product.spread) * pitch; };
  const uint32_t next[2] = {distance(1), distance(2)};
  float accumulators[kTilesM][kN / 2];
  ImagesFragment<T> fragments[2];
  int stage = 0, buffers = 0;
  uint32_t parity = 0;
  for (int at = blockIdx.x; at < p.items; at += gridDim.x) {
    const int first = at / p.column_blocks * p.tile_images;
    const ImagesItem item{first, min(p.images - first, p.tile_images), at % p.column_blocks * kN};
    const int channel = item.channel + static_cast<int>(threadIdx.x);
    const float bias = product.bias != nullptr && threadIdx.x < kN && channel < product.n
                           ? to_accumulate(static_cast<const T*>(product.bias)[channel])
                           : 0.0f;
    int previous = -1;
    const auto release = [&] {
      __syncwarp();
      if (lane == 0 && previous >= 0) {
        mbarrier_arrive(empty + previous * 8);
      }
    };
    for (int chunk = 0; chunk < product.chunks; ++chunk) {
      const uint32_t place = shared_address(shared) + stage * kStageBytes;
      const uint64_t weights = wgmma_swizzled_descriptor(place);
      mbarrier_wait(full + stage * 8, parity);
      constexpr int kSteps = Shape::kChunkBytes / kSize / 16;
#pragma unroll
      for (int part = 0; part < kSteps * kTilesM; ++part) {
        const int step = part / kTilesM, tile = part % kTilesM;
        ImagesFragment<T>& fragment = fragments[part % 2];
        const uint32_t begin = place + distance(step * 4);
        fragment.load({begin + offsets[tile][0], begin + offsets[tile][1]}, next);
        const int accumulate = step == 0 ? chunk : 1;
        wgmma_fence();
        wgmma_m64k16<T>(accumulators[tile], fragment.words[0], weights + step * 2, accumulate);
        if constexpr (MmaTraits<T>::kParts == 2) {
          wgmma_m64k16<T>(accumulators[tile], fragment.words[1], weights + step * 2, 1);
          wgmma_m64k16<T>(accumulators[tile], fragment.words[0], weights + kLow + step * 2, 1);
        }
        wgmma_commit();
        wgmma_wait<1>();
        fragments[1 - part % 2].hold();
        if (part == 0) {
          release();
        }
      }
      previous = stage;
      if (++stage == product.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    wgmma_wait<0>();
    fragments[0].hold();
    fragments[1].hold();
#pragma unroll
    for (int tile = 0; tile < kTilesM; ++tile) {
      wgmma_hold(accumulators[tile]);
    }
    release();
    store_images_item<T>(p, accumulators, rows, item, bias, biases, results, buffers);
  }
  if (threadIdx.x == 0) {
    bulk_wait_read<0>();
  }
#endif
}

}  // namespace kernelopt
