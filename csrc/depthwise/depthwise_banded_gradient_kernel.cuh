// The weight gradient of contiguous tensors at stride and dilation 1 on tensor cores, for kernels
// of up to kBandTaps rows and columns:
//   partial[share, f, i, j] = sum over the share's n, y, x of
//       grad_z[n, f, y, x] * input[n, f / multiplier, y - pad_h + i, x - pad_w + j]
// An input row y and 16 columns x are one product, A[i][k] * B[k][j] with
//   A[i][k] = grad_z[y + pad_h - i, x + k],  B[k][j] = input[y, x + k - pad_w + j].
// A block owns a share and the filters of one BandedPlan block, and walks over images, strips and
// tiles as depthwise_weight_gradient_sliding_kernel does. Sums that are not finite are computed
// again, for masked elements may have met Inf or NaN. Rows of an even number of elements.
#pragma once

#include "depthwise/depthwise_banded_operand.cuh"
#include "depthwise/depthwise_weight_gradient_share.cuh"

namespace kernelopt {

template <typename T>
__global__ void __launch_bounds__(DepthwiseBandedPolicy::kGradientThreads,
                                  DepthwiseBandedPolicy::gradient_blocks(sizeof(T)))
    depthwise_banded_gradient_kernel(
        const __grid_constant__ DepthwiseWeightGradientParams params,
        const __grid_constant__ BandedPlan banded,  // of a stage
        const T* __restrict__ grad_z,               // [N, filters, h, w]
        const T* __restrict__ input,                // [N, filters / multiplier, h, w]
        float* __restrict__ partial) {              // [shares, filters, KH, KW]
#if KERNELOPT_HAS_MMA
  constexpr int kElement = sizeof(T);
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kProducts = kParts == 1 ? 1 : 3;
  const SlidingPlan& plan = banded.block;
  extern __shared__ __align__(128) unsigned char all_shared[];

  const int multiplier = static_cast<int>(params.multiplier);
  const GradientShare share(params, plan);
  GradientStages<T> stages(params, plan, share, grad_z, input, all_shared + kBandZeros);
  for (int i = threadIdx.x; i < kBandZeros / 4; i += blockDim.x) {
    reinterpret_cast<uint32_t*>(all_shared)[i] = 0;
  }

  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int lane_row = lane / 4, lane_pair = 2 * (lane % 4);
  const int plane = divide(warp, banded.warps_per_plane);
  const uint32_t zeros = shared_address(all_shared) + lane_pair * kElement;
  float totals[2] = {0.0f, 0.0f};
  for (int index = 0; index < share.count; ++index) {
    const SlidingBlock block = stages.next();
    unsigned char* const stage = stages.stage(index);
    const CopyPieces input_pieces = block.source_pieces(input, params.h, params.w, plan, stage);
    const CopyPieces grad_pieces = block.result_pieces(grad_z, params.h, params.w, plan, stage);
    if constexpr (kParts == 2) {
      split_pieces<true>(input_pieces);
      split_pieces<true>(grad_pieces);
      __syncthreads();
    }
    if (plane < share.planes) {
      const int source_plane = divide(block.plane + plane, multiplier) - block.source_plane;
      const int source_rows = block.source_plane_rows();
      const int grad_offset =
          static_cast<int>(grad_pieces.shared - stage) + plane * block.rows * plan.result_pitch;
      const int input_offset = static_cast<int>(input_pieces.shared - stage) +
                               source_plane * source_rows * plan.source_pitch;
      // Pairs of the gradient begin at even addresses; those of the input are shifted out of two.
      const int shift = grad_offset / kElement & 1;
      const int chunks = (block.columns + shift + kBandDepth - 1) / kBandDepth;
      // Input row 0 meets the gradient's row `top` in tap row 0.
      const int top = block.source_row_begin + static_cast<int>(params.h.padding) - block.row;
      for (int unit = warp - plane * banded.warps_per_plane; unit < chunks * banded.sets;
           unit += banded.warps_per_plane) {
        const int segment = divide(unit, chunks);
        const int column = (unit - segment * chunks) * kBandDepth - shift + lane_pair;
        const int rows = (source_rows + banded.sets - 1) / banded.sets;
        const int row_end = min((segment + 1) * rows, source_rows);
        int row = segment * rows;
        const int input_column =
            block.column + column + lane_row - static_cast<int>(params.w.padding);
        uint32_t grad_mask[2], input_mask[2];
        uint32_t any = 0;
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          grad_mask[k] = pair_mask(column + 8 * k, 0, block.columns);
          input_mask[k] =
              pair_mask(input_column + 8 * k, block.source_column_begin, block.source_column_end);
          any |= input_mask[k];
        }
        const int input_start =
            input_offset + row * plan.source_pitch +
            (any == 0 ? 0 : input_column - block.source_column_begin) * kElement;
        uint32_t input_address = shared_address(stage) + (input_start & -2 * kElement);
        const int input_shift = input_start & kElement ? 16 : 0;
        int grad_row = row + top - lane_row;
        uint32_t grad_address =
            shared_address(stage) + grad_offset + grad_row * plan.result_pitch + column * kElement;
        float sums[kProducts][4] = {};
        for (; row < row_end; ++row) {
          const bool inside = static_cast<unsigned>(grad_row) < static_cast<unsigned>(block.rows);
          const uint32_t from = inside ? grad_address : zeros;
          BandPair<T> a[4], b[2];
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            a[2 * k] = load_source_pair<T, true>(from + 8 * kElement * k);
            b[k] = load_shifted_pair<T>(input_address + 8 * kElement * k, input_shift);
#pragma unroll
            for (int part = 0; part < kParts; ++part) {
              a[2 * k].parts[part] &= grad_mask[k];
              a[2 * k + 1].parts[part] = 0;
              b[k].parts[part] &= input_mask[k];
            }
          }
#pragma unroll
          for (int product = 0; product < kProducts; ++product) {
            multiply_band<T>(sums[product], a, b, product == 1, product == 2, sums[product]);
          }
          ++grad_row;
          grad_address += plan.result_pitch;
          input_address += plan.source_pitch;
        }
        // Out of the tensor cores, whose additions do not round to nearest.
#pragma unroll
        for (int product = kProducts - 1; product >= 0; --product) {
          totals[0] += sums[product][0];
          totals[1] += sums[product][1];
        }
      }
    }
#if KERNELOPT_HAS_BULK_COPY
    if constexpr (kParts == 2) {
      fence_async_proxy();  // what the split wrote is overwritten by a bulk copy
    }
#endif
    __syncthreads();  // before the stage is loaded again
  }

  // The warps of a filter add up, always in the same order.
  constexpr int kTaps = kBandTaps * kBandTaps;
  float* const shared_totals =
      reinterpret_cast<float*>(all_shared + kBandZeros + 2 * kSlidingMargin);
  shared_totals[warp * kTaps + lane_row * kBandTaps + lane_pair] = totals[0];
  shared_totals[warp * kTaps + lane_row * kBandTaps + lane_pair + 1] = totals[1];
  __syncthreads();
  const int kernel_height = static_cast<int>(params.h.kernel_size);
  const int kernel_width = static_cast<int>(params.w.kernel_size);
  const int64_t first = share.index * params.filters + share.filter;
  bool finite = true;
  for (int i = threadIdx.x; i < share.planes * kTaps; i += blockDim.x) {
    const int owner = i / kTaps, row = i % kTaps / kBandTaps, column = i % kBandTaps;
    float sum = 0.0f;
    for (int w = 0; w < banded.warps_per_plane; ++w) {
      sum += shared_totals[(owner * banded.warps_per_plane + w) * kTaps + i % kTaps];
    }
    if (row < kernel_height && column < kernel_width) {
      finite = finite && sum * 0.0f == 0.0f;
      partial[((first + owner) * kernel_height + row) * kernel_width + column] = sum;
    }
  }
  if (!__syncthreads_and(finite)) {
#pragma unroll 1
    for (int i = 0; i < share.planes * kernel_height * kernel_width; ++i) {
      const int owner = i / (kernel_height * kernel_width);
      const int tap = i - owner * kernel_height * kernel_width;
      const float sum = exact_tap_sum(params, plan, share, grad_z, input, share.filter + owner,
                                      tap / kernel_width, tap % kernel_width, shared_totals);
      if (threadIdx.x == 0) {
        partial[first * kernel_height * kernel_width + i] = sum;
      }
      __syncthreads();
    }
  }
#endif
}

}  // namespace kernelopt
