// A transposed convolution as one product with the weights as they lie in memory, and how it is
// cut. Passed to kernels by value. Includes no torch header.
#pragma once

#include "common/mma.cuh"
#include "conv1d/conv1d_problem.h"

#include <algorithm>

namespace kernelopt {

/// Rows are positions of all batch entries, columns (output channel, residue):
///   sums[row (n, q)][column (o, r)] = sum over c and t of
///       input[n, c, q - t] * weight[c, o, t * residues + r]
///   output[n, o, position], position + padding = q * stride + r: the sum over u of
///       sums[(n, q - u)][(o, r + u * stride)]
/// Gathered: the residues are the stride's, the product goes over all taps of one, u is 0.
/// Scattered: the residues are the whole kernel, t is 0, and the taps are added up behind the
/// product, which then has as many rows as the input.
struct Conv1dColumnsParams {
  Conv1dProblem problem;
  int residues;
  int taps;        // of the product: values of t
  int sum_taps;    // of an output: values of u
  int entry_rows;  // of a batch entry
  int rows, columns;
  int row_tiles;
  int chunks, split_chunks;          // of kColumnsChannels input channels, in all and of a split
  bool vector_input, vector_weight;  // whether copied 16 bytes at a time
  int pitch;                         // of a row of sums
  float* sums;                       // [split][group][rows][pitch]

  KERNELOPT_HOST_DEVICE int64_t split_sums() const {
    return problem.groups * rows * int64_t{pitch};
  }
};

constexpr int kColumnsThreads = 256;
constexpr int kColumnsChannels = 32;  // of a step

/// A block's tile: kWarpsR x kWarpsC warps, each kTilesR * 16 rows by 32 columns.
template <int kWarpsR_, int kWarpsC_, int kTilesR_>
struct ColumnsTile {
  static constexpr int kWarpsR = kWarpsR_, kWarpsC = kWarpsC_, kTilesR = kTilesR_;
  static constexpr int kRows = kWarpsR * kTilesR * 16;
  static constexpr int kColumns = kWarpsC * 32;
  static_assert(kWarpsR * kWarpsC * 32 == kColumnsThreads);
};
using WideColumnsTile = ColumnsTile<2, 4, 2>;  // 64 x 128
using FewRowsTile = ColumnsTile<1, 8, 1>;      // 16 x 256
using FewColumnsTile = ColumnsTile<8, 1, 1>;   // 128 x 32

enum class Conv1dColumnsShape { kWide, kFewRows, kFewColumns };

struct Conv1dColumnsPlan {
  Conv1dColumnsShape shape;
  unsigned tiles = 0;
  int splits = 1;
  Conv1dColumnsParams params{};
};

/// Plans a transposed problem of dilation 1 within 32-bit positions.
/// @param gathered  whether the product goes over all taps
template <typename T>
Conv1dColumnsPlan plan_conv1d_columns(const Conv1dProblem& problem, bool gathered,
                                      int multiprocessors) {
  constexpr int64_t kVector = 16 / sizeof(T);
  Conv1dColumnsPlan plan;
  Conv1dColumnsParams& p = plan.params;
  p.problem = problem;
  const int64_t taps = divide_up(problem.kernel_size, problem.stride);
  p.residues = static_cast<int>(gathered ? problem.stride : problem.kernel_size);
  p.taps = static_cast<int>(gathered ? taps : 1);
  p.sum_taps = static_cast<int>(gathered ? 1 : taps);
  p.entry_rows = static_cast<int>(problem.in_length + p.taps - 1);
  p.rows = static_cast<int>(problem.batch * p.entry_rows);
  p.columns = static_cast<int>(problem.out_channels * p.residues);
  p.pitch = static_cast<int>(round_up(p.columns, 4));
  const auto on_vectors = [](const void* data) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0;
  };
  p.vector_input = p.taps == 1 && problem.input_strides.length == 1 &&
                   problem.in_length % kVector == 0 &&
                   problem.input_strides.channel % kVector == 0 &&
                   problem.input_strides.batch % kVector == 0 && on_vectors(problem.input);
  p.vector_weight = (p.residues == problem.kernel_size
                         ? p.columns % kVector == 0
                         : problem.stride % kVector == 0 && problem.kernel_size % kVector == 0) &&
                    on_vectors(problem.weight);
  plan.shape = p.columns <= FewColumnsTile::kColumns ? Conv1dColumnsShape::kFewColumns
               : p.rows <= 2 * FewRowsTile::kRows    ? Conv1dColumnsShape::kFewRows
                                                     : Conv1dColumnsShape::kWide;
  const auto [tile_rows, tile_columns] =
      plan.shape == Conv1dColumnsShape::kFewColumns
          ? std::pair{FewColumnsTile::kRows, FewColumnsTile::kColumns}
      : plan.shape == Conv1dColumnsShape::kFewRows
          ? std::pair{FewRowsTile::kRows, FewRowsTile::kColumns}
          : std::pair{WideColumnsTile::kRows, WideColumnsTile::kColumns};
  p.row_tiles = static_cast<int>(divide_up(p.rows, tile_rows));
  plan.tiles = static_cast<unsigned>(p.row_tiles * divide_up(p.columns, tile_columns));
  p.chunks = static_cast<int>(divide_up(problem.in_channels, kColumnsChannels));
  // Enough blocks for two a multiprocessor.
  const int64_t blocks = plan.tiles * problem.groups;
  const int64_t splits = std::clamp<int64_t>(2 * multiprocessors / blocks, 1, p.chunks);
  p.split_chunks = static_cast<int>(divide_up(p.chunks, splits));
  plan.splits = static_cast<int>(divide_up(p.chunks, p.split_chunks));
  return plan;
}

}  // namespace kernelopt
