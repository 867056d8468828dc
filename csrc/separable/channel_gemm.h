// The matrix products of the pointwise convolution, on the host side.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "separable/channel_gemm_params.h"

#include <optional>

namespace kernelopt {

struct ChannelGemmOperands {
  const Tensor& left;
  bool left_along_k;  // else memory runs along m
  const Tensor& right;
  bool right_along_k;  // else along n; not without the left one, and as the left one in shares
};

/// The matrix of a dense tensor's pixels and channels: contiguous, memory runs along the pixels of
/// one image; channels_last, along the channels.
inline ChannelMatrix pixel_matrix(int64_t channels, int64_t plane, bool channels_last) {
  return channels_last ? ChannelMatrix{channels, channels, channels}
                       : ChannelMatrix{std::max<int64_t>(1, plane), channels * plane, plane};
}

/// A contiguous matrix with rows of `columns` elements.
inline ChannelMatrix row_matrix(int64_t columns) { return {columns, columns, columns}; }

/// result = act(left * right + bias), the result in the operands' dtype, with one share.
void channel_gemm(const char* op, const ChannelGemmParams& params,
                  const ChannelGemmOperands& operands, const std::optional<Tensor>& bias,
                  const Tensor& result, cudaStream_t stream);

/// result = left * right, contiguous [m, n], for a sum over many k: cut in shares that are added in
/// a fixed order.
void channel_gemm_in_shares(const char* op, ChannelGemmParams params,
                            const ChannelGemmOperands& operands, const Tensor& result,
                            cudaStream_t stream);

}  // namespace kernelopt
