// A convolution, either way round, as one correlation. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_params.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <numeric>

namespace kernelopt {

struct Conv1dWgmmaLimits {
  static constexpr int64_t kMaxPackedBytes = int64_t{1} << 30;
  // Residues of a run share the 16 slots of a pass.
  static constexpr int64_t kMaxResidues = Conv1dWgmmaShape::kPassColumns;
  // Taps of the correlation for each of the weight's; those it has besides are zeros.
  static constexpr int64_t kMaxTapWaste = 2;
  // Runs between the residues of a skewed one, of a tile's 128. Counted. Of fewer channels it was
  // not measured.
  static constexpr int64_t kMaxSkew = 16, kMinSkewedChannels = 8;
  // Products an output up to which in 16 bit memory is the limit rather than the tensor cores, so
  // that tiles overlap for the sake of whole sectors. Counted.
  static constexpr int64_t kMemoryBoundProducts = 640;
  // Slots' weights of eight channels and four taps up to which a block packs its own. Those of one
  // warp's slots are side by side in memory where transposed, else far apart: 16x80x32 -> 512, k7,
  // which has 512, took 28 us instead of 19.
  static constexpr int64_t kMaxBlockPacks = 128, kMaxTransposedPacks = 1024;
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

/// Describes a transposed problem whose residues' taps lie apart, as those of dilations above the
/// stride do, with skewed residues: as many taps as a residue has, instead of those and zeros.
template <typename T>
void describe_skewed(const Conv1dProblem& problem, Conv1dWgmmaParams* params) {
  using Limits = Conv1dWgmmaLimits;
  const int64_t stride = problem.stride;
  if (!problem.transposed || stride > Limits::kMaxResidues ||
      problem.out_channels < Limits::kMinSkewedChannels) {
    return;
  }
  const int64_t divisor = std::gcd(stride, problem.dilation);
  const int64_t period = stride / divisor;  // taps from one of a residue to the next
  const int64_t taps = (problem.kernel_size - 1) / period + 1;
  // Of each residue's first tap: its residue, and the input position it reaches from run 0.
  int64_t positions[Limits::kMaxResidues], residues[Limits::kMaxResidues];
  const int64_t count = std::min(period, problem.kernel_size);
  for (int64_t tap = 0; tap < count; ++tap) {
    const int64_t reach = tap * problem.dilation - problem.padding;
    residues[tap] = (reach % stride + stride) % stride;
    positions[tap] = -(reach - residues[tap]) / stride;
  }
  const auto [least, most] = std::minmax_element(positions, positions + count);
  const int64_t skew = *most - *least;
  const int64_t runs = (problem.out_length - 1) / stride + 1 + skew;
  if (runs > std::numeric_limits<int32_t>::max() / 4 ||
      taps * stride > Limits::kMaxTapWaste * std::max(problem.kernel_size, stride) ||
      skew > Limits::kMaxSkew) {
    return;
  }
  Conv1dWgmmaParams& p = *params;
  p.skew_outputs = static_cast<int>(skew * stride);
  p.run_shift = p.skew_outputs;
  p.problem = problem;
  p.problem.output = static_cast<T*>(problem.output) - p.run_shift;
  p.problem.padding -= p.run_shift;
  p.problem.out_length += p.run_shift;
  for (int64_t tap = 0; tap < count; ++tap) {
    p.skews[residues[tap]] = static_cast<uint8_t>(*most - positions[tap]);
  }
  const int64_t tap_step = problem.dilation / divisor;
  p.correlation = {static_cast<int>(stride),
                   static_cast<int>(runs),
                   static_cast<int>(taps),
                   1,
                   static_cast<int>(*least - (taps - 1) * tap_step),
                   static_cast<int>(tap_step)};
}

/// Runs from one warpgroup's tile to the next where tiles overlap by a sector, so that every row is
/// stored from a sector's start to a sector's start, and skewed ones by their incomplete outputs as
/// well.
template <typename T>
int64_t overlapping_tile_step(const Conv1dWgmmaParams& p) {
  constexpr int64_t kSector = 32 / sizeof(T);
  const int64_t outputs = p.correlation.run_outputs();
  const int64_t overlap =
      p.skew_outputs > 0 ? divide_up(p.skew_outputs + kSector * 3 / 2, outputs) : 1;
  return Conv1dWgmmaShape::kWarpgroupM -
         round_up(overlap, kSector / std::gcd<int64_t>(kSector, outputs));
}

/// Behind the last input position that so many runs read, padded ones included: must fit 32 bits.
inline int64_t last_position_read(const Conv1dCorrelation& correlation, int64_t runs) {
  return runs * correlation.input_step + int64_t{correlation.taps} * correlation.tap_step +
         std::abs(int64_t{correlation.input_first});
}

/// Whether all output rows begin at multiples of so many elements, from address 0 on.
template <typename T>
bool output_rows_begin_on(const Conv1dProblem& problem, int64_t elements) {
  return reinterpret_cast<uintptr_t>(problem.output) % (elements * sizeof(T)) == 0 &&
         problem.output_strides.channel % elements == 0 &&
         problem.output_strides.batch % elements == 0;
}

/// Describes a problem to a kernel as a correlation whose runs begin `padding` modulo `stride`
/// outputs before the first one: then all residues' taps reach the same input positions. 64 -> 64,
/// k4 s2 p1 has two taps a residue instead of three.
template <typename T>
void describe_shifted(const Conv1dProblem& problem, bool spreads, Conv1dWgmmaParams* params) {
  const int64_t shift = problem.transposed ? problem.padding % problem.stride : 0;
  params->run_shift = static_cast<int>(shift);
  params->problem = problem;
  params->problem.output = static_cast<T*>(problem.output) - shift;
  params->problem.padding -= shift;
  params->problem.out_length += shift;
  params->correlation = conv1d_correlation(params->problem, spreads);
}

/// The same where that saves taps; else runs begin at the first output. Two residues' too, whose
/// rows would begin inside sectors: 32x64x8192 -> 64, k4 s2 p1 took 0.127 ms instead of 0.117 in
/// float32.
template <typename T>
void describe_correlation(const Conv1dProblem& problem, bool spreads, Conv1dWgmmaParams* params) {
  describe_shifted<T>(problem, spreads, params);
  const Conv1dCorrelation plain = conv1d_correlation(problem, spreads);
  const int taps = params->correlation.taps;
  const bool saves = taps > 0 && (plain.taps == 0 || (taps < plain.taps && problem.stride > 2));
  if (params->run_shift > 0 && !saves) {
    params->problem = problem;
    params->run_shift = 0;
    params->correlation = plain;
  }
}

}  // namespace kernelopt
