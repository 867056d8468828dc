// Which one-dimensional convolutions ATen's operators compute faster than the kernels here. Asked a
// call, in a few comparisons. Figures: milliseconds on an H100, torch 2.11, CUDA 13.0, where
// no other card is named; elsewhere the kernels serve. Pointers and strides are not read. Includes
// no torch header.
#pragma once

#include "conv1d/conv1d_columns_policy.h"
#include "conv1d/conv1d_problem.h"
#include "conv1d/weight_gradient_problem.h"

#include <algorithm>

namespace kernelopt {

/// What a convolution is computed for: ATen's forward has passes of its own for the bias and the
/// activation, an input gradient has neither.
enum class Conv1dUse { kForward, kInputGradient };

/// Forward problems that cuDNN's layout or its one product in TF32, where the kernels multiply
/// three times, decides. Figures: milliseconds on an H200, whose memory leaves more to arithmetic.
/// @param element_bytes  2 or 4
/// @param positions      of all batch entries
/// @param sum            products of an output
/// @param products       of all outputs
inline bool aten_multiplies_faster(const Conv1dProblem& problem, int element_bytes,
                                   int64_t positions, int64_t sum, double products) {
  const int64_t out_channels = problem.out_channels;
  if (problem.transposed) {
    return false;  // 1x384x5568 -> 192, k8 s4, the last: 0.046, ATen 0.067
  }
  if (problem.kernel_size == 1) {
    // Many channels to as many: 1x1536x896 -> 3072: 0.081, ATen 0.056, in bfloat16 0.036 and
    // 0.023; 1x3072x301 -> 1536: 0.045, ATen 0.032, but 0.020 and 0.073 in bfloat16, whose rows
    // begin on no 16 bytes.
    const bool wide = problem.in_length * element_bytes % 16 == 0;
    if (sum >= 1536 && out_channels >= 1536 && (element_bytes == 4 || wide)) {
      return true;
    }
    // H100: few channels in about a tile a multiprocessor, of rows on no 16 bytes: 1x64x16001 ->
    // 64: 0.0120, ATen 0.0108; 1x64x32001 -> 64: 0.0216 and 0.0166; 1x64x16001 -> 128: 0.0172 and
    // 0.0157; 1x32x16001 -> 32: 0.0107 and 0.0078; 4x64x4001 -> 64: 0.0120 and 0.0110. Not:
    // 1x64x8001 -> 64: 0.0079 and 0.0089; 1x64x48001 -> 64: 0.0222 and 0.0224; 1x64x16000 -> 64:
    // 0.0076 and 0.0099.
    if (element_bytes == 4 && !wide && problem.activation == Activation::kNone && sum >= 32 &&
        sum <= 128 && out_channels >= 32 && out_channels <= 128 && positions >= 3 << 12 &&
        positions <= 5 << 13) {
      return true;
    }
    // About two tiles a multiprocessor: 4x512x2000 -> 512: 0.040, ATen 0.027; 4x384x1343 -> 768:
    // 0.047, ATen 0.039; 1x128x4097 -> 1024: 0.034, ATen 0.024. Not: 1x512x2000 -> 512: 0.016, ATen
    // 0.016; 4x128x3999 -> 512: 0.037, ATen 0.055; 1x256x4097 -> 512: 0.022, ATen 0.028.
    return element_bytes == 4 && out_channels >= 512 && sum >= (wide ? 384 : 128) &&
           positions >= 1 << 12 && positions <= 1 << 13;
  }
  // H100: few products of few channels, but more than the kernels on CUDA cores take: 1x12x1000 ->
  // 32, k5 s2: 0.0094, ATen 0.0069; -> 128, k7: 0.0092 and 0.0080; 8x12x1000 -> 32, k5 s2: 0.0098
  // and 0.0074; 1x24x1000 -> 64, k5: 0.0112 and 0.0091; 1x32x1024 -> 32, k3: 0.0092 and 0.0083.
  // Not: 1x8x2000 -> 64, k5: 0.0084 and 0.0134; 4x12x1000 -> 128, k7: 0.0100 and 0.0105.
  if (element_bytes == 4 && problem.activation == Activation::kNone && problem.in_channels > 8 &&
      problem.in_channels <= 32 && sum <= 128 && out_channels >= 16 &&
      positions * sum * out_channels < 3 << 23) {
    return true;
  }
  if (element_bytes == 2 || problem.stride != 1 || problem.dilation != 1) {
    return false;
  }
  // Long filters and many products: 16x256x801 -> 256, k11: 0.110, ATen 0.091; 256x300x200 -> 200,
  // k11: 0.40 and 0.36; 128x320x248 -> 480, k8: 0.36 and 0.32. Not of fewer: 8x256x801 -> 256, k9:
  // 0.048 and 0.048; 64x200x100 -> 256, k9: 0.042 and 0.057; 16x256x801 -> 192, k8: 0.065 and
  // 0.070; on an H100 8x256x2094 -> 256, k7: 0.084 and 0.108 (0.092 with cudnn.benchmark);
  // 8x384x700 -> 384, k7: 0.059 and 0.072. Nor to more channels: 16x256x803 -> 1024, k9: 0.272,
  // ATen 0.621; nor of one batch entry.
  return problem.kernel_size >= 8 && sum >= 1792 && out_channels >= 192 && out_channels <= 512 &&
         problem.batch >= 8 && products >= static_cast<double>(int64_t{1} << 33);
}

/// @param element_bytes  2 or 4
inline bool aten_is_faster(const Conv1dProblem& problem, int element_bytes, int compute_capability,
                           Conv1dUse use = Conv1dUse::kForward) {
  if (compute_capability != 90 || problem.groups != 1 ||
      conv1d_columns_form(problem) != Conv1dColumnsForm::kNone) {
    return false;
  }
  const int64_t positions =
      problem.batch * (problem.transposed ? problem.in_length : problem.out_length);
  const int64_t sum = problem.in_channels * problem.kernel_size;
  const bool many_channels = problem.in_channels >= 64 && problem.out_channels >= 64;
  const bool forward = use == Conv1dUse::kForward;
  const double products = static_cast<double>(positions) * static_cast<double>(sum) *
                          static_cast<double>(problem.out_channels);
  if (forward && aten_multiplies_faster(problem, element_bytes, positions, sum, products)) {
    return true;
  }
  // Products from which on kernels that pack the input were measured beside ATen, forward.
  const bool packs = forward && products >= 1 << 27;
  // Rows too short for a tile in float32: 256x256x4 -> 256, k5: 0.027, ATen 0.023. Not: 256x1024x4
  // -> 1024, k5: 0.113, ATen 0.119; transposed 256x1024x4 -> 1024, k4 s2: 0.098, ATen 0.136; in
  // bfloat16 0.020, 0.067 and 0.071, ATen 0.025, 0.105 and 0.107.
  if ((!packs || (element_bytes == 4 && !problem.transposed && problem.out_channels < 512)) &&
      std::min(problem.in_length, problem.out_length) <= 8 && problem.batch >= 16 &&
      problem.in_channels >= 256 && problem.out_channels >= 256) {
    return true;
  }
  // Long sums for many channels in float32: 16x512x801 -> 512, k17: 0.53, ATen 0.48; 64x3072x301 ->
  // 1536, k1: 1.12, ATen 0.86; 64x512x801 -> 512, k5: 0.71, ATen 0.63. Of few taps where rows lie
  // on 16 bytes to more than 512 channels: 16x1280x3000 -> 1280, k3 s2: 1.15, ATen 1.13, on an
  // H200 1.15 and 1.04; 1x768x49152 -> 896, k5: 1.35, ATen 1.37, on an H200 1.34 and 1.26. Nor
  // transposed with a stride: 32x2048x8 -> 512, k31 s2: 0.24, ATen 0.58; nor in bfloat16: 0.21,
  // 0.49 and 0.27, ATen 0.23, 0.51 and 0.39. Input gradients in both.
  const bool quick = problem.transposed
                         ? problem.stride > 1
                         : problem.kernel_size > 1 && problem.kernel_size <= 8 &&
                               problem.in_length % 4 == 0 && problem.out_channels <= 512;
  if (!(forward && (element_bytes == 2 || quick)) &&
      sum >= 2560 * (problem.transposed ? problem.stride : 1) && problem.out_channels >= 512 &&
      static_cast<double>(positions) * static_cast<double>(sum * problem.out_channels) >=
          1LL << 34) {
    return true;
  }
  // Input gradients in 16 bit, of pointwise convolutions and of those of many channels at strides:
  // 1x768x196608 -> 768, k1: 0.74, ATen 0.34; 32x512x784 -> 128, k1: 0.035, ATen 0.014;
  // 16x768x3000 -> 768, k3 s2: 0.39, ATen 0.28; 8x512x31999 -> 512, k3 s2: 0.80, ATen 0.71
  // (float32: 0.59, ATen 0.59; 1.46, ATen 1.38).
  if (problem.transposed && element_bytes == 2 && many_channels &&
      (problem.kernel_size == 1 ? positions >= 1 << 14
                                : problem.stride > 1 && positions >= 1 << 13 &&
                                      std::min(problem.in_channels, problem.out_channels) >= 512)) {
    return true;
  }
  if (problem.stride >= 5 && many_channels) {
    // float32 / bfloat16: transposed 16x512x200 -> 256, k12 s6: 0.118 / 0.067, ATen 0.097 / 0.063;
    // Not where residues fill the columns of a pass and rows can be copied by pairs: 16x512x32 ->
    // 256, k16 s8: 0.044 / 0.030, ATen 0.046 / 0.033; 4x768x696 -> 384, k16 s8: 0.174 / 0.117, ATen
    // 0.254 / 0.143; nor 1x256x6424 -> 128, k16 s8. In float32 nor where residues fill all columns:
    // 4x512x803 -> 256, k16 s8: 0.117, ATen 0.132.
    if (problem.transposed) {
      const int64_t columns = problem.stride > 16 ? 0 : 16 / problem.stride * problem.stride;
      const bool fast = (problem.in_length % 2 == 0 && columns >= (positions <= 1024 ? 12 : 14)) ||
                        (element_bytes == 4 && columns == 16);
      return !fast &&
             (element_bytes == 4 ? problem.batch >= 4 && positions <= 1 << 15
                                 : !packs && problem.batch >= 8 && problem.in_length <= 256);
    }
    // On an H200, float32, of many products: 8x256x2094 -> 512, k16 s8: 0.074, ATen 0.070;
    // 32x256x600 -> 512: 0.079 and 0.074; 16x256x4096 -> 512: 0.191 and 0.165; 8x256x4000 -> 512,
    // k12 s6: 0.119 and 0.112. Not: 6x256x2094 -> 512, k16 s8: 0.056 and 0.058; 16x256x600 -> 512:
    // 0.046 and 0.051; 1x256x5512 -> 512: 0.034 and 0.041; 1x256x100 -> 512: 0.018 and 0.034;
    // 16x128x3000 -> 256, k10 s5: 0.056 and 0.057; 1x128x600 -> 256: 0.016 and 0.019; 1x64x2000 ->
    // 128, k8 s5: 0.012 and 0.015; nor in bfloat16: 16x256x4096 -> 512, k16 s8: 0.078 and 0.125;
    // 8x256x2094: 0.041 and 0.049; 16x256x600: 0.032 and 0.036; 1x256x100: 0.021 and 0.027.
    if (forward) {
      return element_bytes == 4 && products >= static_cast<double>(int64_t{1} << 32);
    }
    return element_bytes == 4 || problem.stride > 5;
  }
  if (!problem.transposed && problem.stride == 4 && many_channels) {
    // Input gradients at few positions, float32 / bfloat16: transposed 1x192x5376 -> 96, k8: 0.032
    // / 0.023, ATen 0.023 / 0.020; 1x384x248 -> 192, k8: 0.022 / 0.018, ATen 0.019 / 0.016. Not:
    // 4x256x2772 -> 128, k8: 0.061 / 0.033, ATen 0.057 / 0.036.
    if (!forward) {
      return positions <= 1 << 13;
    }
    // Many taps in float32: 64x196x256 -> 256, k17: 0.073, ATen 0.061; 1x64x4096 -> 128, k17: 0.018
    // and 0.018. Not of fewer: 1x128x22050 -> 256, k8: 0.030 and 0.034; 1x64x12000 -> 128, k8:
    // 0.014 and 0.018; 1x64x6000: 0.014 and 0.019; 4x128x4000 -> 256: 0.023 and 0.032; nor in
    // bfloat16: 0.041, ATen 0.058; 0.014, ATen 0.017.
    if (element_bytes == 2) {
      return false;
    }
    return problem.kernel_size >= 16 &&
           (problem.in_channels >= 128
                ? problem.out_channels <= 256 && positions >= 1 << 11 && positions <= 1 << 13
                : positions >= 1 << 10 && positions <= 1 << 12);
  }
  if (problem.transposed) {
    // Input gradients of a stem in float32: 1x80x3200 -> 1, k251: 0.19, ATen 0.035; 1x32x8959 -> 1,
    // k16: 0.023, ATen 0.012; 256x300x600 -> 4, k19: 0.52, ATen 0.36; 8 of them 0.042, ATen 0.036.
    // Not: one of them 0.026, ATen 0.032; 4x288x131072 -> 4, k15: 1.09, ATen 1.98; 8x64x16757 -> 1,
    // k7: 0.048, ATen 0.054; bfloat16: 256x300x600 -> 4, k19: 0.33, ATen 0.60.
    return element_bytes == 4 && problem.stride == 1 && problem.out_channels <= 4 &&
           positions >= 2048 && problem.in_length <= 1 << 14 &&
           ((problem.out_channels == 1 && problem.kernel_size >= 16) || positions * sum >= 3 << 23);
  }
  // Long filters of one channel at large strides: 16x1x160000 -> 257, k401 s160: 0.29, ATen 0.27
  // (bfloat16 0.24, ATen 0.21).
  return problem.in_channels == 1 && problem.out_channels >= 8 && problem.kernel_size >= 128 &&
         problem.stride > 16;
}

inline bool aten_is_faster(const Conv1dWeightGradientProblem& problem, int element_bytes,
                           int compute_capability) {
  if (compute_capability != 90 || problem.groups != 1) {
    return false;
  }
  const int64_t least = std::min(problem.steady_channels, problem.shifted_channels);
  const int64_t most = std::max(problem.steady_channels, problem.shifted_channels);
  // Many channels, float32 / bfloat16: 16x512x801 -> 512, k17: 1.16 / 0.45, ATen 0.79 / 0.22;
  // 1x768x196608 -> 768, k1: 1.54 / 0.53, ATen 0.94 / 0.36; 16x768x3000 -> 768, k3 s2: 1.07 / 0.59,
  // ATen 0.66 / 0.27; transposed 32x512x256 -> 128, k31 s2: 0.35 / 0.17, ATen 0.19 / 0.094. Not in
  // bfloat16: 4x256x6424 -> 256, k11 d5: 0.15, ATen 1.65; 8x256x2094 -> 256, k7 d9: 0.12, ATen
  // 0.63.
  if ((least >= 256 || (least >= 128 && problem.kernel_size >= 16)) && most >= 512) {
    return true;
  }
  // Long filters of many channels in float32: 8x256x2094 -> 256, k7 d9: 0.22, ATen 0.18;
  // 4x256x6424 -> 256, k11 d5: 0.36, ATen 0.30. Not: 1x256x1368 -> 256, k3: 0.025, ATen 0.028.
  if (element_bytes == 4 && least >= 256 && problem.kernel_size >= 7) {
    return true;
  }
  // Short rows of odd lengths, which are copied first, bfloat16: 1x192x437 -> 384, k5: 0.021, ATen
  // 0.015; 1x192x137 -> 768, k3: 0.021, ATen 0.017. Not: 1x256x600 -> 256, k3: 0.012, ATen 0.014.
  if (element_bytes == 2 && least >= 192 && problem.batch * problem.steady_length <= 1 << 12 &&
      (problem.steady_length % 2 != 0 || problem.shifted_length % 2 != 0)) {
    return true;
  }
  // Windows of many positions, float32 / bfloat16: transposed 1x256x6424 -> 128, k16 s8: 0.17 /
  // 0.088, ATen 0.096 / 0.051; 16x128x3000 -> 256, k10 s5: 0.12 / 0.071, ATen 0.098 / 0.053;
  // 4x96x21499 -> 192, k8 s4: 0.23 / 0.097, ATen 0.14 / 0.078. Not: transposed 1x192x5376 -> 96, k8
  // s4: 0.055 in float32, ATen 0.074; 8x64x51392 -> 32, k8 s4: 0.34 / 0.13, ATen 0.49 / 0.30.
  // 1x384x248 -> 192, k8 s4 in float32: 0.027, ATen 0.021.
  if (least < 64 || problem.stride < 4) {
    return false;
  }
  return element_bytes == 2 || problem.stride > 4 || least >= 192 ||
         (least >= 96 && problem.batch * problem.steady_length >= 1 << 13);
}

}  // namespace kernelopt
