"""2-D convolutions that mix channels at one point: ``pointwise_conv2d``, and ``separable_conv2d``,
a depthwise convolution followed by a pointwise one."""

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
    activation_backward,
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
    in_format_of,
    register_convolution,
)
from .depthwise import depthwise_shape

_POINTWISE = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)  # the geometry of a pointwise convolution


# pointwise_conv2d


def _pointwise_shape(op, input, weight, bias, activation, precision, prefix=""):
    check_operand(op, "input", input, input, 4)
    check_operand(op, f"{prefix}weight", weight, input, 4)
    torch._check(
        input.shape[1] >= 1,
        lambda: (
            f"kernelopt::{op}: expected input to have at least 1 channel, got shape "
            f"{list(input.shape)}"
        ),
    )
    torch._check(
        weight.shape[2] == 1 and weight.shape[3] == 1,
        lambda: (
            f"kernelopt::{op}: expected {prefix}weight to have shape [C_out, C_in, 1, 1], got "
            f"{list(weight.shape)}"
        ),
    )
    values = ([1, 1], [0, 0], [1, 1], 1, activation, precision)
    return convolution_shape(op, input, weight, bias, *values, prefix)


def _pointwise_fake(input, weight, bias, activation=0, precision=0) -> torch.Tensor:
    shape = _pointwise_shape("pointwise_conv2d", input, weight, bias, activation, precision)
    return empty_in_format_of(input, shape)


def _pointwise_aten(input, weight, bias, activation, precision):
    return convolution_aten(input, weight, bias, *_POINTWISE, activation)


def _pointwise_backward_fake(
    grad_output, input, weight, bias, activation=0, precision=0, output_mask=(True, True, True)
):
    op = "pointwise_conv2d_backward"
    shape = _pointwise_shape(op, input, weight, bias, activation, precision)
    check_grad_output(op, grad_output, input, shape)
    return empty_gradients(input, (weight.shape, weight.shape[:1]), output_mask)


def _pointwise_backward_aten(grad_output, input, weight, bias, activation, precision, output_mask):
    return convolution_backward_aten(
        grad_output, input, weight, bias, *_POINTWISE, activation, output_mask
    )


_call_pointwise = register_convolution(
    "pointwise_conv2d",
    _pointwise_fake,
    _pointwise_aten,
    _pointwise_backward_fake,
    _pointwise_backward_aten,
)


def _check_pointwise_weight(function: str, name: str, weight: torch.Tensor) -> None:
    if weight.shape[2] != 1 or weight.shape[3] != 1:
        raise RuntimeError(
            f"kernelopt.{function}(): expected {name} to have shape [C_out, C_in, 1, 1], got "
            f"{list(weight.shape)}"
        )


def pointwise_conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    activation: str | Activation | None = None,
) -> torch.Tensor:
    """2-D convolution with a 1x1 kernel, followed by an activation:
    :func:`torch.nn.functional.conv2d`.

    kernelopt's kernels serve strided float16, bfloat16, float32 and float64 tensors on CUDA and the
    CPU. Other tensors (complex, integer, sparse, other devices) go to torch's function. The
    precision of float32 is chosen as in :func:`kernelopt.conv1d`.

    Args:
        input: ``[N, C_in, H, W]``, or ``[C_in, H, W]`` without a batch. N may be 0.
        weight: ``[C_out, C_in, 1, 1]``, in ``input``'s dtype.
        bias: ``[C_out]``, in ``input``'s dtype, or None.
        activation: what is applied to the result: None, "relu", "gelu", "gelu_tanh", "silu", or an
            :class:`kernelopt.Activation`.

    Returns:
        ``[N, C_out, H, W]`` in ``input``'s dtype; channels_last where ``input`` or
        ``weight`` is, else contiguous.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: ``activation`` is an unknown name.
        RuntimeError: shapes, dtypes or devices do not fit together, or the kernel is not 1x1.
    """
    if has_torch_function_variadic(input, weight, bias):
        tensors = (input, weight, bias)
        return handle_torch_function(pointwise_conv2d, tensors, *tensors, activation=activation)
    function = "pointwise_conv2d"
    check_tensor(function, "input", input)
    check_tensor(function, "weight", weight)
    check_optional_tensor(function, "bias", bias)
    code = activation_code(function, "activation", activation)
    check_ranks(function, input, weight, 2)
    _check_pointwise_weight(function, "weight", weight)
    if not served(input, weight, bias) or weight.numel() == 0:
        return apply_activation(F.conv2d(input, weight, bias), code)
    values = (code, current_precision())
    return call_in_torchs_format(_call_pointwise, (input, weight, bias), values, (weight,))


# separable_conv2d


def _separable_shape(
    op,
    input,
    depthwise_weight,
    depthwise_bias,
    pointwise_weight,
    pointwise_bias,
    stride,
    padding,
    dilation,
    depthwise_activation,
    activation,
    precision,
):
    depthwise = (depthwise_weight, depthwise_bias, stride, padding, dilation, depthwise_activation)
    shape = depthwise_shape(op, input, *depthwise, precision, "depthwise_")
    hidden = input.new_empty(shape)
    pointwise = (pointwise_weight, pointwise_bias, activation)
    return _pointwise_shape(op, hidden, *pointwise, precision, "pointwise_")


def _separable_fake(
    input,
    depthwise_weight,
    depthwise_bias,
    pointwise_weight,
    pointwise_bias,
    stride,
    padding,
    dilation,
    depthwise_activation=0,
    activation=0,
    precision=0,
) -> torch.Tensor:
    tensors = (input, depthwise_weight, depthwise_bias, pointwise_weight, pointwise_bias)
    values = (stride, padding, dilation, depthwise_activation, activation, precision)
    return empty_in_format_of(input, _separable_shape("separable_conv2d", *tensors, *values))


def _separable_aten(
    input,
    depthwise_weight,
    depthwise_bias,
    pointwise_weight,
    pointwise_bias,
    stride,
    padding,
    dilation,
    depthwise_activation,
    activation,
    precision,
):
    geometry = (stride, padding, dilation, False, [0, 0], input.shape[1])
    hidden = convolution_aten(
        input, depthwise_weight, depthwise_bias, *geometry, depthwise_activation
    )
    output = convolution_aten(hidden, pointwise_weight, pointwise_bias, *_POINTWISE, activation)
    return in_format_of(input, output)


def _separable_backward_fake(
    grad_output,
    input,
    depthwise_weight,
    depthwise_bias,
    pointwise_weight,
    pointwise_bias,
    stride,
    padding,
    dilation,
    depthwise_activation=0,
    activation=0,
    precision=0,
    output_mask=(True, True, True, True, True),
):
    op = "separable_conv2d_backward"
    tensors = (input, depthwise_weight, depthwise_bias, pointwise_weight, pointwise_bias)
    values = (stride, padding, dilation, depthwise_activation, activation, precision)
    check_grad_output(op, grad_output, input, _separable_shape(op, *tensors, *values))
    weights = (depthwise_weight, pointwise_weight)
    shapes = [weight.shape[:rank] for weight in weights for rank in (4, 1)]
    return empty_gradients(input, shapes, output_mask)


def _separable_backward_aten(
    grad_output,
    input,
    depthwise_weight,
    depthwise_bias,
    pointwise_weight,
    pointwise_bias,
    stride,
    padding,
    dilation,
    depthwise_activation,
    activation,
    precision,
    output_mask,
):
    geometry = (stride, padding, dilation, False, [0, 0], input.shape[1])
    depthwise = (input, depthwise_weight, depthwise_bias, *geometry, depthwise_activation)
    hidden = convolution_aten(*depthwise)
    into_depthwise = any(output_mask[:3])
    grad_hidden, *pointwise_gradients = convolution_backward_aten(
        grad_output,
        hidden,
        pointwise_weight,
        pointwise_bias,
        *_POINTWISE,
        activation,
        (into_depthwise, *output_mask[3:]),
    )
    if into_depthwise:
        depthwise_gradients = convolution_backward_aten(grad_hidden, *depthwise, output_mask[:3])
    else:
        depthwise_gradients = tuple(grad_output.new_empty(0) for _ in range(3))
    return *depthwise_gradients, *pointwise_gradients


def _separable_backward_expanded(
    grad_output,
    input,
    depthwise_weight,
    depthwise_bias,
    pointwise_weight,
    pointwise_bias,
    stride,
    padding,
    dilation,
    depthwise_activation,
    activation,
    precision,
    output_mask,
):
    """The same out of the two convolutions' own ops, which are differentiable."""
    ops = torch.ops.kernelopt
    depthwise = (input, depthwise_weight, depthwise_bias, stride, padding, dilation, 0, precision)
    z = ops.depthwise_conv2d(*depthwise)
    hidden = apply_activation(z, depthwise_activation)
    depthwise_mask = list(output_mask[:3])
    pointwise = (hidden, pointwise_weight, pointwise_bias, activation, precision)
    grad_hidden, *pointwise_gradients = ops.pointwise_conv2d_backward(
        grad_output, *pointwise, [any(depthwise_mask), *output_mask[3:]]
    )
    if any(depthwise_mask):
        grad_z = activation_backward(grad_hidden, z, depthwise_activation)
        depthwise_gradients = ops.depthwise_conv2d_backward(grad_z, *depthwise, depthwise_mask)
    else:
        depthwise_gradients = [grad_output.new_empty(0) for _ in depthwise_mask]
    return *depthwise_gradients, *pointwise_gradients


_call_separable = register_convolution(
    "separable_conv2d",
    _separable_fake,
    _separable_aten,
    _separable_backward_fake,
    _separable_backward_aten,
    expand_backward=_separable_backward_expanded,
)


def separable_conv2d(
    input: torch.Tensor,
    depthwise_weight: torch.Tensor,
    pointwise_weight: torch.Tensor,
    depthwise_bias: torch.Tensor | None = None,
    pointwise_bias: torch.Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    *,
    depthwise_activation: str | Activation | None = None,
    activation: str | Activation | None = None,
) -> torch.Tensor:
    """Depthwise-separable 2-D convolution (Sifre, 2014; Howard et al., MobileNets, 2017): a
    depthwise convolution followed by a pointwise one, each with an activation.

    It computes ``pointwise_conv2d(depthwise_conv2d(input, ...), ...)`` without writing the
    depthwise result to device memory. kernelopt's kernels serve strided float16, bfloat16, float32
    and float64 tensors on CUDA and the CPU. Other tensors (complex, integer, sparse, other devices)
    go to torch's functions. The precision of float32 is chosen as in :func:`kernelopt.conv1d`.

    Args:
        input: ``[N, C, H, W]``, or ``[C, H, W]`` without a batch. N may be 0.
        depthwise_weight: ``[C * multiplier, 1, KH, KW]``, in ``input``'s dtype.
        pointwise_weight: ``[C_out, C * multiplier, 1, 1]``, in ``input``'s dtype.
        depthwise_bias: ``[C * multiplier]``, in ``input``'s dtype, or None.
        pointwise_bias: ``[C_out]``, in ``input``'s dtype, or None.
        stride: of the depthwise convolution; an int or a tuple of two ints, at least 1.
        padding: of the depthwise convolution; an int or a tuple of two ints, at least 0, for both
            sides; "valid" for none; "same" for an output of the input's size (stride 1 only; an odd
            rest goes to the right).
        dilation: of the depthwise convolution; an int or a tuple of two ints, at least 1.
        depthwise_activation: what is applied between the two: None, "relu", "gelu", "gelu_tanh",
            "silu", or an :class:`kernelopt.Activation`.
        activation: what is applied to the result, in the same form.

    Returns:
        ``[N, C_out, H_out, W_out]`` in ``input``'s dtype, with sizes as in
        :func:`kernelopt.conv1d`; channels_last where ``input`` or a weight is, else
        contiguous.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: an activation is an unknown name, or an int does not fit 64 bits.
        RuntimeError: shapes, dtypes or devices do not fit together, or a number is out of range.
    """
    tensors = (input, depthwise_weight, pointwise_weight, depthwise_bias, pointwise_bias)
    if has_torch_function_variadic(*tensors):
        return handle_torch_function(
            separable_conv2d,
            tensors,
            *tensors,
            stride,
            padding,
            dilation,
            depthwise_activation=depthwise_activation,
            activation=activation,
        )
    function = "separable_conv2d"
    check_tensor(function, "input", input)
    check_tensor(function, "depthwise_weight", depthwise_weight)
    check_tensor(function, "pointwise_weight", pointwise_weight)
    check_optional_tensor(function, "depthwise_bias", depthwise_bias)
    check_optional_tensor(function, "pointwise_bias", pointwise_bias)
    depthwise_code = activation_code(function, "depthwise_activation", depthwise_activation)
    code = activation_code(function, "activation", activation)
    check_ranks(function, input, depthwise_weight, 2, "depthwise_weight")
    check_ranks(function, input, pointwise_weight, 2, "pointwise_weight")
    _check_pointwise_weight(function, "pointwise_weight", pointwise_weight)
    if not served(input, depthwise_weight, depthwise_bias, pointwise_weight, pointwise_bias):
        hidden = F.conv2d(
            input, depthwise_weight, depthwise_bias, stride, padding, dilation, input.shape[-3]
        )
        z = F.conv2d(apply_activation(hidden, depthwise_code), pointwise_weight, pointwise_bias)
        return apply_activation(z, code)
    strides = int_list(function, "stride", stride, 2)
    dilations = int_list(function, "dilation", dilation, 2)
    input, paddings = resolve_padding(
        function, input, depthwise_weight, strides, padding, dilations
    )
    return call_in_torchs_format(
        _call_separable,
        (input, depthwise_weight, depthwise_bias, pointwise_weight, pointwise_bias),
        (strides, paddings, dilations, depthwise_code, code, current_precision()),
        (depthwise_weight, pointwise_weight),
    )
