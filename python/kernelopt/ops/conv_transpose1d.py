"""1-D transposed convolution: ``conv_transpose1d``."""

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
    served,
)
from .._enums import Activation, Precision
from ._convolution import (
    apply_activation,
    check_bias,
    check_channels,
    check_enum,
    check_grad_output,
    check_int_list,
    check_operand,
    convolution_aten,
    convolution_backward_aten,
    current_precision,
    empty_gradients,
    empty_in_format_of,
    register_convolution,
)


def _shape(
    op,
    input,
    weight,
    bias,
    stride,
    padding,
    output_padding,
    groups,
    dilation,
    activation,
    precision,
):
    check_operand(op, "input", input, input, 3)
    check_operand(op, "weight", weight, input, 3)
    check_int_list(op, "stride", stride, 1, 1)
    check_int_list(op, "padding", padding, 1, 0)
    check_int_list(op, "output_padding", output_padding, 1, 0)
    check_int_list(op, "dilation", dilation, 1, 1)
    check_channels(op, input, "weight", weight, groups, weight.shape[0])
    torch._check(
        weight.shape[1] >= 1,
        lambda: (
            f"kernelopt::{op}: expected weight to have output channels, got shape "
            f"{list(weight.shape)}"
        ),
    )
    check_bias(op, "bias", bias, input, weight.shape[1] * groups)
    check_enum(op, "activation", activation, Activation)
    check_enum(op, "precision", precision, Precision)
    # torch asks this only where there is something to compute.
    torch._check(
        input.shape[0] == 0 or output_padding[0] < max(stride[0], dilation[0]),
        lambda: (
            f"kernelopt::{op}: expected output_padding to be smaller than stride or dilation, "
            f"got {output_padding[0]} with stride {stride[0]} and dilation {dilation[0]}"
        ),
    )
    extent = dilation[0] * (weight.shape[2] - 1) + 1
    length = (input.shape[2] - 1) * stride[0] + extent + output_padding[0] - 2 * padding[0]
    torch._check(
        length >= 0,
        lambda: f"kernelopt::{op}: expected an output of at least 0 elements, got {length}",
    )
    return [input.shape[0], weight.shape[1] * groups, length]


def _fake(
    input,
    weight,
    bias,
    stride,
    padding,
    output_padding,
    groups,
    dilation,
    activation=0,
    precision=0,
) -> torch.Tensor:
    values = (stride, padding, output_padding, groups, dilation, activation, precision)
    return empty_in_format_of(input, _shape("conv_transpose1d", input, weight, bias, *values))


def _aten(
    input, weight, bias, stride, padding, output_padding, groups, dilation, activation, precision
):
    geometry = (stride, padding, dilation, True, output_padding, groups)
    return convolution_aten(input, weight, bias, *geometry, activation)


def _backward_fake(
    grad_output,
    input,
    weight,
    bias,
    stride,
    padding,
    output_padding,
    groups,
    dilation,
    activation=0,
    precision=0,
    output_mask=(True, True, True),
):
    op = "conv_transpose1d_backward"
    values = (stride, padding, output_padding, groups, dilation, activation, precision)
    check_grad_output(op, grad_output, input, _shape(op, input, weight, bias, *values))
    return empty_gradients(input, (weight.shape, [weight.shape[1] * groups]), output_mask)


def _backward_aten(
    grad_output,
    input,
    weight,
    bias,
    stride,
    padding,
    output_padding,
    groups,
    dilation,
    activation,
    precision,
    output_mask,
):
    geometry = (stride, padding, dilation, True, output_padding, groups)
    return convolution_backward_aten(
        grad_output, input, weight, bias, *geometry, activation, output_mask
    )


_call = register_convolution("conv_transpose1d", _fake, _aten, _backward_fake, _backward_aten)


def conv_transpose1d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    *,
    activation: str | Activation | None = None,
) -> torch.Tensor:
    """1-D transposed convolution, followed by an activation:
    :func:`torch.nn.functional.conv_transpose1d`.

    kernelopt's kernels serve strided float16, bfloat16, float32 and float64 tensors on CUDA and the
    CPU. Other tensors (complex, integer, sparse, other devices) go to torch's function. The
    precision of float32 is chosen as in :func:`kernelopt.conv1d`.

    Args:
        input: ``[N, C_in, L]``, or ``[C_in, L]`` without a batch. N may be 0.
        weight: ``[C_in, C_out / groups, K]``, in ``input``'s dtype.
        bias: ``[C_out]``, in ``input``'s dtype, or None.
        stride: an int or a tuple of one int, at least 1.
        padding: an int or a tuple of one int, at least 0: elements cut off at both ends.
        output_padding: an int or a tuple of one int: elements added at the right end, fewer than
            ``stride`` or ``dilation``.
        groups: blocks of channels that are convolved separately.
        dilation: an int or a tuple of one int, at least 1.
        activation: what is applied to the result: None, "relu", "gelu", "gelu_tanh", "silu", or an
            :class:`kernelopt.Activation`.

    Returns:
        ``[N, C_out, L_out]`` (``[C_out, L_out]`` without a batch), contiguous, in ``input``'s
        dtype, with
        ``L_out = (L - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1``.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: ``activation`` is an unknown name, or an int does not fit 64 bits.
        RuntimeError: shapes, dtypes or devices do not fit together, or a number is out of range.
    """
    if has_torch_function_variadic(input, weight, bias):
        tensors = (input, weight, bias)
        return handle_torch_function(
            conv_transpose1d,
            tensors,
            *tensors,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
            activation=activation,
        )
    function = "conv_transpose1d"
    check_tensor(function, "input", input)
    check_tensor(function, "weight", weight)
    check_optional_tensor(function, "bias", bias)
    code = activation_code(function, "activation", activation)
    if not served(input, weight, bias):
        z = F.conv_transpose1d(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )
        return apply_activation(z, code)
    check_ranks(function, input, weight, 1)
    batched = input.dim() == 3
    values = (
        int_list(function, "stride", stride, 1),
        int_list(function, "padding", padding, 1),
        int_list(function, "output_padding", output_padding, 1),
        int_value(function, "groups", groups),
        int_list(function, "dilation", dilation, 1),
        code,
        current_precision(),
    )
    output = _call((input if batched else input.unsqueeze(0), weight, bias), values)
    return output if batched else output.squeeze(0)
