// result[k] = scale * sum over r of source[k, r]: k runs over the kept dimensions, r over the
// reduced. rows:    reduced elements are neighbours in memory; a block sums one kept element's
// share. columns: kept elements are neighbours; a thread sums kVec kept elements' part of a share,
// and the threads of a block that have the same ones add theirs up. The reduced range is cut in
// gridDim.y shares; with more than one, `partial` receives [share][k] in the accumulate type and a
// second launch of `columns` adds the shares in order: no atomics, so the same bits every time.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "elementwise/elementwise_policy.h"
#include "elementwise/iteration.h"

#include <type_traits>

namespace kernelopt {

/// kVec elements as they are loaded. Kept whole words until they are added: the compiler would take
/// 16-bit elements apart early.
template <typename Source, int kVec>
struct alignas(sizeof(Source) * kVec) LoadedVec {
  static constexpr int kBytes = sizeof(Source) * kVec;
  using Word = std::conditional_t<kBytes % 4 == 0, uint32_t, uint16_t>;

  Word words[kBytes / sizeof(Word)];

  __device__ __forceinline__ Vec<Source, kVec> elements() const {
    return reinterpret_cast<const Vec<Source, kVec>&>(words);
  }
};

struct SumShare {
  int64_t begin;
  int64_t end;
};

__device__ __forceinline__ SumShare sum_share(int64_t items) {
  const int64_t length = (items + gridDim.y - 1) / gridDim.y;
  const int64_t begin = blockIdx.y * length;
  return {begin, begin + length < items ? begin + length : items};
}

/// A place in a reduced space seen as runs along its innermost dimension, each of `run_items`
/// items, and the way to the one `step` items further: no division between items where there are
/// two dimensions at most, as in the sum over batch and length of a convolution's bias gradient.
class RunCursor {
 public:
  __device__ RunCursor(const Iteration<1>& space, int64_t run_items, int64_t start, int64_t step)
      : item(start % run_items),
        space_(space),
        run_items_(run_items),
        run_(start / run_items),
        item_step_(step % run_items),
        run_step_(step / run_items) {}

  /// Of the first element of the run.
  __device__ __forceinline__ int64_t run_offset() const {
    if (space_.dims <= 2) {
      return space_.dims == 2 ? run_ * space_.strides[0][1] : 0;
    }
    int64_t offset = 0, rest = run_;
    for (int dim = 1; dim < space_.dims; ++dim) {
      const int64_t quotient = rest / space_.sizes[dim];
      offset += (rest - quotient * space_.sizes[dim]) * space_.strides[0][dim];
      rest = quotient;
    }
    return offset;
  }

  __device__ __forceinline__ void advance() {
    item += item_step_;
    run_ += run_step_;
    if (item >= run_items_) {
      item -= run_items_;
      ++run_;
    }
  }

  int64_t item;  // of the run

 private:
  const Iteration<1>& space_;
  int64_t run_items_, run_, item_step_, run_step_;
};

/// Every vector's elements to a sum of its own.
template <typename A, int kCount, typename Source, int kVec>
__device__ __forceinline__ void add_each(A (&sums)[kCount],
                                         const LoadedVec<Source, kVec> (&loaded)[kCount]) {
#pragma unroll
  for (int u = 0; u < kCount; ++u) {
    const Vec<Source, kVec> elements = loaded[u].elements();
#pragma unroll
    for (int lane = 0; lane < kVec; ++lane) {
      sums[u] += to_accumulate(elements.values[lane]);
    }
  }
}

template <typename A, int kCount>
__device__ __forceinline__ A add_up(const A (&sums)[kCount]) {
  A total = sums[0];
#pragma unroll
  for (int u = 1; u < kCount; ++u) {
    total += sums[u];
  }
  return total;
}

/// Adds up vectors that lie on vector boundaries; the elements of a run's first and last one that
/// are not the run's do not count.
template <typename A, int kVec, typename Source>
__device__ __forceinline__ A sum_runs(const Source* source, const Iteration<1>& reduced,
                                      int64_t run_items, int64_t begin, int64_t end, int64_t step) {
  constexpr int kUnroll = SumPolicy::unroll(kVec);
  const int64_t length = reduced.dims > 0 ? reduced.sizes[0] : 1;
  const int64_t stride = reduced.dims > 0 ? reduced.strides[0][0] : 0;
  A sums[kUnroll] = {};
  // One run of whole vectors.
  if (reduced.dims <= 1 && length % kVec == 0 &&
      reinterpret_cast<uintptr_t>(source) % sizeof(LoadedVec<Source, kVec>) == 0) {
    const int64_t items = end < length / kVec ? end : length / kVec;
    const int64_t item_stride = kVec > 1 ? kVec : stride;
    for (int64_t r = begin; r < items; r += kUnroll * step) {
      LoadedVec<Source, kVec> loaded[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        loaded[u] = {};
        if (r + u * step < items) {
          loaded[u] = *reinterpret_cast<const LoadedVec<Source, kVec>*>(source + (r + u * step) *
                                                                                     item_stride);
        }
      }
      add_each(sums, loaded);
    }
    return add_up(sums);
  }
  RunCursor cursor(reduced, run_items, begin, step);
  for (int64_t r = begin; r < end; r += kUnroll * step) {
    LoadedVec<Source, kVec> loaded[kUnroll];
    const Source* edges[kUnroll];  // a vector that is not all of the run
    int64_t firsts[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      edges[u] = nullptr;
      loaded[u] = {};
      if (r + u * step < end) {
        const Source* run = source + cursor.run_offset();
        if constexpr (kVec == 1) {
          loaded[u] = *reinterpret_cast<const LoadedVec<Source, 1>*>(run + cursor.item * stride);
        } else {
          const int64_t lead =
              static_cast<int64_t>(reinterpret_cast<uintptr_t>(run) / sizeof(Source) % kVec);
          const int64_t first = cursor.item * kVec - lead;
          if (first >= 0 && first + kVec <= length) {
            loaded[u] = *reinterpret_cast<const LoadedVec<Source, kVec>*>(run + first);
          } else {
            edges[u] = run;
            firsts[u] = first;
          }
        }
      }
      cursor.advance();
    }
    add_each(sums, loaded);
    if constexpr (kVec > 1) {
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (edges[u] != nullptr) {
#pragma unroll
          for (int lane = 0; lane < kVec; ++lane) {
            const int64_t i = firsts[u] + lane;
            if (i >= 0 && i < length) {
              sums[u] += to_accumulate(edges[u][i]);
            }
          }
        }
      }
    }
  }
  return add_up(sums);
}

/// Source is T for the first stage, the accumulate type for the second. `run_items`: elements or
/// vectors of a run of the reduced space; `items` of all of it. `source_ready`: the kernel in front
/// does not write the source.
template <typename Source, typename Result, typename A, int kVec>
__global__ void __launch_bounds__(SumPolicy::kThreads, SumPolicy::kResidentBlocks)
    sum_rows_kernel(const Source* __restrict__ source, Result* __restrict__ result, A scale,
                    const __grid_constant__ Iteration<1> kept,
                    const __grid_constant__ Iteration<1> reduced, int64_t run_items, int64_t items,
                    bool source_ready) {
  constexpr int kWarps = SumPolicy::kThreads / 32;
  __shared__ A warp_sums[kWarps];
  grid_dependency_launch();
  if (!source_ready) {
    grid_dependency_wait();
  }
  const int64_t k = blockIdx.x;
  int64_t base[1];
  kept.offsets(k, base);
  const SumShare share = sum_share(items);
  A sum = sum_runs<A, kVec>(source + base[0], reduced, run_items, share.begin + threadIdx.x,
                            share.end, SumPolicy::kThreads);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, lanes);
  }
  if (threadIdx.x % 32 == 0) {
    warp_sums[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    sum = warp_sums[0];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) {
      sum += warp_sums[warp];
    }
    grid_dependency_wait();
    result[blockIdx.y * kept.numel + k] = from_accumulate<Result>(scale * sum);
  }
}

/// Adds the vectors at the places that `next` gives one after the other, of items `begin`, `begin`
/// + `step` and so on before `end`.
template <typename A, int kVec, typename Next>
__device__ __forceinline__ void add_vectors(A (&sums)[kVec], int64_t begin, int64_t end,
                                            int64_t step, const Next& next) {
  using Source = std::remove_cv_t<std::remove_pointer_t<decltype(next())>>;
  using Loaded = LoadedVec<Source, kVec>;
  constexpr int kUnroll = SumPolicy::unroll(kVec);
  for (int64_t r = begin; r < end; r += kUnroll * step) {
    Loaded loaded[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      loaded[u] = {};
      const Source* place = next();
      if (r + u * step < end) {
        loaded[u] = *reinterpret_cast<const Loaded*>(place);
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const Vec<Source, kVec> elements = loaded[u].elements();
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        sums[i] += to_accumulate(elements.values[i]);
      }
    }
  }
}

/// A block's threads are `lanes` neighbours along the kept dimension times as many rows as there
/// are threads for; some may be left over.
template <typename Source, typename Result, typename A, int kVec>
__global__ void __launch_bounds__(SumPolicy::kThreads, SumPolicy::kResidentBlocks)
    sum_columns_kernel(const Source* __restrict__ source, Result* __restrict__ result, A scale,
                       const __grid_constant__ Iteration<1> kept,
                       const __grid_constant__ Iteration<1> reduced, int lanes, bool source_ready) {
  constexpr int kThreads = SumPolicy::kThreads;
  __shared__ A block_sums[kThreads * kVec];
  grid_dependency_launch();
  if (!source_ready) {
    grid_dependency_wait();
  }
  const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = kThreads / lanes;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * lanes * kVec;
  const int64_t k = first + lane * kVec;
  A sums[kVec] = {};
  if (row < rows && k < kept.numel) {
    int64_t base[1];
    kept.offsets(k, base);
    const SumShare share = sum_share(reduced.numel);
    const int64_t stride = reduced.dims > 0 ? reduced.strides[0][0] : 0;
    const Source* from = source + base[0];
    if (reduced.dims <= 1) {
      from += (share.begin + row) * stride;
      const int64_t step = rows * stride;
      add_vectors(sums, share.begin + row, share.end, rows, [&] {
        const Source* place = from;
        from += step;
        return place;
      });
    } else {
      RunCursor cursor(reduced, reduced.sizes[0], share.begin + row, rows);
      add_vectors(sums, share.begin + row, share.end, rows, [&] {
        const Source* place = from + cursor.run_offset() + cursor.item * stride;
        cursor.advance();
        return place;
      });
    }
  }
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    block_sums[threadIdx.x * kVec + i] = sums[i];
  }
  __syncthreads();
  grid_dependency_wait();
  for (int i = threadIdx.x; i < lanes * kVec; i += kThreads) {
    if (first + i < kept.numel) {
      A sum = block_sums[i];
      for (int other = 1; other < rows; ++other) {
        sum += block_sums[other * lanes * kVec + i];
      }
      result[blockIdx.y * kept.numel + first + i] = from_accumulate<Result>(scale * sum);
    }
  }
}

}  // namespace kernelopt
