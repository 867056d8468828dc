// The stages of a convolution whose windows are made an operand of the tensor cores: how they lie
// in shared memory, and how many fit. Includes no torch header.
#pragma once

#include "common/math.h"
#include "conv1d/conv1d_wgmma_shared_params.h"

namespace kernelopt {

/// Cuts stages of windows and operands; 0 and the parameters as they are where they do not fit,
/// else the bytes of a block's shared memory. Counts besides tile_runs and the correlation:
/// @param taps      of a stage
/// @param channels  of a stage
/// @param windows   at least, beside two operands
/// @param fixed     bytes of what else a block has
/// @param weights   bytes of weights of a stage
/// @tparam Shape    of the kernel, which has the most of either
template <typename T, typename Shape>
int fit_operand_stages(Conv1dWgmmaSharedParams* params, int64_t taps, int channels, int64_t windows,
                       int64_t fixed, int64_t weights, int max_shared_bytes) {
  Conv1dWgmmaSharedParams& p = *params;
  const Conv1dCorrelation& correlation = p.correlation;
  const int64_t input_step = correlation.input_step;
  const int64_t depth =
      int64_t{p.tile_runs - 1} * input_step + (taps - 1) * correlation.tap_step + 1;
  // Eight successive positions, which are written at once, to different banks.
  const int64_t sorted = divide_up(depth, input_step), spread = (7 + input_step) / input_step;
  const int64_t residue_pitch = input_step == 1 ? depth : round_up(sorted - spread, 8) + spread;
  // Rows begin at their own place in 16 bytes. With an odd number of 16 bytes those of eight rows
  // are in different banks.
  const int64_t pitch = round_up(depth * static_cast<int64_t>(sizeof(T)), 32) + 16;
  const int64_t window = channels * pitch;
  const int64_t operand_pitch = input_step * residue_pitch + 1;  // one that is not read
  const int64_t operand = channels * operand_pitch * 2 * MmaTraits<T>::kParts;
  int64_t operands = 2;
  const auto bytes = [&](int64_t raw, int64_t made) {
    return fixed + raw * window + made * (operand + weights);
  };
  if (bytes(windows, operands) > max_shared_bytes) {
    return 0;
  }
  for (bool grown = true; grown;) {
    grown = false;
    if (operands < Shape::kMaxOperandStages && bytes(windows, operands + 1) <= max_shared_bytes) {
      ++operands;
      grown = true;
    }
    if (windows < Shape::kMaxStages && bytes(windows + 1, operands) <= max_shared_bytes) {
      ++windows;
      grown = true;
    }
  }
  p.stage_channels = channels;
  p.taps_per_step = static_cast<int>(taps);
  p.window_pitch = static_cast<int>(pitch);
  p.window_bytes = static_cast<int>(window);
  p.operand_pitch = static_cast<int>(operand_pitch);
  p.residue_pitch = static_cast<int>(residue_pitch);
  p.operand_bytes = static_cast<int>(operand);
  p.step_weight_bytes = static_cast<int>(weights);
  p.stages = static_cast<int>(windows);
  p.operand_stages = static_cast<int>(operands);
  return static_cast<int>(bytes(windows, operands));
}

}  // namespace kernelopt
