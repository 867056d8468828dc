// A convolution, either way round, as one correlation. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_params.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace kernelopt {

struct Conv1dWgmmaLimits {
  static constexpr int64_t kMaxPackedBytes = int64_t{1} << 30;
  // Residues of a run share the 16 slots of a pass.
  static constexpr int64_t kMaxResidues = Conv1dWgmmaShape::kPassColumns;
  // Taps of the correlation for each of the weight's; those it has besides are zeros.
  static constexpr int64_t kMaxTapWaste = 2;
  // Products an output up to which in 16 bit memory is the limit rather than the tensor cores, so
  // that tiles overlap for the sake of whole sectors. Counted.
  static constexpr int64_t kMemoryBoundProducts = 640;
  // Of the cost of whole tiles: below it tiles of segments are taken.
  static constexpr double kPieceGain = 0.9;
};

/// The problem as one correlation; `taps` is 0 where it is none.
/// @param spreads  whether it may be spread
inline Conv1dCorrelation conv1d_correlation(const Conv1dProblem& problem, bool spreads = true) {
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max() / 4;
  Conv1dCorrelation correlation{};
  if (!problem.transposed) {
    return {1,
            static_cast<int>(problem.out_length),
            static_cast<int>(problem.kernel_size),
            static_cast<int>(problem.stride),
            static_cast<int>(-problem.padding),
            static_cast<int>(problem.dilation)};
  }
  if (problem.stride > Conv1dWgmmaLimits::kMaxResidues) {
    return correlation;
  }
  const auto offset = [&](int64_t tap) {
    const int64_t reach = tap * problem.dilation - problem.padding;
    const int64_t floor = reach / problem.stride - (reach % problem.stride < 0 ? 1 : 0);
    return -floor;
  };
  const int64_t first = offset(problem.kernel_size - 1), last = offset(0);
  int64_t step = 0;
  for (int64_t tap = 1; tap < problem.kernel_size; ++tap) {
    step = std::gcd(step, offset(tap - 1) - offset(tap));
  }
  step = std::max<int64_t>(step, 1);
  const int64_t taps = (last - first) / step + 1;
  const int64_t positions = (problem.out_length - 1) / problem.stride + 1;
  if (taps * problem.stride >
          Conv1dWgmmaLimits::kMaxTapWaste * std::max(problem.kernel_size, problem.stride) ||
      positions > kLimit) {
    return correlation;
  }
  const bool spread =
      spreads && problem.stride == 2 && (problem.dilation % 2 == 0 || problem.kernel_size == 1);
  return {spread ? 1 : static_cast<int>(problem.stride),
          static_cast<int>(positions),
          static_cast<int>(taps),
          1,
          static_cast<int>(first),
          static_cast<int>(step),
          spread ? 2 : 1,
          spread ? static_cast<int>(problem.padding % 2) : 0};
}

}  // namespace kernelopt
