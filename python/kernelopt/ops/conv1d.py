"""1-D convolution: ``conv1d``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.overrides import handle_torch_function, has_torch_function_variadic

from .._arguments import (
    activation_code,
    check_optional_tensor,
    check_ranks,
    check_tensor,
    int_list,
    int_value,
    resolve_padding,
    served,
)
from .._enums import Activation
from ._convolution import (
    apply_activation,
    check_grad_output,
    check_operand,
    convolution_aten,
    convolution_backward_aten,
    convolution_shape,
    current_precision,
    empty_gradients,
    empty_in_format_of,
    register_convolution,
)


def _shape(op, input, weight, bias, *values):
    check_operand(op, "input", input, input, 3)
    return convolution_shape(op, input, weight, bias, *values)


def _fake(
    input, weight, bias, stride, padding, dilation, groups, activation=0, precision=0
) -> torch.Tensor:
    values = (stride, padding, dilation, groups, activation, precision)
    return empty_in_format_of(input, _shape("conv1d", input, weight, bias, *values))


def _aten(input, weight, bias, stride, padding, dilation, groups, activation, precision):
    return convolution_aten(
        input, weight, bias, stride, padding, dilation, False, [0], groups, activation
    )


def _backward_fake(
    grad_output,
    input,
    weight,
    bias,
    stride,
    padding,
    dilation,
    groups,
    activation=0,
    precision=0,
    output_mask=(True, True, True),
):
    op = "conv1d_backward"
    values = (stride, padding, dilation, groups, activation, precision)
    check_grad_output(op, grad_output, input, _shape(op, input, weight, bias, *values))
    return empty_gradients(input, (weight.shape, weight.shape[:1]), output_mask)


def _backward_aten(
    grad_output,
    input,
    weight,
    bias,
    stride,
    padding,
    dilation,
    groups,
    activation,
    precision,
    output_mask,
):
    geometry = (stride, padding, dilation, False, [0], groups)
    return convolution_backward_aten(
        grad_output, input, weight, bias, *geometry, activation, output_mask
    )


_call = register_convolution("conv1d", _fake, _aten, _backward_fake, _backward_aten)


def conv1d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    activation: str | Activation | None = None,
) -> torch.Tensor:
    """1-D convolution, followed by an activation: :func:`torch.nn.functional.conv1d`.

    kernelopt's kernels serve strided float16, bfloat16, float32 and float64 tensors on CUDA and the
    CPU. Other tensors (complex, integer, sparse, other devices) go to torch's function. How float32
    is computed follows ``torch.backends.cudnn.conv.fp32_precision``: at its default of "tf32" with
    at most a tenth of TF32's error, or in TF32 where the shape goes to ATen's faster operator;
    otherwise as accurately as strict float32.

    Args:
        input: ``[N, C_in, L]``, or ``[C_in, L]`` without a batch. N may be 0.
        weight: ``[C_out, C_in / groups, K]``, in ``input``'s dtype.
        bias: ``[C_out]``, in ``input``'s dtype, or None.
        stride: an int or a tuple of one int, at least 1.
        padding: an int or a tuple of one int, at least 0, for both sides; "valid" for none; "same"
            for an output as long as the input (stride 1 only; an odd rest goes to the right).
        dilation: an int or a tuple of one int, at least 1.
        groups: blocks of channels that are convolved separately.
        activation: what is applied to the result: None, "relu", "gelu", "gelu_tanh", "silu", or an
            :class:`kernelopt.Activation`.

    Returns:
        ``[N, C_out, L_out]`` (``[C_out, L_out]`` without a batch), contiguous, in ``input``'s
        dtype, with ``L_out = (L + 2 * padding - dilation * (K - 1) - 1) // stride + 1``.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: ``activation`` is an unknown name, or an int does not fit 64 bits.
        RuntimeError: shapes, dtypes or devices do not fit together, or a number is out of range.
    """
    if has_torch_function_variadic(input, weight, bias):
        tensors = (input, weight, bias)
        return handle_torch_function(
            conv1d, tensors, *tensors, stride, padding, dilation, groups, activation=activation
        )
    check_tensor("conv1d", "input", input)
    check_tensor("conv1d", "weight", weight)
    check_optional_tensor("conv1d", "bias", bias)
    code = activation_code("conv1d", "activation", activation)
    if not served(input, weight, bias):
        z = F.conv1d(input, weight, bias, stride, padding, dilation, groups)
        return apply_activation(z, code)
    check_ranks("conv1d", input, weight, 1)
    strides = int_list("conv1d", "stride", stride, 1)
    dilations = int_list("conv1d", "dilation", dilation, 1)
    num_groups = int_value("conv1d", "groups", groups)
    batched = input.dim() == 3
    if not batched:
        input = input.unsqueeze(0)
    input, paddings = resolve_padding("conv1d", input, weight, strides, padding, dilations)
    output = _call(
        (input, weight, bias),
        (strides, paddings, dilations, num_groups, code, current_precision()),
    )
    return output if batched else output.squeeze(0)
