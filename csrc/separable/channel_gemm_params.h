// What the matrix product of the pointwise convolutions is told, by value. Includes no torch
// header.
#pragma once

#include "common/math.h"

#include <cstdint>

namespace kernelopt {

/// A matrix in memory. Along one of its dimensions elements are neighbours, except that a jump
/// follows every `run` of them: pixels of a batch of contiguous images run for H * W elements, then
/// jump to the next image. Across the other dimension they lie `across` apart.
struct ChannelMatrix {
  int64_t run;
  int64_t jump;  // from the start of one run to that of the next
  int64_t across;

  /// Of index i along the matrix.
  KERNELOPT_HOST_DEVICE int64_t along(int64_t i) const {
    return i < run ? i : i + i / run * (jump - run);
  }
};

/// result[m, n] = act(bias + sum over k of left[m, k] * right[k, n]). The result runs along n.
///   forward, contiguous:          m output channel, n pixel,          k input channel
///   forward, channels_last:       m pixel,          n output channel, k input channel
///   input gradient, contiguous:   m input channel,  n pixel,          k output channel
///   input gradient, channels_last m pixel,          n input channel,  k output channel
///   weight gradient:              m output channel, n input channel,  k pixel
struct ChannelGemmParams {
  int64_t m;
  int64_t n;
  int64_t k;
  ChannelMatrix left;
  ChannelMatrix right;
  ChannelMatrix result;
  int64_t shares;        // of the sum over k; share s writes result + s * m * n
  int64_t share_length;  // elements of k a share
  bool bias_along_n;     // else along m
  Activation activation;
};

}  // namespace kernelopt
