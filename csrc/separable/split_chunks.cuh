// fp32 operands of wgmma that come from memory as they are: a warpgroup copies chunks of 32 steps
// of the sum to shared memory, splits them in two bf16 parts and writes these as the tensor cores
// expect them. Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/wgmma.cuh"

namespace kernelopt {

struct SplitChunkShape {
  static constexpr int kSteps = 32;  // of the sum
  static constexpr int kRowBytes = 128;
  static constexpr int kColumns = 64;                                  // of a panel
  static constexpr int kPanelBytes = kSteps * kRowBytes;               // of 32 steps of 64 columns
  static constexpr int kRawStages = 3;                                 // of copies on their way
  static constexpr int bytes(int count) { return count * kRowBytes; }  // of a chunk, either form
};

#if KERNELOPT_HAS_WGMMA

/// What of a chunk is inside the tensor: its first element, and rows and columns from there on.
struct SplitRows {
  const float* data;
  int rows;
  int columns;
};

/// The operand's place in the first stage, and of its copies; barriers of the stages.
struct SplitStages {
  uint32_t place;
  uint32_t raw;
  int stage_bytes;  // from a stage to the next, and from a stage of copies to the next
  int stages;
  uint32_t full, empty;
};

/// Splits `chunks` chunks of kCount rows (kAlong: memory runs along the sum) or columns (across
/// it). Rows of the sum become rows of 128 bytes: high parts of 32 steps, then low parts, as
/// wgmma_swizzled_descriptor() has them. Columns become panels of 64, first those of the high
/// parts, as wgmma_column_descriptor() has them. A thread has four neighbouring values of each of
/// kSlots rows. Copies go through a place of its own: values on their way to registers would be
/// waited for by each fence.
/// @tparam kWide      rows begin on 16 bytes
/// @param next_chunk  next_chunk() gives the SplitRows of the next chunk
template <int kCount, bool kAlong, bool kWide, typename NextChunk>
__device__ __forceinline__ void split_chunks_by(const SplitStages& p, int chunks,
                                                int64_t row_stride, NextChunk&& next_chunk) {
  using Shape = SplitChunkShape;
  constexpr int kLanes = (kAlong ? Shape::kSteps : kCount) / 4;  // of a row
  constexpr int kStep = 128 / kLanes;                            // rows of the warpgroup at a time
  constexpr int kSlots = (kAlong ? kCount : Shape::kSteps) / kStep;
  const int thread = threadIdx.x % 128;
  // Rows along the sum hold 64 bytes of either part: in this order eight lanes and the next eight
  // write to different banks.
  const int line = thread / kLanes;
  const int row = kAlong ? line % 2 * 4 + line / 2 % 2 + line / 4 % 2 * 2 + line / 8 * 8 : line;
  const int column = thread % kLanes * 4;
  const int unit = column % Shape::kColumns / 8 ^ row % 8;
  const uint32_t high = p.place + (kAlong ? 0 : column / Shape::kColumns * Shape::kPanelBytes) +
                        row * Shape::kRowBytes + column % 8 / 4 * 8;
  const uint32_t own = p.raw + thread * 16;
  const int64_t offset = row * row_stride + column;
  const auto load_chunk = [&](bool more, int raw_stage) {
    if (more) {
      const SplitRows chunk = next_chunk();
      const float* source = chunk.data + offset;
      const uint32_t to = own + raw_stage * p.stage_bytes;
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        const int count = row + slot * kStep < chunk.rows ? chunk.columns - column : 0;
        if constexpr (kWide) {
          copy_async<16>(to + slot * 128 * 16, source, count > 0);
        } else {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            copy_async<4>(to + slot * 128 * 16 + i * 4, source + i, i < count);
          }
        }
        source += kStep * row_stride;
      }
    }
    copy_async_commit();
  };
#pragma unroll
  for (int i = 0; i < Shape::kRawStages; ++i) {
    load_chunk(i < chunks, i);
  }
  int stage = 0, raw_stage = 0;
  uint32_t parity = 1;
  for (int i = 0; i < chunks; ++i) {
    mbarrier_wait(p.empty + stage * 8, parity);
    copy_async_wait<Shape::kRawStages - 1>();
    const uint32_t to = high + stage * p.stage_bytes, from = own + raw_stage * p.stage_bytes;
    float4 values[kSlots];
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      float4& v = values[slot];
      asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                   : "r"(from + slot * 128 * 16)
                   : "memory");
    }
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      const float4& v = values[slot];
      const SplitPair first = split_bf16_unlimited(v.x, v.y);
      const SplitPair second = split_bf16_unlimited(v.z, v.w);
      // kStep is a multiple of 8, or 4 and `row` below it.
      const uint32_t target =
          to + slot * kStep * Shape::kRowBytes + (unit * 16 ^ slot * kStep % 8 * 16);
      const uint32_t low =
          kAlong ? target ^ 64 : target + kCount / Shape::kColumns * Shape::kPanelBytes;
      asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(target), "r"(first.high),
                   "r"(second.high)
                   : "memory");
      asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(low), "r"(first.low), "r"(second.low)
                   : "memory");
    }
    fence_async_proxy();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      mbarrier_arrive(p.full + stage * 8);
    }
    load_chunk(i + Shape::kRawStages < chunks, raw_stage);
    raw_stage = raw_stage + 1 == Shape::kRawStages ? 0 : raw_stage + 1;
    if (++stage == p.stages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

/// @param wide  rows begin on 16 bytes
template <int kCount, bool kAlong, typename NextChunk>
__device__ __forceinline__ void split_chunks(const SplitStages& stages, int chunks,
                                             int64_t row_stride, bool wide,
                                             NextChunk&& next_chunk) {
  if (wide) {
    split_chunks_by<kCount, kAlong, true>(stages, chunks, row_stride, next_chunk);
  } else {
    split_chunks_by<kCount, kAlong, false>(stages, chunks, row_stride, next_chunk);
  }
}

#endif

}  // namespace kernelopt
