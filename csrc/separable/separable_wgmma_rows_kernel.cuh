// A separable convolution of wide fp32 images on Hopper's tensor cores, 3x3, stride 1:
//   hidden[n, c, y, x] = depthwise_act(bias[c] + sum over i, j of weight[c, i, j] *
//                        input[n, c, y - padding + i, x - 1 + j])
//   output[n, o, y, x] = act(bias[o] + sum over c of weight[o, c] * hidden[n, c, y, x])
// A block slides down rows of 128 columns. Eight warps keep the rows' sums in registers, four
// columns of up to eight channels a thread, so that every input row is read once, and write ended
// ones in two bf16 parts as the product's right operand; two warpgroups multiply it by the weights,
// three products, and store. Limits: 64 channels, 128 output channels, rows of whole 16 bytes.
#pragma once

#include "separable/separable_rows_cursor.cuh"
#include "separable/separable_wgmma_operand.cuh"
#include "separable/separable_wgmma_rows_plan.h"
#include "separable/separable_wgmma_store.cuh"
#include "separable/separable_wgmma_weights.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The larger one; NaN where one is.
__device__ __forceinline__ float max_or_nan(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

__device__ __forceinline__ float lowest_result(Activation activation) {
  return activation == Activation::kRelu ? 0.0f : -INFINITY;
}

/// Four neighbours of a row, zeros where not `inside`: without a branch, over which the compiler
/// moves nothing.
__device__ __forceinline__ float4 load_inside(const float* from, bool inside) {
  float4 row;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %5, 0;\n"
      "mov.f32 %0, 0f00000000;\n"
      "mov.f32 %1, 0f00000000;\n"
      "mov.f32 %2, 0f00000000;\n"
      "mov.f32 %3, 0f00000000;\n"
      "@p ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];\n"
      "}\n"
      : "=&f"(row.x), "=&f"(row.y), "=&f"(row.z), "=&f"(row.w)
      : "l"(from), "r"(static_cast<int>(inside)));
  return row;
}

/// The operand warps' walk.
/// @tparam kChannels  of a warp
/// @param full        barriers of the operands: full, then empty
template <int kChannels>
__device__ __forceinline__ void slide_separable_rows(const SeparableRowsParams& p,
                                                     const float* taps, uint32_t operands,
                                                     uint32_t full, uint32_t empty) {
  using Shape = SeparableRowsShape;
  constexpr int kColumns = Shape::kLaneColumns;
  const int lane = threadIdx.x % 32, warp = threadIdx.x % Shape::kOperandThreads / 32;
  const int first_channel = warp * kChannels;
  if (first_channel >= p.chunks * Shape::kChunkChannels) {
    return;
  }
  const int height = p.problem.h.input_size, width = p.problem.w.input_size;
  const int64_t plane = static_cast<int64_t>(height) * width;
  const int tile_x = blockIdx.x % p.tiles_x * p.tile_width, x = tile_x + lane * kColumns;
  const int reach = min(width, tile_x + p.tile_width + 1);  // of what is read
  // Lanes 2 k and 2 k + 1 load the neighbours of channel k's columns on the left and on the right.
  const int edge_x = tile_x + (lane % 2 == 0 ? -1 : Shape::kColumns);
  const bool has_edge = lane / 2 < min(kChannels, p.problem.channels - first_channel) &&
                        edge_x >= 0 && edge_x < reach;
  const int64_t edge_offset = lane / 2 * plane + edge_x - x;
  const int channels = x < reach ? p.problem.channels - first_channel : 0;
  const float lowest = lowest_result(p.problem.depthwise_activation);
  taps += first_channel * Shape::kTapPitch;
  // Row c of a panel is a channel, its 16-byte unit u at u ^ c % 8.
  const uint32_t own = lane / 16 * p.panel_bytes() + first_channel * 128 +
                       ((lane % 16 / 2 ^ first_channel % 8) << 4) + lane % 2 * 8;
  const int part_bytes = 2 * p.panel_bytes();

  float4 next[kChannels];
  float next_edge;
  float sums[2][kChannels][kColumns];  // of the first tap row, of the first two
#pragma unroll
  for (int k = 0; k < kChannels; ++k) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      sums[0][k][i] = sums[1][k][i] = 0;
    }
  }
  RingPlace operand{0, 1};
  SeparableRowsCursor cursor(p);
  while (cursor.inside()) {
    const int rows = cursor.segment(p);
    int y = cursor.y - p.problem.h.padding;
    const float* source =
        static_cast<const float*>(p.problem.input) +
        (static_cast<int64_t>(cursor.n) * p.problem.channels + first_channel) * plane +
        static_cast<int64_t>(y) * width + x;
    const auto inside = [&] { return static_cast<unsigned>(y) < static_cast<unsigned>(height); };
    const auto load_edge = [&](bool wanted) {
      return wanted && has_edge ? __ldg(source + edge_offset) : 0.0f;
    };
    next_edge = load_edge(inside());
#pragma unroll
    for (int k = 0; k < kChannels; ++k) {
      next[k] = load_inside(source + k * plane, inside() && k < channels);
    }
#pragma unroll 1
    for (int step = 0; step < rows + 2; ++step) {
      ++y;
      source += width;
      const bool wanted = step < rows + 1 && inside();
      const int limit = wanted ? channels : 0;
      const float edges = next_edge;
      int side = lane / 31;
      asm volatile("" : "+r"(side));  // else every channel's lane below stays in a register
      next_edge = load_edge(wanted);
      const uint32_t row = operands + operand.index * p.operand_bytes() + own;
      mbarrier_wait(empty + operand.index * 8, operand.parity);
      const float* from = source;
#pragma unroll
      for (int k = 0; k < kChannels; ++k) {
        float values[kColumns + 2] = {0, next[k].x, next[k].y, next[k].z, next[k].w, 0};
        next[k] = load_inside(from, k < limit);
        from += plane;
        const float edge = __shfl_sync(0xffffffffu, edges, 2 * k + side);
        values[0] = __shfl_up_sync(0xffffffffu, values[kColumns], 1);
        values[kColumns + 1] = __shfl_down_sync(0xffffffffu, values[1], 1);
        values[0] = lane == 0 ? edge : values[0];
        values[kColumns + 1] = lane == 31 ? edge : values[kColumns + 1];
        float factors[Shape::kTapPitch];
        load_shared_floats(factors, shared_address(taps + k * Shape::kTapPitch));
        float results[kColumns];
#pragma unroll
        for (int i = 0; i < kColumns; ++i) {
          const auto add = [&](int tap_row, float sum) {
#pragma unroll
            for (int j = 0; j < 3; ++j) {
              sum = fmaf(factors[tap_row * 3 + j], values[i + j], sum);
            }
            return sum;
          };
          results[i] = max_or_nan(add(2, sums[1][k][i]), lowest);
          sums[1][k][i] = add(1, sums[0][k][i]);
          sums[0][k][i] = add(0, factors[9]);
        }
        // Sums that are not ended yet are written too, where the first ended one follows.
        const SplitPair first = split_bf16_unlimited(results[0], results[1]);
        const SplitPair second = split_bf16_unlimited(results[2], results[3]);
        const uint32_t to = (row ^ k << 4) + k * 128;
        store_shared_words(to, {first.high, second.high});
        store_shared_words(to + part_bytes, {first.low, second.low});
      }
      if (step >= 2) {
        fence_async_proxy();
        __syncwarp();
        pass_operand(operand, full, Shape::kOperands);
      }
    }
    cursor.advance(p, rows);
  }
}

/// Multiplies and stores a block's rows.
/// @tparam kColumns  of a warpgroup: all of the block's, of half of 128 output channels each, or
/// half of them, of 64 output channels
/// @param weights    shared address of [chunk][part][k / 8][slot][k % 8]
/// @param results    the warp's: [16 output channels][columns]
template <int kColumns>
__device__ __forceinline__ void multiply_separable_rows(const SeparableRowsParams& p,
                                                        const SeparableRowsMaps& maps,
                                                        uint32_t weights, uint32_t operands,
                                                        unsigned char* results, uint32_t full,
                                                        uint32_t empty) {
  using Shape = SeparableRowsShape;
  constexpr bool kAllColumns = kColumns == Shape::kColumns;
  constexpr int kRegisters = kColumns / 2, kSlots = kAllColumns ? 128 : 64;
  constexpr int kPitch = kColumns * 4 + Shape::kResultPadding;
  const int warpgroup = threadIdx.x / 128, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
  const int64_t plane = static_cast<int64_t>(p.problem.h.output_size) * p.problem.w.output_size;
  const int first_slot = (kAllColumns ? warpgroup * 64 : 0) + warp * Shape::kWarpSlots;
  const int first_column = kAllColumns ? 0 : warpgroup * kColumns;
  const int x = blockIdx.x % p.tiles_x * p.tile_width + first_column;
  const int columns = min(min(kColumns, p.tile_width - first_column), p.problem.w.output_size - x);
  weights += kAllColumns ? warpgroup * 64 * 16 : 0;
  operands += kAllColumns ? 0 : warpgroup * p.panel_bytes();
  const int part_bytes = 2 * p.panel_bytes();
  // A thread's accumulators: rows of output channels o[0], o[1], pairs of columns.
  const int o[2] = {first_slot + lane / 4, first_slot + lane / 4 + 8};
  float biases[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    biases[i] = p.problem.pointwise_bias != nullptr && o[i] < p.problem.out_channels
                    ? static_cast<const float*>(p.problem.pointwise_bias)[o[i]]
                    : 0.0f;
  }
  const float lowest = lowest_result(p.problem.activation);
  unsigned char* own = results + lane / 4 * kPitch + lane % 4 * 8;
  const int stored = first_slot + lane;  // the output channel whose row this lane stores
  const bool stores = lane < Shape::kWarpSlots && stored < p.problem.out_channels && columns > 0;
  const uint32_t stored_row = shared_address(results) + lane * kPitch;
  RingPlace operand{0, 0};
  for (SeparableRowsCursor cursor(p); cursor.inside(); cursor.advance(p, 1)) {
    float accumulators[kRegisters];
    mbarrier_wait(full + operand.index * 8, operand.parity);
#pragma unroll 1
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      wgmma_fence();
      const uint64_t high =
          wgmma_descriptor(weights + chunk * (Shape::kChunkChannels * kSlots * 4), kSlots);
      const uint64_t right = wgmma_column_descriptor(
          operands + operand.index * p.operand_bytes() + chunk * (Shape::kChunkChannels * 128),
          p.panel_bytes());
      wgmma_m64k16<float, false, true>(accumulators, high + 2 * kSlots, right, chunk);
      wgmma_m64k16<float, false, true>(accumulators, high, right + (part_bytes >> 4), 1);
      wgmma_m64k16<float, false, true>(accumulators, high, right, 1);
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(accumulators);
    pass_operand(operand, empty, Shape::kOperands);

    bulk_wait_read<0>();
    __syncwarp();
    float probe = 0;
#pragma unroll
    for (int i = 0; i < kRegisters; i += 2) {
      const int half = i / 2 % 2;
      float pair[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        probe = fmaf(accumulators[i + j], 0.0f, probe);
        pair[j] = max_or_nan(accumulators[i + j] + biases[half], lowest);
      }
      *reinterpret_cast<float2*>(own + half * 8 * kPitch + i / 4 * 32) =
          make_float2(pair[0], pair[1]);
    }
    if (probe != 0.0f) {
#pragma unroll 1
      for (int i = 0; i < kColumns / 4; ++i) {
        const int column = i / 2 * 8 + lane % 4 * 2 + i % 2;
        if (column < columns) {
          float sums[2];
          separate_exactly<2, float>(p.problem, cursor.n, cursor.y, x + column, o, sums);
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            reinterpret_cast<float*>(results + (lane / 4 + half * 8) * kPitch)[column] =
                max_or_nan(sums[half] + biases[half], lowest);
          }
        }
      }
    }
    fence_async_proxy();
    __syncwarp();
    if (p.boxes) {
      // Row by row problem 86 takes a quarter longer from the L2 cache (docs/tuning/separable.md).
      if (lane == 0) {
        const int tile = blockIdx.x % p.tiles_x;
        const int begin[4] = {0, cursor.y * p.tiles_x + tile, first_slot, cursor.n};
        tensor_store_streaming(&maps.outputs[kAllColumns ? 0 : warpgroup], begin,
                               shared_address(results));
        bulk_commit();
      }
    } else if (stores) {
      float* output = static_cast<float*>(p.problem.output) +
                      (static_cast<int64_t>(cursor.n) * p.problem.out_channels + stored) * plane +
                      static_cast<int64_t>(cursor.y) * p.problem.w.output_size + x;
      bulk_store_streaming(output, stored_row, columns * 4);
      bulk_commit();
    }
  }
  bulk_wait_read<0>();
}

#endif

__global__ void __launch_bounds__(SeparableRowsShape::kThreads, 1)
    separable_wgmma_rows_kernel(const __grid_constant__ SeparableRowsParams p,
                                const __grid_constant__ SeparableRowsMaps maps) {
#if KERNELOPT_HAS_WGMMA
  using Shape = SeparableRowsShape;
  extern __shared__ __align__(1024) unsigned char shared[];
  unsigned char* weights = shared + Shape::kOperands * p.operand_bytes();
  unsigned char* results = weights + p.weight_bytes();
  float* taps = reinterpret_cast<float*>(results + Shape::kProductWarps * p.result_bytes());
  const uint32_t full = shared_address(taps + p.chunks * Shape::kChunkChannels * p.tap_pitch);
  const uint32_t empty = full + Shape::kOperands * 8;
  // Eight channels a warp, or four where that is enough.
  const int channels = p.chunks * Shape::kChunkChannels > Shape::kMaxChannels / 2 ? 8 : 4;
  if (threadIdx.x == 0) {
    for (int operand = 0; operand < Shape::kOperands; ++operand) {
      mbarrier_init(full + operand * 8, p.chunks * Shape::kChunkChannels / channels);
      mbarrier_init(empty + operand * 8, Shape::kProductWarps);
    }
    mbarrier_fence_init();
  }
  pack_pointwise_weights<float>(p, reinterpret_cast<uint4*>(weights));
  load_depthwise_taps<float>(p, taps);
  fence_async_proxy();
  __syncthreads();

  const int warp = threadIdx.x / 32;
  if (warp < Shape::kProductWarps) {
    give_registers<Shape::kProductRegisters>();
    const auto multiply = [&](auto columns) {
      multiply_separable_rows<decltype(columns)::value>(
          p, maps, shared_address(weights), shared_address(shared),
          results + warp * p.result_bytes(), full, empty);
    };
    if (p.slots == 128) {
      multiply(std::integral_constant<int, 128>{});
    } else {
      multiply(std::integral_constant<int, 64>{});
    }
  } else {
    take_registers<Shape::kOperandRegisters>();
    if (channels == 8) {
      slide_separable_rows<8>(p, taps, shared_address(shared), full, empty);
    } else {
      slide_separable_rows<4>(p, taps, shared_address(shared), full, empty);
    }
  }
#endif
}

}  // namespace kernelopt
