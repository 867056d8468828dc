// How a block of a weight gradient walks over what it sums.
#pragma once

#include "depthwise/depthwise_sliding_block.cuh"

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

}  // namespace kernelopt
