"""2-D depthwise convolution: ``depthwise_conv2d``."""

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
    resolve_padding,
    served,
)
from .._enums import Activation
from ._convolution import (
    apply_activation,
    call_in_torchs_format,
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


def depthwise_shape(
    op, input, weight, bias, stride, padding, dilation, activation, precision, prefix=""
):
    """Checks the arguments of a depthwise convolution and returns its output shape."""
    check_operand(op, "input", input, input, 4)
    check_operand(op, f"{prefix}weight", weight, input, 4)
    torch._check(
        weight.shape[1] == 1,
        lambda: (
            f"kernelopt::{op}: expected {prefix}weight to have shape "
            f"[channels * multiplier, 1, KH, KW], got {list(weight.shape)}"
        ),
    )
    values = (stride, padding, dilation, input.shape[1], activation, precision)
    return convolution_shape(op, input, weight, bias, *values, prefix)


def _fake(
    input, weight, bias, stride, padding, dilation, activation=0, precision=0
) -> torch.Tensor:
    values = (stride, padding, dilation, activation, precision)
    shape = depthwise_shape("depthwise_conv2d", input, weight, bias, *values)
    return empty_in_format_of(input, shape)


def _aten(input, weight, bias, stride, padding, dilation, activation, precision):
    geometry = (stride, padding, dilation, False, [0, 0], input.shape[1])
    return convolution_aten(input, weight, bias, *geometry, activation)


def _backward_fake(
    grad_output,
    input,
    weight,
    bias,
    stride,
    padding,
    dilation,
    activation=0,
    precision=0,
    output_mask=(True, True, True),
):
    op = "depthwise_conv2d_backward"
    values = (stride, padding, dilation, activation, precision)
    check_grad_output(op, grad_output, input, depthwise_shape(op, input, weight, bias, *values))
    return empty_gradients(input, (weight.shape, weight.shape[:1]), output_mask)


def _backward_aten(
    grad_output,
    input,
    weight,
    bias,
    stride,
    padding,
    dilation,
    activation,
    precision,
    output_mask,
):
    geometry = (stride, padding, dilation, False, [0, 0], input.shape[1])
    return convolution_backward_aten(
        grad_output, input, weight, bias, *geometry, activation, output_mask
    )


_call = register_convolution("depthwise_conv2d", _fake, _aten, _backward_fake, _backward_aten)


def depthwise_conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    *,
    activation: str | Activation | None = None,
) -> torch.Tensor:
    """2-D depthwise convolution, followed by an activation: :func:`torch.nn.functional.conv2d` with
    one group a channel.

    kernelopt's kernels serve strided float16, bfloat16, float32 and float64 tensors on CUDA and the
    CPU. Other tensors (complex, integer, sparse, other devices) go to torch's function. The
    precision of float32 is chosen as in :func:`kernelopt.conv1d`.

    Args:
        input: ``[N, C, H, W]``, or ``[C, H, W]`` without a batch. N may be 0.
        weight: ``[C * multiplier, 1, KH, KW]``, in ``input``'s dtype.
        bias: ``[C * multiplier]``, in ``input``'s dtype, or None.
        stride: an int or a tuple of two ints, at least 1.
        padding: an int or a tuple of two ints, at least 0, for both sides; "valid" for none; "same"
            for an output of the input's size (stride 1 only; an odd rest goes to the right).
        dilation: an int or a tuple of two ints, at least 1.
        activation: what is applied to the result: None, "relu", "gelu", "gelu_tanh", "silu", or an
            :class:`kernelopt.Activation`.

    Returns:
        ``[N, C * multiplier, H_out, W_out]`` in ``input``'s dtype, with sizes as in
        :func:`kernelopt.conv1d`; channels_last where ``input`` or ``weight`` is, else
        contiguous.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: ``activation`` is an unknown name, or an int does not fit 64 bits.
        RuntimeError: shapes, dtypes or devices do not fit together, or a number is out of range.
    """
    if has_torch_function_variadic(input, weight, bias):
        tensors = (input, weight, bias)
        return handle_torch_function(
            depthwise_conv2d, tensors, *tensors, stride, padding, dilation, activation=activation
        )
    function = "depthwise_conv2d"
    check_tensor(function, "input", input)
    check_tensor(function, "weight", weight)
    check_optional_tensor(function, "bias", bias)
    code = activation_code(function, "activation", activation)
    check_ranks(function, input, weight, 2)
    if not served(input, weight, bias):
        z = F.conv2d(input, weight, bias, stride, padding, dilation, input.shape[-3])
        return apply_activation(z, code)
    strides = int_list(function, "stride", stride, 2)
    dilations = int_list(function, "dilation", dilation, 2)
    input, paddings = resolve_padding(function, input, weight, strides, padding, dilations)
    values = (strides, paddings, dilations, code, current_precision())
    return call_in_torchs_format(_call, (input, weight, bias), values, (weight,))
