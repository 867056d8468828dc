// conv_transpose1d: argument checks, shared by the CPU and the CUDA implementation.
#pragma once

#include "conv1d/conv1d.h"

namespace kernelopt {

/// Checks every argument of conv_transpose1d: input [N, C_in, L], weight [C_in, C_out/groups, K],
/// bias [C_out].
Conv1dArguments check_conv_transpose1d(const char* op, const Tensor& input, const Tensor& weight,
                                       const std::optional<Tensor>& bias, IntList stride,
                                       IntList padding, IntList output_padding, int64_t groups,
                                       IntList dilation, int64_t activation, int64_t precision);

}  // namespace kernelopt
