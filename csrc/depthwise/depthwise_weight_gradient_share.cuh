// How a block of a weight gradient walks over what it sums.
#pragma once

#include "common/math.h"
#include "depthwise/depthwise_policy.h"
#include "depthwise/depthwise_sliding_block.cuh"

#include <algorithm>

namespace kernelopt {

/// The place of a block's walk over images, strips and tiles.
struct WeightGradientCursor {
  int n;
  int strip;
  int tile;

  __device__ __forceinline__ WeightGradientCursor(const SlidingPlan& plan, int item) {
    const int line = divide(item, plan.tiles);
    tile = item - line * plan.tiles;
    n = divide(line, plan.strips);
    strip = line - n * plan.strips;
  }
  __device__ __forceinline__ void advance(const SlidingPlan& plan) {
    if (++tile == plan.tiles) {
      tile = 0;
      if (++strip == plan.strips) {
        strip = 0;
        ++n;
      }
    }
  }
};

/// Cuts the sums over images, strips and tiles into the shares of blocks, on the host. Returns how
/// many blocks that makes.
/// @param blocks  wanted of the whole launch
inline int64_t share_strips(DepthwiseWeightGradientParams* params, const SlidingPlan& plan,
                            int64_t blocks) {
  const int64_t groups = divide_up(params->filters, plan.planes);
  const int64_t items = params->batch * plan.strips * plan.tiles;
  const int64_t length = std::max(divide_up(items, divide_up(blocks, groups)),
                                  DepthwiseWeightGradientPolicy::kMinStrips);
  params->share_length = std::min(items, length);
  params->shares = divide_up(items, params->share_length);
  return groups * params->shares;
}

/// What a block sums.
struct GradientShare {
  int index;
  int filter, planes;
  int begin, count;  // items: images, strips and tiles

  __device__ __forceinline__ GradientShare(const DepthwiseWeightGradientParams& params,
                                           const SlidingPlan& plan) {
    const int filters = static_cast<int>(params.filters);
    const int groups = (filters + plan.planes - 1) / plan.planes;
    index = static_cast<int>(blockIdx.x) / groups;
    filter = (static_cast<int>(blockIdx.x) - index * groups) * plan.planes;
    planes = min(plan.planes, filters - filter);
    const int items = static_cast<int>(params.batch) * plan.strips * plan.tiles;
    begin = index * static_cast<int>(params.share_length);
    count = min(static_cast<int>(params.share_length), items - begin);
  }
};

/// The input and the gradient of a block's items on their way through two stages of shared memory,
/// the next item's while the block works on one.
template <typename T>
struct GradientStages {
  const DepthwiseWeightGradientParams& params;
  const SlidingPlan& plan;  // shared_bytes: of a stage
  const GradientShare& share;
  const T* grad_z;
  const T* input;
  unsigned char* stages;
  WeightGradientCursor ahead, at;
  int index = 0;

  /// Starts the first item's loads.
  __device__ __forceinline__ GradientStages(const DepthwiseWeightGradientParams& problem,
                                            const SlidingPlan& cut, const GradientShare& own,
                                            const T* grad_z_begin, const T* input_begin,
                                            unsigned char* shared)
      : params(problem),
        plan(cut),
        share(own),
        grad_z(grad_z_begin),
        input(input_begin),
        stages(shared),
        ahead(cut, own.begin),
        at(cut, own.begin) {
    if (threadIdx.x == 0) {
      init_load_barrier(barrier(0), 2);
      init_load_barrier(barrier(1), 2);
    }
    load(0);
    commit_loads();
  }

  __device__ __forceinline__ unsigned char* stage(int item) const {
    return stages + (item & 1) * plan.shared_bytes;
  }

  /// Starts the loads of the item behind the next, and returns the next when it is there. The block
  /// is done with the item before.
  __device__ __forceinline__ SlidingBlock next() {
    if (index + 1 < share.count) {
      ahead.advance(plan);
      load(index + 1);
    }
    commit_loads();
    finish_loads<1>(barrier(index), index >> 1 & 1);
    const SlidingBlock block = block_at(at);
    at.advance(plan);
    ++index;
    return block;
  }

  /// After the last item: the stages' memory may hold something else.
  __device__ __forceinline__ void end() const {
    if (threadIdx.x == 0) {
      end_load_barrier(barrier(0));
      end_load_barrier(barrier(1));
    }
    __syncthreads();
  }

 private:
  __device__ __forceinline__ uint64_t* barrier(int item) const {
    return reinterpret_cast<uint64_t*>(stage(item));
  }

  __device__ __forceinline__ SlidingBlock block_at(const WeightGradientCursor& place) const {
    const int plane = place.n * static_cast<int>(params.filters) + share.filter;
    return SlidingBlock(params.h, params.w, plan, static_cast<int>(params.multiplier), plane,
                        share.planes, place.strip, place.tile);
  }

  /// Starts the loads of the item that `ahead` points at.
  __device__ __forceinline__ void load(int item) const {
#if KERNELOPT_HAS_BULK_COPY
    if (threadIdx.x >= 32) {
      return;  // before it computes what one warp copies
    }
#endif
    const SlidingBlock block = block_at(ahead);
    const int64_t channels = params.filters / params.multiplier;
    const T* const input_end =
        input + params.batch * channels * params.h.source_size * params.w.source_size;
    const T* const grad_end =
        grad_z + params.batch * params.filters * params.h.result_size * params.w.result_size;
    start_load<T>(block.source_pieces(input, params.h, params.w, plan, stage(item)),
                  reinterpret_cast<const char*>(input), reinterpret_cast<const char*>(input_end),
                  barrier(item));
    start_load<T>(block.result_pieces(grad_z, params.h, params.w, plan, stage(item)),
                  reinterpret_cast<const char*>(grad_z), reinterpret_cast<const char*>(grad_end),
                  barrier(item));
  }
};

/// One tap's sum over a share, straight from memory, by all threads; thread 0 has it.
/// @param totals  shared memory for a float a thread
template <typename T>
__device__ __forceinline__ float exact_tap_sum(const DepthwiseWeightGradientParams& params,
                                               const SlidingPlan& plan, const GradientShare& share,
                                               const T* grad_z, const T* input, int filter, int i,
                                               int j, float* totals) {
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int64_t row_length = params.w.result_size;
  const int64_t channels = params.filters / params.multiplier;
  float sum = 0.0f;
  WeightGradientCursor at(plan, share.begin);
#pragma unroll 1
  for (int index = 0; index < share.count; ++index) {
    const SlidingBlock block(params.h, params.w, plan, 1, filter, 1, at.strip, at.tile);
    const T* const grad =
        grad_z + (int64_t{at.n} * params.filters + filter) * params.h.result_size * row_length;
    const T* const image =
        input + (at.n * channels + filter / params.multiplier) * int64_t{height} * width;
#pragma unroll 1
    for (int place = threadIdx.x; place < block.rows * block.columns; place += blockDim.x) {
      const int row = block.row + place / block.columns;
      const int column = block.column + place % block.columns;
      const int y = row - static_cast<int>(params.h.padding) + i;
      const int x = column - static_cast<int>(params.w.padding) + j;
      if (y >= 0 && y < height && x >= 0 && x < width) {
        sum += to_accumulate(grad[row * row_length + column]) *
               to_accumulate(image[int64_t{y} * width + x]);
      }
    }
    at.advance(plan);
  }
  totals[threadIdx.x] = sum;
  __syncthreads();
  for (int thread = 1; threadIdx.x == 0 && thread < static_cast<int>(blockDim.x); ++thread) {
    sum += totals[thread];
  }
  return sum;
}

/// Adds up the taps' sums of a block's threads and writes them to its share. All threads of the
/// block, when the stages have ended.
/// @param shared  memory for a float of each tap and thread
/// @tparam kExact    sums that are not finite are computed again
/// @tparam kFlipped  the last tap is the first of the gradient
template <bool kExact, bool kFlipped, int kHeight, int kWidth, typename T>
__device__ __forceinline__ void store_tap_sums(const DepthwiseWeightGradientParams& params,
                                               const SlidingPlan& plan, const GradientShare& share,
                                               const T* grad_z, const T* input,
                                               const float (&sums)[kHeight][kWidth],
                                               unsigned char* shared, float* partial) {
  // The threads of a filter add up in two steps, always in the same order.
  constexpr int kParts = 8, kTaps = kHeight * kWidth;
  float* const totals = reinterpret_cast<float*>(shared);
  const int threads = static_cast<int>(blockDim.x);
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    totals[tap * threads + threadIdx.x] = sums[tap / kWidth][tap % kWidth];
  }
  __syncthreads();
  const int owners = plan.row_groups * plan.threads_per_row;  // threads of a filter
  for (int i = threadIdx.x; i < share.planes * kTaps * kParts; i += threads) {
    const int plane = i / (kTaps * kParts), tap = i / kParts % kTaps;
    float* const first = totals + tap * threads + plane * owners;
    float sum = 0.0f;
    for (int owner = i % kParts; owner < owners; owner += kParts) {
      sum += first[owner];
    }
    if (i % kParts < owners) {
      first[i % kParts] = sum;
    }
  }
  __syncthreads();
  float* const target = partial + (share.index * params.filters + share.filter) * kTaps;
  bool finite = true;
  for (int i = threadIdx.x; i < share.planes * kTaps; i += threads) {
    const int plane = i / kTaps, tap = i % kTaps;
    const float* const first = totals + tap * threads + plane * owners;
    float sum = 0.0f;
    for (int part = 0; part < min(kParts, owners); ++part) {
      sum += first[part];
    }
    finite = finite && sum * 0.0f == 0.0f;
    target[kFlipped ? (plane + 1) * kTaps - 1 - tap : i] = sum;
  }
  if (kExact && !__syncthreads_and(finite)) {
#pragma unroll 1
    for (int i = 0; i < share.planes * kTaps; ++i) {
      const int plane = i / kTaps, tap = i - plane * kTaps;
      float* const stored = target + (kFlipped ? (plane + 1) * kTaps - 1 - tap : i);
      if (*stored * 0.0f == 0.0f) {
        continue;
      }
      const float sum = exact_tap_sum(params, plan, share, grad_z, input, share.filter + plane,
                                      tap / kWidth, tap % kWidth, totals);
      if (threadIdx.x == 0) {
        *stored = sum;
      }
      __syncthreads();
    }
  }
}

}  // namespace kernelopt
