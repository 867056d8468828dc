// The product warpgroups of the separable kernel: all pixels of a tile times half of a block's
// output channels each, with bias and activation on the way to memory (separable_wgmma_store.cuh).
#pragma once

#include "common/activation16.cuh"
#include "separable/separable_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Multiplies and stores a block's tiles.
/// @tparam kColumns  output channels of a warpgroup
/// @param weights    shared address of [chunk][part][k / 8][slot][k % 8]
/// @param barriers   of the operands: full, then empty
template <typename T, int kColumns>
__device__ __forceinline__ void multiply_separable_tiles(const SeparableWgmmaParams& p,
                                                         int warpgroup, uint32_t weights,
                                                         uint32_t operands, const float* biases,
                                                         T* slab, uint32_t barriers) {
  using Shape = SeparableWgmmaShape;
  using Layout = SeparableOperandLayout<T>;
  constexpr int kParts = MmaTraits<T>::kParts, kRegisters = kColumns / 2;
  constexpr int kSlots = 2 * kColumns;
  const uint32_t operand_full = barriers, operand_empty = barriers + p.operands * 8;
  const int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  const int64_t plane = static_cast<int64_t>(p.problem.h.output_size) * p.problem.w.output_size;
  const int first_channel = blockIdx.y * kSlots + warpgroup * kColumns;
  const SeparablePixels pixels(p, warp, lane, T{});
  biases += warpgroup * kColumns;
  const bool plain = p.store_vector > 1 && (p.problem.activation == Activation::kNone ||
                                            p.problem.activation == Activation::kRelu);
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

    T* output =
        static_cast<T*>(p.problem.output) +
        (static_cast<int64_t>(cursor.n) * p.problem.out_channels + first_channel + lane % 4 * 2) *
            plane +
        static_cast<int64_t>(cursor.y) * p.problem.w.output_size + cursor.x + pixels.offset(p, 0);
    const int channels = p.problem.out_channels - first_channel;
    SeparableTarget target;
    target.second = pixels.offset(p, 1) - pixels.offset(p, 0);
    target.bias = shared_address(biases) + lane % 4 * 8;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      target.limits[i] = pixels.valid(p, cursor, i) ? channels - lane % 4 * 2 : -kColumns;
    }
    target.hide();
    float probe = 0;
    if (plain) {
      float lowest = p.problem.activation == Activation::kRelu ? 0.0f : -INFINITY;
      asm volatile("" : "+f"(lowest));
#pragma unroll
      for (int step = 0; step < kRegisters / 2; ++step) {
        const int column = step / 2 * 8 + step % 2;
        const float bias = load_shared_element<float>(target.bias + column * 4);
        float z[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          z[i] = accumulators[i / 2][step / 2 * 4 + i % 2 * 2 + step % 2];
          if constexpr (kParts == 2) {
            probe = fmaf(z[i], 0.0f, probe);
          }
          z[i] += bias;
          z[i] = z[i] < lowest ? lowest : z[i];
        }
        PixelWords<T>(z).store(output, target, column, p.store_vector == 8);
        output += (step % 2 == 0 ? 1 : 7) * plane;
        asm volatile("" : "+l"(output));
      }
    } else {
      // Only the choice of a step's accumulators is unrolled.
#pragma unroll 1
      for (int step = 0; step < kRegisters / 2; ++step) {
        float z[8];
#pragma unroll
        for (int s = 0; s < kRegisters / 2; ++s) {
          if (s == step) {
#pragma unroll
            for (int i = 0; i < 8; ++i) {
              z[i] = accumulators[i / 2][s / 2 * 4 + i % 2 * 2 + s % 2];
            }
          }
        }
        const int column = step / 2 * 8 + step % 2;
        if (column >= channels) {
          break;
        }
        const float bias = load_shared_element<float>(target.bias + column * 4);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          if constexpr (kParts == 2) {
            probe = fmaf(z[i], 0.0f, probe);
          }
          z[i] += bias;
        }
        with_activation(p.problem.activation, [&](auto kind) {
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            z[i] = ActivationFor<T, decltype(kind)>::forward(z[i]);
          }
        });
        const PixelWords<T> words(z);
        if (p.store_vector == 1) {
          words.store_through(slab, output, target, column, plane, lane);
        } else {
          words.store(output, target, column, p.store_vector == 8);
        }
        output += (step % 2 == 0 ? 1 : 7) * plane;
      }
    }
    if (kParts == 2 && __any_sync(0xffffffffu, probe != 0.0f)) {
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
}

#endif

}  // namespace kernelopt
