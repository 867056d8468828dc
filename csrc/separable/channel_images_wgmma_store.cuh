// The end of a tile of the warpgroup kernel of small contiguous images: 32 channels of all its
// images at a time are written to shared memory as they lie in the result, where they are one run
// an image. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"
#include "separable/channel_images_wgmma_plan.h"
#include "separable/channel_planes_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where an item's results go.
struct ImagesItem {
  int image;    // the first
  int images;   // that exist
  int channel;  // the first
};

/// A thread's rows of a tile, a pixel each: kTilesM x (row, row + 8), which are two neighbours.
template <int kTilesM>
struct ImagesRows {
  int image[kTilesM][2];  // of the tile; beyond the last where there is no such pixel
  int pixel[kTilesM][2];
};

/// Stores an item's accumulators. The warpgroups that multiply call it together.
/// @param own_bias  of channel `threadIdx.x` of the item
/// @param biases    room for all of them
/// @param shared    the buffers
/// @param buffers   that were used before
template <typename T, bool kStrips, int kTilesM, int kRegisters>
__device__ __forceinline__ void store_images_item(
    const ChannelImagesWgmmaParams& p, const ChannelImagesWgmmaMaps* maps,
    float (&accumulators)[kTilesM][kRegisters], const ImagesRows<kTilesM>& rows,
    const ImagesItem& item, float own_bias, float* biases, unsigned char* shared, int& buffers) {
  using Shape = ChannelImagesWgmmaShape;
  constexpr int kGroups = kRegisters / 16, kBarrier = 1;
  constexpr int kBufferBytes =
      Shape::rows(kTilesM) * Shape::kStoredChannels * static_cast<int>(sizeof(T));
  const ChannelGemmWgmmaParams& product = p.product;
  const int m = kStrips ? p.pixels : static_cast<int>(product.m);
  const int first = threadIdx.x % 4 * 8;  // channel of the thread's eight of a group
  bool finite = true;
  if constexpr (MmaTraits<T>::kParts == 2) {
    float probe = 0;
#pragma unroll
    for (int tile = 0; tile < kTilesM; ++tile) {
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) {
        if (rows.image[tile][i / 2 % 2] < item.images) {
          probe = fmaf(accumulators[tile][i], 0.0f, probe);
        }
      }
    }
    finite = __all_sync(0xffffffffu, probe == 0.0f);
  }
  const auto begin = [&] {
    if (threadIdx.x == 0) {
      bulk_wait_read<Shape::kStoreBuffers - 1>();
    }
    named_barrier(kBarrier, Shape::kProductThreads);
    return shared + buffers % Shape::kStoreBuffers * kBufferBytes;
  };
  const auto write = [&](unsigned char* buffer, int image, int pixel, const float (&values)[8]) {
    if (image >= item.images) {
      return;
    }
    T* place = reinterpret_cast<T*>(buffer) + (image * Shape::kStoredChannels + first) * m + pixel;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      place[i * m] = from_accumulate<T>(values[i]);
    }
  };
  const auto end = [&](unsigned char* buffer, int channel) {
    fence_async_proxy();
    named_barrier(kBarrier, Shape::kProductThreads);
    const int channels = min(product.n - channel, Shape::kStoredChannels);
    if (threadIdx.x == 0 && channels > 0) {
      const uint32_t bytes = channels * m * static_cast<int>(sizeof(T));
      T* result = static_cast<T*>(product.result) + (int64_t{item.image} * product.n + channel) * m;
      for (int image = 0; image < item.images; ++image) {
        const uint32_t from =
            shared_address(reinterpret_cast<T*>(buffer) + image * Shape::kStoredChannels * m);
        if constexpr (kStrips) {
          const int strip = item.image + image;
          tensor_store(&maps->result, {strip % p.strips * m, channel, strip / p.strips, 0}, from);
        } else {
          bulk_store(result + int64_t{image} * product.n * m, from, bytes);
        }
      }
    }
    if (threadIdx.x == 0) {
      bulk_commit();
    }
    ++buffers;
  };
  // Others read it after a barrier of begin(), and are done before one of end().
  if (threadIdx.x < kRegisters * 2) {
    biases[threadIdx.x] = own_bias;
  }
  if (finite &&
      (product.activation == Activation::kNone || product.activation == Activation::kRelu)) {
    const float least = product.activation == Activation::kRelu ? 0.0f : -INFINITY;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const int channel = item.channel + group * Shape::kStoredChannels;
      unsigned char* buffer = begin();
      float bias[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        bias[i] = biases[group * Shape::kStoredChannels + first + i];
      }
#pragma unroll
      for (int tile = 0; tile < kTilesM; ++tile) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float values[8];
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            const float z = accumulators[tile][(group * 4 + i / 2) * 4 + half * 2 + i % 2];
            values[i] = z + bias[i] < least ? least : z + bias[i];
          }
          write(buffer, rows.image[tile][half], rows.pixel[tile][half], values);
        }
      }
      end(buffer, channel);
    }
    return;
  }
  // One body for all groups, as in store_channel_tile().
#pragma unroll 1
  for (int group = 0; group < kGroups; ++group) {
    const int channel = item.channel + group * Shape::kStoredChannels;
    unsigned char* buffer = begin();
#pragma unroll 1
    for (int part = 0; part < kTilesM * 2; ++part) {
      float values[8];
      pick_group<0, kGroups * kTilesM * 2>(accumulators, group * kTilesM * 2 + part, values);
      int image = rows.image[0][0], pixel = rows.pixel[0][0];
#pragma unroll
      for (int i = 1; i < kTilesM * 2; ++i) {
        image = part == i ? rows.image[i / 2][i % 2] : image;
        pixel = part == i ? rows.pixel[i / 2][i % 2] : pixel;
      }
      if constexpr (MmaTraits<T>::kParts == 2) {
        const int strip = item.image + image;
        const int first_pixel = kStrips ? strip % p.strips * m : 0;
        if (!finite && image < item.images && (!kStrips || first_pixel + pixel < product.m)) {
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            if (channel + first + i < product.n && !isfinite(values[i])) {
              values[i] = multiply_planes_exactly<T>(product, kStrips ? strip / p.strips : strip,
                                                     channel + first + i, first_pixel + pixel);
            }
          }
        }
      }
      with_activation(product.activation, [&](auto kind) {
        using ActivationType = ActivationFor<T, decltype(kind)>;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          values[i] = ActivationType::forward(values[i] +
                                              biases[group * Shape::kStoredChannels + first + i]);
        }
      });
      write(buffer, image, pixel, values);
    }
    end(buffer, channel);
  }
}

#endif

}  // namespace kernelopt
