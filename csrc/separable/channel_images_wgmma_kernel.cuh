// The pointwise product of contiguous images on Hopper's tensor cores (wgmma):
//   result[b, n, m] = act(bias[n] + sum over k of right[n, k] * left[b, k, m])
// A small image's pixels are on no 16-byte boundary, but its channels follow each other: a chunk of
// the sum is one run of memory an image. The copy engine brings those of several whole images, of
// larger ones in fp32 boxes with a strip of the pixels, and the packed weights; two warpgroups read
// 64 pixels each as fragments, two neighbours at once, split in two bf16 parts in fp32, and the
// result leaves as runs as well (channel_images_wgmma_store.cuh). Which channels of a chunk the
// four threads of a fragment's row have is chosen so that they lie in different banks.
#pragma once

#include "common/grid_dependency.cuh"
#include "separable/channel_gemm_wgmma_pack_kernel.cuh"
#include "separable/channel_images_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

template <int kWords>
__device__ __forceinline__ void load_shared_words(uint32_t address, uint32_t (&words)[kWords]) {
  static_assert(kWords == 1 || kWords == 2);
  if constexpr (kWords == 1) {
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(words[0]) : "r"(address));
  } else {
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(address));
  }
}

/// What a thread reads for a fragment of 64 pixels x 16 channels: two neighbouring pixels, which
/// are its rows r and r + 8, of four channels. Planes begin on a multiple of two pixels, or of odd
/// planes (kOdd) every other one does, the first of each pair of channels.
template <typename T, bool kOdd>
struct ImagesPixels {
  static constexpr int kWords = sizeof(T) / 2;  // of two pixels
  uint32_t first[2][kWords];
  uint32_t second[2][kOdd ? 2 : kWords];

  /// @param pixels  the thread's, of its first channel of the step
  /// @param next    bytes from there to its second channel, and to its third
  __device__ __forceinline__ void load(uint32_t pixels, const uint32_t (&next)[2]) {
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const uint32_t address = pixels + pair * next[1], other = address + next[0];
      load_shared_words(address, first[pair]);
      if constexpr (kOdd) {
        constexpr int kBefore = sizeof(T) == 2 ? 2 : 0;
        uint32_t low[1], high[1];
        load_shared_words(other - kBefore, low);
        load_shared_words(other - kBefore + 4, high);
        second[pair][0] = low[0];
        second[pair][1] = high[0];
      } else {
        load_shared_words(other, second[pair]);
      }
    }
  }
};

/// 64 pixels x 16 channels of the left operand.
template <typename T>
struct ImagesFragment {
  static constexpr int kParts = MmaTraits<T>::kParts;
  uint32_t words[kParts][4];

  template <bool kOdd>
  __device__ __forceinline__ void make(const ImagesPixels<T, kOdd>& pixels) {
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const auto& first = pixels.first[pair];
      const auto& second = pixels.second[pair];
      if constexpr (kParts == 2) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const SplitPair split =
              split_bf16_unlimited(__uint_as_float(first[half]), __uint_as_float(second[half]));
          words[0][pair * 2 + half] = split.high;
          words[1][pair * 2 + half] = split.low;
        }
      } else {
        words[0][pair * 2] = __byte_perm(first[0], second[0], kOdd ? 0x7610 : 0x5410);
        words[0][pair * 2 + 1] = __byte_perm(first[0], second[kOdd], kOdd ? 0x5432 : 0x7632);
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
template <typename T, int kTilesM, int kN, bool kStrips>
__device__ __forceinline__ void load_images(const ChannelImagesWgmmaParams& p,
                                            const ChannelImagesWgmmaMaps* maps,
                                            unsigned char* shared, uint32_t full, uint32_t empty) {
  using Shape = ChannelImagesWgmmaShape;
  constexpr int kChunkK = Shape::kChunkBytes / static_cast<int>(sizeof(T));
  constexpr int kWeightBytes = kN * Shape::kChunkBytes;
  constexpr int kStageBytes = kWeightBytes + Shape::rows(kTilesM) * Shape::kChunkBytes;
  const ChannelGemmWgmmaParams& product = p.product;
  const int m = kStrips ? p.pixels : static_cast<int>(product.m), lane = threadIdx.x % 32;
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
      // Boxes of strips bring zeros where there is nothing.
      const int bytes = kStrips ? place_bytes : min(product.k - chunk * kChunkK, kChunkK) * pitch;
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
          const uint32_t to = shared_address(raw) + image * place_bytes;
          if constexpr (kStrips) {
            const int strip = first + image;
            tensor_load(to, &maps->left,
                        {strip % p.strips * m, chunk * kChunkK, strip / p.strips, 0}, barrier);
          } else {
            bulk_load(to, left + int64_t{image} * product.k * pitch + int64_t{chunk} * place_bytes,
                      bytes, barrier);
          }
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

/// @param maps  of strips; else null
template <typename T, int kTilesM, int kN, bool kOdd, bool kStrips>
__device__ __forceinline__ void multiply_images_items(const ChannelImagesWgmmaParams& p,
                                                      const ChannelImagesWgmmaMaps* maps) {
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
      load_images<T, kTilesM, kN, kStrips>(p, maps, shared, full, empty);
    }
    return;
  }
  take_registers<Shape::kProductRegisters>();

  const int m = kStrips ? p.pixels : static_cast<int>(product.m);
  const uint32_t pitch = m * kSize;
  const int image_rows = kOdd ? m + 1 : m;
  ImagesRows<kTilesM> rows;
  uint32_t offsets[kTilesM];  // in a stage, of the thread's first channel
#pragma unroll
  for (int tile = 0; tile < kTilesM; ++tile) {
    const int row = (warp / 4 * kTilesM + tile) * 64 + warp % 4 * 16 + lane / 4 * 2;
    // Rows beyond the last image read some pixel that is there.
    const int image = row / image_rows, pixel = row % image_rows;
    offsets[tile] = kWeightBytes + (image < p.tile_images ? image : 0) * m * Shape::kChunkBytes +
                    lane % 4 * product.spread * pitch + pixel * kSize;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      rows.image[tile][half] = pixel + half < m ? image : p.images;
      rows.pixel[tile][half] = pixel + half;
    }
  }
  const auto distance = [&](int r) { return spread_channel(0, r, product.spread) * pitch; };
  const uint32_t next[2] = {distance(1), distance(2)};
  float accumulators[kTilesM][kN / 2];
  ImagesPixels<T, kOdd> pixels;
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
    // Pixels are read while the products before theirs run.
    const auto load = [&](int part) {
      const uint32_t begin = shared_address(shared) + stage * kStageBytes;
      pixels.load(begin + distance(part / kTilesM * 4) + offsets[part % kTilesM], next);
    };
    mbarrier_wait(full + stage * 8, parity);
    load(0);
    for (int chunk = 0; chunk < product.chunks; ++chunk) {
      const int current = stage;
      const uint64_t weights =
          wgmma_swizzled_descriptor(shared_address(shared) + stage * kStageBytes);
      constexpr int kChunkParts = Shape::kChunkBytes / kSize / 16 * kTilesM;
#pragma unroll
      for (int part = 0; part < kChunkParts; ++part) {
        const int step = part / kTilesM, tile = part % kTilesM;
        ImagesFragment<T>& fragment = fragments[part % 2];
        fragment.make(pixels);
        fragment.hold();
        const int accumulate = step == 0 ? chunk : 1;
        wgmma_fence();
        wgmma_m64k16<T>(accumulators[tile], fragment.words[0], weights + step * 2, accumulate);
        if constexpr (MmaTraits<T>::kParts == 2) {
          wgmma_m64k16<T>(accumulators[tile], fragment.words[1], weights + step * 2, 1);
          wgmma_m64k16<T>(accumulators[tile], fragment.words[0], weights + kLow + step * 2, 1);
        }
        wgmma_commit();
        if (part + 1 < kChunkParts) {
          load(part + 1);
        } else {
          if (++stage == product.stages) {
            stage = 0;
            parity ^= 1;
          }
          if (chunk + 1 < product.chunks) {
            mbarrier_wait(full + stage * 8, parity);
            load(0);
          }
        }
        wgmma_wait<1>();
        fragments[1 - part % 2].hold();
        if (part == 0) {
          release();
        }
      }
      previous = current;
    }
    wgmma_wait<0>();
    fragments[0].hold();
    fragments[1].hold();
#pragma unroll
    for (int tile = 0; tile < kTilesM; ++tile) {
      wgmma_hold(accumulators[tile]);
    }
    release();
    store_images_item<T, kStrips>(p, maps, accumulators, rows, item, bias, biases, results,
                                  buffers);
  }
  if (threadIdx.x == 0) {
    bulk_wait_read<0>();
  }
}

#endif

template <typename T, int kTilesM, int kN, bool kOdd>
__global__ void __launch_bounds__(ChannelImagesWgmmaShape::kThreads, 1)
    channel_images_wgmma_kernel(const __grid_constant__ ChannelImagesWgmmaParams p) {
#if KERNELOPT_HAS_WGMMA
  multiply_images_items<T, kTilesM, kN, kOdd, false>(p, nullptr);
#endif
}

/// The same, of strips.
template <typename T, int kTilesM, int kN>
__global__ void __launch_bounds__(ChannelImagesWgmmaShape::kThreads, 1)
    channel_strips_wgmma_kernel(const __grid_constant__ ChannelImagesWgmmaParams p,
                                const __grid_constant__ ChannelImagesWgmmaMaps maps) {
#if KERNELOPT_HAS_WGMMA
  multiply_images_items<T, kTilesM, kN, false, true>(p, &maps);
#endif
}

}  // namespace kernelopt
