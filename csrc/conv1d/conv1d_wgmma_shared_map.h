// The tensor map of the windows of conv1d_wgmma_shared_kernel and conv1d_wgmma_held_kernel.
// Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_shared_params.h"

namespace kernelopt {

/// Fills the map of a cut problem's input, of which a box is a window. Its elements are several of
/// the input's, 8 bytes where they can, for a box has at most 256 of them along a row. Leaves
/// map_elements at 0 where no cut fits, rows do not begin on 16 bytes or are no multiple of an
/// element, a window is too long, or the driver refuses.
template <typename T>
void map_conv1d_windows(Conv1dWgmmaSharedParams* params) {
  constexpr int64_t kSize = sizeof(T);
  constexpr int64_t kMaxBox = 256;
  const Conv1dProblem& problem = params->problem;
  const int64_t channels = problem.groups * problem.in_channels;
  const int64_t row_bytes = problem.input_strides.channel * kSize;
  const int64_t entry_bytes =
      problem.batch == 1 ? channels * row_bytes : problem.input_strides.batch * kSize;
  const auto on_16_bytes = [](int64_t bytes) { return bytes > 0 && bytes % 16 == 0; };
  params->map_elements = 0;
  if (params->window_pitch == 0 || reinterpret_cast<uintptr_t>(problem.input) % 16 != 0 ||
      !on_16_bytes(row_bytes) || !on_16_bytes(entry_bytes)) {
    return;
  }
  // A window has more positions than a box of single ones.
  constexpr int64_t kMost = 8 / kSize;
  const int64_t elements = problem.in_length % kMost == 0 ? kMost : kMost / 2;
  if (problem.in_length % elements != 0 || params->window_pitch > kMaxBox * elements * kSize) {
    return;
  }
  const TensorMapShape shape{
      static_cast<int>(elements * kSize),
      {static_cast<uint64_t>(problem.in_length / elements), static_cast<uint64_t>(channels),
       static_cast<uint64_t>(problem.batch), 1},
      {static_cast<uint64_t>(row_bytes), static_cast<uint64_t>(entry_bytes),
       static_cast<uint64_t>(entry_bytes)},
      {static_cast<uint32_t>(params->window_pitch / (elements * kSize)),
       static_cast<uint32_t>(params->stage_channels), 1, 1},
      false};
  if (encode_tensor_map(shape, problem.input, &params->input_map)) {
    params->map_elements = static_cast<int>(elements);
  }
}

}  // namespace kernelopt
