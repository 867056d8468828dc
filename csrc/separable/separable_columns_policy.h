// Which separable convolutions are computed over padded columns. Includes no torch header.
#pragma once

#include "common/math.h"
#include "separable/separable_columns_params.h"

#include <cstdint>

namespace kernelopt {

/// Where the two kernels are faster than others, by measurement (docs/tuning/separable.md).
struct SeparableColumnsPolicy {
  // Small contiguous images have a product of their own where their channels fill 16 bytes.
  static constexpr int64_t kImagePixels = 256;
  // That one is slow for so many weights, ms on an H100: 32x1024x10x10 -> 1536 0.034 here and 0.039
  // in bf16, 0.070 and 0.077 in fp32; and in fp32 for planes off 16 bytes: 100x276x25x5 -> 276
  // 0.037 and 0.042.
  static constexpr int64_t kManyWeights = 1 << 20, kFewPixels = 64;
  // Depthwise values: beyond the first number planes off 16 bytes need many channels to be
  // multiplied here, beyond the second one memory decides, and the other depthwise kernels are
  // nearer to its speed. bf16 on an H100, here and by the others: 32x128x74x74 -> 256 0.114 and
  // 0.131, 32x64x147x147 -> 128 0.25 and 0.20. Of fp32 half of them: 8x128x74x74 -> 256 0.052 and
  // 0.056, 32x128x74x74 -> 256 0.212 and 0.208.
  static constexpr int64_t kFewValues = 1 << 21, kManyValues = 1 << 25;
  static constexpr int64_t kManyChannels = 128, kManyChannels32 = 160;
  // Of rows of an odd width more, for fewer channels. bf16 / fp32 on an H200: 8x64x147x147 -> 128
  // 0.0543 and 0.0615 / 0.0894 and 0.0903, 2x 0.0182 and 0.0345 / 0.0268 and 0.0391.
  static constexpr int64_t kOddWidthValues = 3 << 22, kOddWidthChannels = 64;
  // Pixels a multiprocessor, of planes on 16 bytes: below them the one kernel's blocks are too few,
  // and the product of planes has too few tiles. 1x256x64x64 -> 256 in bf16 on an H100: 0.0102,
  // there 0.0118.
  static constexpr int64_t kOneKernelPixels = 128, kPlanesPixels = 64;
  static constexpr int kLeastChannels = 32, kMostChannels = 128, kMostChannels16 = 256;

  static bool takes(const SeparableWgmmaProblem& problem, int size, int multiprocessors) {
    const int64_t plane = int64_t{problem.h.output_size} * problem.w.output_size;
    const int64_t channels = problem.channels, out_channels = problem.out_channels;
    const int64_t pixels = problem.batch * plane, values = pixels * channels;
    const auto on_16_bytes = [&](int64_t elements) { return elements * size % 16 == 0; };
    if (problem.h.kernel_size != 3 || problem.w.kernel_size != 3) {
      return false;
    }
    const bool images =
        plane <= kImagePixels && on_16_bytes(plane * channels) && on_16_bytes(plane * out_channels);
    if (images && (channels > kMostChannels || !on_16_bytes(plane))) {
      return plane > kFewPixels &&
             ((channels * out_channels >= kManyWeights && values <= kManyValues) ||
              (size == 4 && !on_16_bytes(plane) && values <= kManyValues / 8));
    }
    if (!on_16_bytes(plane)) {
      return values <= kFewValues ||
             (problem.w.output_size % 2 != 0 && values <= kOddWidthValues &&
              channels >= kOddWidthChannels) ||
             (values * size <= kManyValues * 2 && channels >= kManyChannels) ||
             (values <= kManyValues && channels >= kManyChannels32);
    }
    if (out_channels <= kMostChannels) {
      return pixels <= kOneKernelPixels * multiprocessors && channels >= kLeastChannels &&
             channels <= kMostChannels;
    }
    return pixels <= kPlanesPixels * multiprocessors && plane > kImagePixels &&
           (size == 4 || channels <= kMostChannels16);
  }
};

}  // namespace kernelopt
