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
  // Rows along the sum that begin anywhere are copied from the 16 bytes they begin in to those they
  // end in.
  static constexpr int kShiftedRowBytes = kRowBytes + 16;
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
  int stage_bytes;      // from a stage to the next
  int raw_stage_bytes;  // the same of copies
  int stages;
  uint32_t full, empty;
};

/// Which values of a chunk a thread of the warpgroup has: kSlots times four neighbours, from
/// (row, column) on and each kStep rows.
template <int kCount, bool kAlong>
struct SplitThread {
  static constexpr int kLanes = (kAlong ? SplitChunkShape::kSteps : kCount) / 4;  // of a row
  static constexpr int kStep = 128 / kLanes;
  static constexpr int kSlots = (kAlong ? kCount : SplitChunkShape::kSteps) / kStep;
  using Values = float4[kSlots];

  int line, lane, row, column;

  // Rows along the sum hold 64 bytes of either part: in this order eight lanes and the next eight
  // write to different banks.
  __device__ __forceinline__ SplitThread()
      : line(threadIdx.x % 128 / kLanes),
        lane(threadIdx.x % kLanes),
        row(kAlong ? line % 2 * 4 + line / 2 % 2 + line / 4 % 2 * 2 + line / 8 * 8 : line),
        column(lane * 4) {}
};

/// A thread's copies of one operand in shared memory, SplitChunkShape::kRawStages of them on their
/// way. Rows that begin on 16 bytes, or run across the sum, go through a place of the thread's own.
/// Other rows along the sum are copied in the 16 bytes that memory has, one piece a thread and the
/// last one by the last lane; then a thread reads its values out of two of them. All of a thread's
/// rows lie off these pieces alike, as they are kStep = 16 rows apart.
template <int kCount, bool kAlong, bool kWide>
class SplitCopies {
  using Thread = SplitThread<kCount, kAlong>;
  static constexpr bool kShifted = kAlong && !kWide;
  static constexpr int kRowBytes =
      kShifted ? SplitChunkShape::kShiftedRowBytes : Thread::kLanes * 16;
  static constexpr int kSlotBytes = kRowBytes * Thread::kStep;
  static_assert(!kShifted || Thread::kStep % 4 == 0);

 public:
  __device__ __forceinline__ SplitCopies(const SplitStages& p, int64_t row_stride)
      : place_(p.raw + thread_.line * kRowBytes + thread_.lane * 16),
        stage_bytes_(p.raw_stage_bytes),
        row_stride_(row_stride),
        offset_(thread_.row * row_stride + thread_.column) {}

  __device__ __forceinline__ void load(const SplitRows& chunk, int stage) {
    const float* source = chunk.data + offset_;
    const uint32_t to = place_ + stage * stage_bytes_;
    const int shift = kShifted ? static_cast<int>(reinterpret_cast<uintptr_t>(source) / 4 % 4) : 0;
    // Of the own piece, and of the one behind the last lane's.
    const int count = chunk.columns - thread_.column + shift;
    const int bytes = min(max(count, 0), 4) * 4, behind = min(max(count - 4, 0), 4) * 4;
    const bool last = thread_.lane == Thread::kLanes - 1 && shift > 0;
    shifts_ = shifts_ << 2 | shift;
    source -= shift;
#pragma unroll
    for (int slot = 0; slot < Thread::kSlots; ++slot) {
      const bool inside = thread_.row + slot * Thread::kStep < chunk.rows;
      const uint32_t target = to + slot * kSlotBytes;
      if constexpr (kShifted) {
        copy_async_part(target, source, inside ? bytes : 0);
        if (last) {
          copy_async_part(target + 16, source + 4, inside ? behind : 0);
        }
      } else if constexpr (kWide) {
        copy_async<16>(target, source, inside && count > 0);
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          copy_async<4>(target + i * 4, source + i, inside && i < count);
        }
      }
      source += Thread::kStep * row_stride_;
    }
  }

  /// What stands for a load behind the last chunk.
  __device__ __forceinline__ void skip() { shifts_ <<= 2; }

  /// The values of the oldest copy, which has arrived.
  __device__ __forceinline__ void read(int stage, typename Thread::Values& values) const {
    const int shift = shifts_ >> 2 * (SplitChunkShape::kRawStages - 1) & 3;
    const uint32_t from = place_ + stage * stage_bytes_ + shift * 4;
    if constexpr (kShifted) {
      __syncwarp();  // a row's threads are in one warp
    }
#pragma unroll
    for (int slot = 0; slot < Thread::kSlots; ++slot) {
      float4& v = values[slot];
      const uint32_t source = from + slot * kSlotBytes;
      if constexpr (kShifted) {
        asm volatile(
            "ld.shared.f32 %0, [%4];\n"
            "ld.shared.f32 %1, [%4 + 4];\n"
            "ld.shared.f32 %2, [%4 + 8];\n"
            "ld.shared.f32 %3, [%4 + 12];\n"
            : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
            : "r"(source)
            : "memory");
      } else {
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                     : "r"(source)
                     : "memory");
      }
    }
  }

 private:
  Thread thread_;
  uint32_t place_;
  int stage_bytes_;
  int64_t row_stride_, offset_;
  uint32_t shifts_ = 0;  // of the copies on their way, two bits each
};

/// Splits `chunks` chunks of kCount rows (kAlong: memory runs along the sum) or columns (across
/// it). Rows of the sum become rows of 128 bytes: high parts of 32 steps, then low parts, as
/// wgmma_swizzled_descriptor() has them. Columns become panels of 64, first those of the high
/// parts, as wgmma_column_descriptor() has them. Copies go through shared memory: values on their
/// way to registers would be waited for by each fence.
/// @tparam kWide      rows begin on 16 bytes
/// @param next_chunk  next_chunk() gives the SplitRows of the next chunk
/// @param visit       visit(chunk, values) sees a thread's values of each chunk
template <int kCount, bool kAlong, bool kWide, typename NextChunk, typename Visit>
__device__ __forceinline__ void split_chunks_by(const SplitStages& p, int chunks,
                                                int64_t row_stride, NextChunk&& next_chunk,
                                                Visit&& visit) {
  using Shape = SplitChunkShape;
  using Thread = SplitThread<kCount, kAlong>;
  constexpr int kStep = Thread::kStep;
  const Thread thread;
  const int unit = thread.column % Shape::kColumns / 8 ^ thread.row % 8;
  const uint32_t high = p.place +
                        (kAlong ? 0 : thread.column / Shape::kColumns * Shape::kPanelBytes) +
                        thread.row * Shape::kRowBytes + thread.column % 8 / 4 * 8;
  SplitCopies<kCount, kAlong, kWide> copies(p, row_stride);
  const auto load_chunk = [&](bool more, int raw_stage) {
    if (more) {
      copies.load(next_chunk(), raw_stage);
    } else {
      copies.skip();
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
    typename Thread::Values values;
    copies.read(raw_stage, values);
    const uint32_t to = high + stage * p.stage_bytes;
#pragma unroll
    for (int slot = 0; slot < Thread::kSlots; ++slot) {
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
    visit(i, values);
    raw_stage = raw_stage + 1 == Shape::kRawStages ? 0 : raw_stage + 1;
    if (++stage == p.stages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

/// @param wide  rows begin on 16 bytes
template <int kCount, bool kAlong, typename NextChunk, typename Visit>
__device__ __forceinline__ void split_chunks(const SplitStages& stages, int chunks,
                                             int64_t row_stride, bool wide, NextChunk&& next_chunk,
                                             Visit&& visit) {
  if (wide) {
    split_chunks_by<kCount, kAlong, true>(stages, chunks, row_stride, next_chunk, visit);
  } else {
    split_chunks_by<kCount, kAlong, false>(stages, chunks, row_stride, next_chunk, visit);
  }
}

#endif

}  // namespace kernelopt
