// The product warpgroups of the separable kernel: all pixels of a tile times half of a block's
// output channels each, with bias and activation on the way to memory (separable_wgmma_store.cuh).
#pragma once

#include "separable/separable_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Bias, activation and the store of a tile's results.
/// @param accumulators  of 64-row tiles
/// @param slabs         shared address of the warp's: [slab][channel][64 pixels], swizzled
/// @tparam kSlabbed     whether they are stored by way of slabs
/// @return not 0 where a result of two parts is not finite
template <bool kSlabbed, typename T, int kRegisters>
__device__ __forceinline__ float store_separable_tile(
    const SeparableWgmmaParams& p, const SeparableWgmmaMaps& maps,
    const SeparableTileCursor& cursor, const SeparablePixels& pixels,
    float (&accumulators)[SeparableWgmmaShape::kTilesM][kRegisters], uint32_t slabs,
    const float* biases) {
  using Shape = SeparableWgmmaShape;
  using Layout = SeparableOperandLayout<T>;
  constexpr int kColumns = 2 * kRegisters;
  constexpr int kSlabSteps = Shape::kSlabChannels / 4;
  const int lane = threadIdx.x % 32;
  const int64_t plane = static_cast<int64_t>(p.problem.h.output_size) * p.problem.w.output_size;
  const int first_channel = (blockIdx.y * 2 + threadIdx.x / 128) * kColumns;
  SeparableTarget target;
  target.bias = shared_address(biases) + lane % 4 * 8;
  T* output = nullptr;
  uint32_t units[2];  // shared addresses of the thread's unit of its even and its odd channels
  int begin[4];       // of the box that the warp's first lane stores
  if constexpr (kSlabbed) {
    const int row = lane % 4 * 2;
    units[0] = slabs + row * 128 + ((lane / 4 ^ row) << 4);
    units[1] = (units[0] ^ 16) + 128;
    const int x = cursor.x + pixels.x[0], y = cursor.y + pixels.y[0];
    begin[0] = p.flat ? y * p.problem.w.output_size + x : x;
    begin[1] = first_channel;
    // Rows below the tile are nobody's.
    begin[2] = p.flat ? 0 : pixels.y[0] < p.tile_height ? y : p.problem.h.output_size;
    begin[3] = cursor.n;
    asm volatile("" : "+r"(units[0]), "+r"(units[1]), "+r"(begin[0]), "+r"(begin[2]));
  } else {
    output =
        static_cast<T*>(p.problem.output) +
        (static_cast<int64_t>(cursor.n) * p.problem.out_channels + first_channel + lane % 4 * 2) *
            plane +
        static_cast<int64_t>(cursor.y) * p.problem.w.output_size + cursor.x + pixels.offset(p, 0);
    target.second = pixels.offset(p, 1) - pixels.offset(p, 0);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      target.limits[i] = pixels.valid(p, cursor, i)
                             ? p.problem.out_channels - first_channel - lane % 4 * 2
                             : -kColumns;
    }
    target.hide();
  }
  float lowest = p.problem.activation == Activation::kRelu ? 0.0f : -INFINITY;
  asm volatile("" : "+f"(lowest));
  float probe = 0;
#pragma unroll
  for (int step = 0; step < kRegisters / 2; ++step) {
    const int column = step / 2 * 8 + step % 2;
    const float bias = load_shared_element<float>(target.bias + column * 4);
    float z[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      z[i] = accumulators[Layout::tile_of(i)][step / 2 * 4 + Layout::half_of(i) * 2 + step % 2];
      if constexpr (MmaTraits<T>::kParts == 2) {
        probe = fmaf(z[i], 0.0f, probe);
      }
      z[i] += bias;
      z[i] = z[i] < lowest ? lowest : z[i];
    }
    const PixelWords<T> words(z);
    if constexpr (kSlabbed) {
      if (step % kSlabSteps == 0) {
        if (lane == 0) {
          p.slabs == 4   ? bulk_wait_read<3>()
          : p.slabs == 2 ? bulk_wait_read<1>()
                         : bulk_wait_read<0>();
        }
        __syncwarp();
      }
      const int slab = (column / Shape::kSlabChannels & (p.slabs - 1)) * Shape::kSlabBytes;
      words.store_shared(units[step % 2] + slab + column % Shape::kSlabChannels / 8 * 1024);
      if (step % kSlabSteps == kSlabSteps - 1) {
        fence_async_proxy();
        __syncwarp();
        if (lane == 0) {
          tensor_store(&maps.output, begin, slabs + slab);
          bulk_commit();
        }
        begin[1] += Shape::kSlabChannels;
      }
    } else {
      words.store(output, target, column, p.store_vector == 8);
      output += (step % 2 == 0 ? 1 : 7) * plane;
      asm volatile("" : "+l"(output));
    }
  }
  return probe;
}

/// Multiplies and stores a block's tiles.
/// @tparam kColumns  output channels of a warpgroup
/// @param weights    shared address of [chunk][part][k / 8][slot][k % 8]
/// @param barriers   of the operands: full, then empty
template <typename T, int kColumns>
__device__ __forceinline__ void multiply_separable_tiles(const SeparableWgmmaParams& p,
                                                         const SeparableWgmmaMaps& maps,
                                                         int warpgroup, uint32_t weights,
                                                         uint32_t operands, const float* biases,
                                                         uint32_t slabs, uint32_t barriers) {
  using Shape = SeparableWgmmaShape;
  using Layout = SeparableOperandLayout<T>;
  constexpr int kParts = MmaTraits<T>::kParts, kRegisters = kColumns / 2;
  constexpr int kSlots = 2 * kColumns;
  const uint32_t operand_full = barriers, operand_empty = barriers + p.operands * 8;
  const int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  const int64_t plane = static_cast<int64_t>(p.problem.h.output_size) * p.problem.w.output_size;
  const int first_channel = blockIdx.y * kSlots + warpgroup * kColumns;
  const SeparablePixels pixels(p, warp, lane, T{});
  slabs += (warpgroup * 4 + warp) * (p.slabs * Shape::kSlabBytes);
  biases += warpgroup * kColumns;
  const bool slabbed =
      p.tensor_stores && (!p.flat || warp * 64 + 64 <= p.tile_height * p.tile_width);
  RingPlace operand{0, 0};
  for (SeparableTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    float accumulators[Shape::kTilesM][kRegisters];
    int previous = -1;
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      mbarrier_wait(operand_full + operand.index * 8, operand.parity);
      const uint64_t b = wgmma_descriptor(
          weights + (chunk * kParts * 2 * kSlots + warpgroup * kColumns) * 16, kSlots);
      const uint32_t a_address = operands + operand.index * (kParts * Layout::kPartUnits * 16);
      const uint64_t a = static_cast<uint64_t>((a_address & 0x3ffff) >> 4) |
                         uint64_t{Layout::kOctetUnits} << 16 | uint64_t{Layout::kRowPitch} << 32;
      wgmma_fence();
#pragma unroll
      for (int m = 0; m < Shape::kTilesM; ++m) {
        wgmma_m64k16<T>(accumulators[m], a + m * Layout::kTilePitch, b, chunk);
      }
      if constexpr (kParts == 2) {
#pragma unroll
        for (int m = 0; m < Shape::kTilesM; ++m) {
          wgmma_m64k16<T>(accumulators[m], a + Layout::kPartUnits + m * Layout::kTilePitch, b, 1);
        }
#pragma unroll
        for (int m = 0; m < Shape::kTilesM; ++m) {
          wgmma_m64k16<T>(accumulators[m], a + m * Layout::kTilePitch, b + 2 * kSlots, 1);
        }
      }
      wgmma_commit();
      wgmma_wait<1>();
      if (previous >= 0 && lane == 0) {
        mbarrier_arrive(operand_empty + previous * 8);
      }
      previous = operand.index;
      operand.advance(1, p.operands);
    }
    wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < Shape::kTilesM; ++m) {
      wgmma_hold(accumulators[m]);
    }
    if (lane == 0) {
      mbarrier_arrive(operand_empty + previous * 8);
    }

    const auto store = [&](auto by_slabs) {
      return store_separable_tile<decltype(by_slabs)::value, T>(p, maps, cursor, pixels,
                                                                accumulators, slabs, biases);
    };
    float probe = 0;
    if constexpr (sizeof(T) == 2) {
      slabbed ? store(std::true_type{}) : store(std::false_type{});
    } else {
      probe = store(std::false_type{});
    }
    if (kParts == 2 && __any_sync(0xffffffffu, probe != 0.0f)) {
      bulk_wait_all();
      __syncwarp();
      if (probe != 0.0f) {
#pragma unroll 1
        for (int i = 0; i < 8; ++i) {
          const int pixel = warp * 64 + Layout::thread_pixel(lane / 4, i);
          const int row = pixel / p.tile_width;
          const int y = cursor.y + row, x = cursor.x + pixel - row * p.tile_width;
          if (row >= p.tile_height || y >= p.problem.h.output_size ||
              x >= p.problem.w.output_size) {
            continue;
          }
#pragma unroll 1
          for (int column = 0; column < kColumns; column += 8) {
            const int local = column + lane % 4 * 2;
            const int o[2] = {first_channel + local, first_channel + local + 1};
            float sums[2];
            separate_exactly<2, T>(p.problem, cursor.n, y, x, o, sums);
#pragma unroll
            for (int s = 0; s < 2; ++s) {
              if (o[s] < p.problem.out_channels) {
                static_cast<T*>(p.problem.output)
                    [(static_cast<int64_t>(cursor.n) * p.problem.out_channels + o[s]) * plane +
                     static_cast<int64_t>(y) * p.problem.w.output_size + x] =
                        from_accumulate<T>(
                            apply_activation(p.problem.activation, sums[s] + biases[local + s]));
              }
            }
          }
        }
      }
    }
  }
  bulk_wait_read<0>();
}

#endif

}  // namespace kernelopt
