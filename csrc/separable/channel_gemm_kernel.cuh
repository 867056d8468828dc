// result[m, n] = act(bias + sum over k of left[m, k] * right[k, n]) on CUDA cores: the pointwise
// convolution, its gradients, and the separable convolution, whose left or right operand is
// computed by the depthwise stage instead of read. A block owns a tile of results and a share of k;
// while it multiplies one step's tiles from shared memory, the next step's are on their way to
// registers. Arithmetic is IEEE FMA in the accumulate type, for every value of the op's `precision`
// alike.
#pragma once

#include "common/cuda.cuh"
#include "separable/channel_gemm_params.h"

namespace kernelopt {

/// One step's tile of an operand in shared memory, [k][row]; a row is an index along m or n. The
/// padding of 4 keeps the stores of a warp in different banks and 4 neighbours aligned.
template <typename A, int kRows, typename Tile>
using ChannelGemmStage = A[Tile::kTileK][kRows + 4];

/// Which elements of an operand's tile a thread brings. kAlongK: memory runs along k, so a warp
/// takes 8 neighbouring k of 4 rows; a thread has one k. Else memory runs along the rows, and a
/// thread has one row.
template <int kRows, typename Tile, bool kAlongK>
struct ChannelGemmLanes {
  static constexpr int kItems = kRows * Tile::kTileK / Tile::kThreads;
  static constexpr int kWarpsAlongK = Tile::kTileK / 8;
  static constexpr int kRowStep = Tile::kThreads / Tile::kTileK;
  static constexpr int kStepsAtOnce = Tile::kThreads / kRows;

  int first_k;
  int first_row;

  __device__ __forceinline__ ChannelGemmLanes() {
    const int thread = static_cast<int>(threadIdx.x);
    if constexpr (kAlongK) {
      first_k = thread % 8 + thread / 32 % kWarpsAlongK * 8;
      first_row = thread / 8 % 4 + thread / (32 * kWarpsAlongK) * 4;
    } else {
      first_k = thread / kRows;
      first_row = thread % kRows;
    }
  }
  __device__ __forceinline__ int k(int item) const {
    return kAlongK ? first_k : first_k + item * kStepsAtOnce;
  }
  __device__ __forceinline__ int row(int item) const {
    return kAlongK ? first_row + item * kRowStep : first_row;
  }
};

/// An operand in memory.
template <typename T, bool kAlongKValue>
struct MatrixOperand {
  static constexpr bool kAlongK = kAlongKValue;
  const T* data;
  ChannelMatrix matrix;

  /// Brings a thread's elements of one tile after another, by way of registers.
  template <int kRows, typename Tile>
  struct Loader {
    using A = AccumulateType<T>;
    using Lanes = ChannelGemmLanes<kRows, Tile, kAlongK>;
    struct Shared {};
    Lanes lanes;
    const ChannelMatrix& matrix;
    const T* pointer;
    int rows;  // of the tile that the operand has
    // Kept as read: a conversion would wait for the load before the product it runs beside.
    T values[Lanes::kItems];

    __device__ __forceinline__ Loader(const MatrixOperand& operand, int64_t first_row, int64_t size,
                                      Shared&)
        : matrix(operand.matrix),
          rows(size - first_row < kRows ? static_cast<int>(size - first_row) : kRows) {
      const int64_t row = first_row + lanes.row(0);
      pointer = operand.data + (kAlongK ? row * matrix.across : matrix.along(row));
    }

    /// Starts the loads of the tile at k0.
    __device__ __forceinline__ void fetch(int64_t k0, int64_t k_end) {
      const int64_t k = k0 + lanes.k(0);
      const T* element = pointer + (kAlongK ? matrix.along(k) : k * matrix.across);
      const int64_t step = matrix.across * (kAlongK ? Lanes::kRowStep : Lanes::kStepsAtOnce);
#pragma unroll
      for (int item = 0; item < Lanes::kItems; ++item) {
        const bool inside = k0 + lanes.k(item) < k_end && lanes.row(item) < rows;
        values[item] = inside ? *element : T(0.0f);
        element += step;
      }
    }

    /// Writes the fetched tile.
    __device__ __forceinline__ void store(int64_t, int64_t,
                                          ChannelGemmStage<A, kRows, Tile>& stage) const {
#pragma unroll
      for (int item = 0; item < Lanes::kItems; ++item) {
        stage[lanes.k(item)][lanes.row(item)] = to_accumulate(values[item]);
      }
    }
  };
};

/// The thread's sums: rows and columns 64 * group + 4 * (its row or column of threads) + i.
template <typename A, typename Tile>
struct ChannelGemmSums {
  static constexpr int kGroupsM = Tile::kTileM / 64;
  static constexpr int kGroupsN = Tile::kTileN / 64;
  A values[kGroupsM * 4][kGroupsN * 4];
  int row;
  int column;

  __device__ __forceinline__ ChannelGemmSums()
      : values{},
        row(static_cast<int>(threadIdx.x) / 16 * 4),
        column(static_cast<int>(threadIdx.x) % 16 * 4) {}

  __device__ __forceinline__ void multiply(const ChannelGemmStage<A, Tile::kTileM, Tile>& left,
                                           const ChannelGemmStage<A, Tile::kTileN, Tile>& right) {
#pragma unroll
    for (int k = 0; k < Tile::kTileK; ++k) {
      Vec<A, 4> a[kGroupsM], b[kGroupsN];
#pragma unroll
      for (int group = 0; group < kGroupsM; ++group) {
        a[group] = *reinterpret_cast<const Vec<A, 4>*>(&left[k][64 * group + row]);
      }
#pragma unroll
      for (int group = 0; group < kGroupsN; ++group) {
        b[group] = *reinterpret_cast<const Vec<A, 4>*>(&right[k][64 * group + column]);
      }
#pragma unroll
      for (int i = 0; i < 4 * kGroupsM; ++i) {
#pragma unroll
        for (int j = 0; j < 4 * kGroupsN; ++j) {
          values[i][j] += a[i / 4].values[i % 4] * b[j / 4].values[j % 4];
        }
      }
    }
  }
};

/// Adds the bias, activates and writes the results, 64 rows of the tile at a time by way of shared
/// memory: neighbouring threads write neighbours, whatever the alignment.
template <typename T, typename Result, typename Tile>
__device__ __forceinline__ void store_results(
    const ChannelGemmParams& params, const ChannelGemmSums<AccumulateType<T>, Tile>& sums,
    int64_t m0, int64_t n0, AccumulateType<T> (*buffer)[Tile::kTileN + 4],  // [64][]
    const T* __restrict__ bias, Result* __restrict__ result) {
  using A = AccumulateType<T>;
  using Sums = ChannelGemmSums<A, Tile>;
  const int column = static_cast<int>(threadIdx.x) % Tile::kTileN;
  const int64_t n = n0 + column;
  const int64_t n_offset = params.result.along(n);
#pragma unroll
  for (int group_m = 0; group_m < Sums::kGroupsM; ++group_m) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int group_n = 0; group_n < Sums::kGroupsN; ++group_n) {
        Vec<A, 4> values;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          values.values[j] = sums.values[4 * group_m + i][4 * group_n + j];
        }
        *reinterpret_cast<Vec<A, 4>*>(&buffer[sums.row + i][64 * group_n + sums.column]) = values;
      }
    }
    __syncthreads();
#pragma unroll 1
    for (int row = static_cast<int>(threadIdx.x) / Tile::kTileN; row < 64;
         row += Tile::kThreads / Tile::kTileN) {
      const int64_t m = m0 + 64 * group_m + row;
      if (m < params.m && n < params.n) {
        A value = buffer[row][column];
        if (bias != nullptr) {
          value += to_accumulate(bias[params.bias_along_n ? n : m]);
        }
        result[m * params.result.across + n_offset] =
            from_accumulate<Result>(apply_activation(params.activation, value));
      }
    }
  }
}

/// blockIdx.x = (share * tiles_n + tile_n) * tiles_m + tile_m: blocks that read the same pixels run
/// side by side.
template <typename T, typename Result, typename Tile, typename Left, typename Right>
__global__ void __launch_bounds__(Tile::kThreads, 65536 / (Tile::kThreads * Tile::kRegisters))
    channel_gemm_kernel(const __grid_constant__ ChannelGemmParams params,
                        const __grid_constant__ Left left, const __grid_constant__ Right right,
                        const T* __restrict__ bias,     // [m] or [n], or null
                        Result* __restrict__ result) {  // [shares, m, n]
  using A = AccumulateType<T>;
  using LeftLoader = typename Left::template Loader<Tile::kTileM, Tile>;
  using RightLoader = typename Right::template Loader<Tile::kTileN, Tile>;
  using Stage = ChannelGemmStage<A, Tile::kTileM, Tile>;
  static_assert(Tile::kTileM == Tile::kTileN && 4 * Tile::kTileK == 64,
                "the stages of both operands together are the buffer of 64 rows of results");
  __shared__ __align__(4 * sizeof(A)) Stage stages[4];  // of the left operand, then of the right
  __shared__ typename LeftLoader::Shared left_shared;
  __shared__ typename RightLoader::Shared right_shared;

  const int64_t tiles_m = (params.m + Tile::kTileM - 1) / Tile::kTileM;
  const int64_t tiles_n = (params.n + Tile::kTileN - 1) / Tile::kTileN;
  const int64_t tile = blockIdx.x / tiles_m;
  const int64_t m0 = (blockIdx.x - tile * tiles_m) * Tile::kTileM;
  const int64_t share = tile / tiles_n;
  const int64_t n0 = (tile - share * tiles_n) * Tile::kTileN;
  const int64_t k_begin = share * params.share_length;
  const int64_t k_end =
      k_begin + params.share_length < params.k ? k_begin + params.share_length : params.k;

  LeftLoader left_loader(left, m0, params.m, left_shared);
  RightLoader right_loader(right, n0, params.n, right_shared);
  ChannelGemmSums<A, Tile> sums;
  left_loader.fetch(k_begin, k_end);
  right_loader.fetch(k_begin, k_end);
  left_loader.store(k_begin, k_end, stages[0]);
  right_loader.store(k_begin, k_end, stages[2]);
  __syncthreads();
  int stage = 0;
  for (int64_t k0 = k_begin; k0 < k_end; k0 += Tile::kTileK) {
    const int64_t next = k0 + Tile::kTileK;
    if (next < k_end) {
      left_loader.fetch(next, k_end);
      right_loader.fetch(next, k_end);
    }
    sums.multiply(stages[stage], stages[2 + stage]);
    if (next < k_end) {
      stage ^= 1;
      left_loader.store(next, k_end, stages[stage]);
      right_loader.store(next, k_end, stages[2 + stage]);
      __syncthreads();
    }
  }
  store_results<T, Result, Tile>(params, sums, m0, n0,
                                 reinterpret_cast<A(*)[Tile::kTileN + 4]>(stages), bias,
                                 result + share * params.m * params.n);
}

}  // namespace kernelopt
