// What the kernels that slide down rows of wide images have in common on the host. Includes no
// torch header.
#pragma once

#include "common/math.h"
#include "separable/separable_wgmma_params.h"

#include <algorithm>

namespace kernelopt {

/// Whether it is a 3x3 convolution of as many columns as the input has, a multiple of `columns`, of
/// tensors on 16 bytes, with no activations but ReLU.
inline bool slides_down_rows(const SeparableWgmmaProblem& problem, int columns) {
  const auto simple = [](Activation activation) {
    return activation == Activation::kNone || activation == Activation::kRelu;
  };
  const auto three = [](const SeparableAxis& axis) {
    return axis.kernel_size == 3 && axis.stride == 1 && axis.dilation == 1;
  };
  const uintptr_t place =
      reinterpret_cast<uintptr_t>(problem.input) | reinterpret_cast<uintptr_t>(problem.output);
  return three(problem.h) && three(problem.w) && problem.w.padding == 1 &&
         problem.w.output_size % columns == 0 && place % 16 == 0 &&
         simple(problem.depthwise_activation) && simple(problem.activation);
}

/// Groups of consecutive rows of all images, one for each multiprocessor that a tile of columns
/// has. A segment of rows begins with two that end no result: groups that hold parts of one image
/// have one segment.
/// @param tiles_x  tiles of columns
inline int separable_row_groups(const SeparableWgmmaProblem& problem, int tiles_x,
                                int multiprocessors) {
  const int64_t height = problem.h.output_size, all_rows = problem.batch * height;
  const int most =
      static_cast<int>(std::min<int64_t>(std::max(multiprocessors / tiles_x, 1), all_rows));
  const auto steps = [&](int groups) {
    const int64_t rows = divide_up(all_rows, groups);
    return rows + 2 * (groups % problem.batch == 0 ? 1 : divide_up(rows - 1, height) + 1);
  };
  const int whole = most / problem.batch * problem.batch;
  return whole > 0 && steps(whole) <= steps(most) ? whole : most;
}

}  // namespace kernelopt
