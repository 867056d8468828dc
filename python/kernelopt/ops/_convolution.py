"""What the convolution families share: checks, shapes and formats, the ATen path, registration."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .._arguments import FLOATING
from .._enums import Activation, Precision
from .._registration import Call, OpSpec, in_transform, register

# Looked up once: host time of every call.
_DEFAULT, _IEEE = int(Precision.DEFAULT), int(Precision.IEEE)
_fp32_precision = torch._C._get_fp32_precision_getter


def current_precision() -> int:
    """The precision the user asks of float32 convolutions, by torch's own setting.

    IEEE where ``torch.backends.cudnn.conv.fp32_precision`` was set to something other than TF32. A
    compiled graph keeps the value it was traced with.
    """
    # What torch.backends.cudnn.conv.fp32_precision asks, at a third of its time.
    return _DEFAULT if _fp32_precision("cuda", "conv") == "tf32" else _IEEE


# torch.compiler.assume_constant_result sets this mark, but would import Dynamo with kernelopt.
current_precision._dynamo_marked_constant = True  # type: ignore[attr-defined]


def apply_activation(z: torch.Tensor, activation: int) -> torch.Tensor:
    """activation(z), out of ATen operators."""
    if activation == Activation.RELU:
        return F.relu(z)
    if activation == Activation.GELU:
        return F.gelu(z)
    if activation == Activation.GELU_TANH:
        return F.gelu(z, approximate="tanh")
    if activation == Activation.SILU:
        return F.silu(z)
    return z


def activation_backward(grad: torch.Tensor, z: torch.Tensor, activation: int) -> torch.Tensor:
    """grad * activation'(z), out of ATen operators that are differentiable once more."""
    aten = torch.ops.aten
    if activation == Activation.RELU:
        return aten.threshold_backward(grad, z, 0)
    if activation == Activation.GELU:
        return aten.gelu_backward(grad, z)
    if activation == Activation.GELU_TANH:
        return aten.gelu_backward(grad, z, approximate="tanh")
    if activation == Activation.SILU:
        # aten::silu_backward has no derivative of its own.
        dtype = torch.promote_types(z.dtype, torch.float32)
        sigmoid = torch.sigmoid(z.to(dtype))
        derivative = sigmoid * (1 + z.to(dtype) * (1 - sigmoid))
        return (grad.to(dtype) * derivative).to(grad.dtype)
    return grad


def convolution_aten(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    activation: int,
) -> torch.Tensor:
    """activation(convolution), out of ATen operators, in the op's output format."""
    z = torch.ops.aten.convolution(
        input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
    )
    return in_format_of(input, apply_activation(z, activation))


def convolution_backward_aten(
    grad_output: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    activation: int,
    output_mask: Sequence[bool],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of :func:`convolution_aten`, 0-element where not asked for."""
    geometry = (stride, padding, dilation, transposed, output_padding, groups)
    if activation != Activation.NONE:
        z = torch.ops.aten.convolution(input, weight, bias, *geometry)
        grad_output = activation_backward(grad_output, z, activation)
    grad_input, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        grad_output, input, weight, [grad_output.shape[1]], *geometry, list(output_mask)
    )
    return (
        in_format_of(input, grad_input) if output_mask[0] else grad_output.new_empty(0),
        grad_weight.contiguous() if output_mask[1] else grad_output.new_empty(0),
        grad_bias if output_mask[2] else grad_output.new_empty(0),
    )


def is_channels_last(tensor: torch.Tensor) -> bool:
    """4-D, dense in channels_last order and not in the contiguous one: the rule for an op's output
    format, the same as ``is_channels_last`` in ``csrc/common/tensor.h``."""
    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def suggests_channels_last(tensor: torch.Tensor) -> bool:
    """Whether torch takes a 4-D tensor's strides for channels_last, with gaps or without: the rule
    of ``Tensor::suggest_memory_format``."""
    strides = tensor.stride()
    if strides[1] == 0 or strides[3] < strides[1]:  # contiguous tensors mostly end here
        return False
    sizes = tensor.shape
    least = 0
    for dim in (1, 3, 2, 0):
        size, stride = sizes[dim], strides[dim]
        if size == 0 or stride < least or (dim == 0 and least == strides[1]):
            return False
        least = stride * size
    return True


def _in_channels_last(tensor: torch.Tensor) -> torch.Tensor:
    if in_transform():  # vmap knows no memory format
        return tensor.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return tensor.contiguous(memory_format=torch.channels_last)


def call_in_torchs_format(
    call: Callable[..., torch.Tensor],
    tensors: tuple[Any, ...],
    values: tuple[Any, ...],
    weights: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """``call(tensors, values)`` of a 2-D convolution, whose first tensor is the input, 4-D or
    without a batch.

    The ops take their format from a dense input. ``torch.nn.functional.conv2d`` gives channels_last
    where the input or the weight only looks like it: a slice of channels, a contiguous input of
    a model whose weights are channels_last.
    """
    input = tensors[0]
    if input.dim() == 3:
        batch = (input.unsqueeze(0), *tensors[1:])
        output = call_in_torchs_format(call, batch, values, weights).squeeze(0)
        # To torch nothing without a batch is channels_last, what precedes the last weight neither.
        return output if suggests_channels_last(weights[-1]) else output.contiguous()
    if not suggests_channels_last(input):
        for weight in weights:
            if suggests_channels_last(weight):
                break
        else:
            return call(tensors, values)
    output = call((_in_channels_last(input), *tensors[1:]), values)
    # One channel or one pixel is in both formats, and the op then chose contiguous.
    return _in_channels_last(output)


def in_format_of(input: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """``result`` in the format of an op with this input: channels_last or contiguous."""
    if torch._C._functorch.is_functorch_wrapped_tensor(result):
        return result  # vmap cannot tell a memory format
    channels_last = is_channels_last(input)
    return result.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def empty_in_format_of(input: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A fake op's output of this shape."""
    torch._check(
        all(isinstance(size, torch.SymInt) or size < 2**63 for size in shape),
        lambda: f"kernelopt: expected the output's sizes to fit 64 bits, got {list(shape)}",
    )
    return torch.empty(
        shape,
        dtype=input.dtype,
        device=input.device,
        memory_format=torch.channels_last if is_channels_last(input) else torch.contiguous_format,
    )


def empty_gradients(
    input: torch.Tensor, parameter_shapes: Sequence[Sequence[int]], output_mask: Sequence[bool]
) -> tuple[torch.Tensor, ...]:
    """A fake backward op's gradients: input's in its format, the parameters' contiguous, 0-element
    where not asked for."""
    grad_input = empty_in_format_of(input, input.shape) if output_mask[0] else input.new_empty(0)
    return grad_input, *(
        input.new_empty(shape if wanted else (0,))
        for shape, wanted in zip(parameter_shapes, output_mask[1:], strict=True)
    )


# Checks of the fake functions: the same as in csrc/common/check.h and csrc/common/convolution.h.


def check_operand(op: str, name: str, tensor: torch.Tensor, like: torch.Tensor, rank: int) -> None:
    """Rank, and the dtype and device of ``like``."""
    torch._check(
        tensor.dim() == rank,
        lambda: (
            f"kernelopt::{op}: expected {name} to have {rank} dimensions, got shape "
            f"{list(tensor.shape)}"
        ),
    )
    torch._check(
        tensor.dtype == like.dtype and tensor.device == like.device,
        lambda: (
            f"kernelopt::{op}: expected {name} to have dtype {like.dtype} on {like.device}, "
            f"got {tensor.dtype} on {tensor.device}"
        ),
    )
    torch._check(
        tensor.dtype in FLOATING,
        lambda: (
            f"kernelopt::{op}: expected {name} to be float16, bfloat16, float32 or float64, "
            f"got {tensor.dtype}"
        ),
    )


def check_bias(op: str, name: str, bias: torch.Tensor | None, input: torch.Tensor, channels: int):
    if bias is None:
        return
    check_operand(op, name, bias, input, 1)
    torch._check(
        bias.shape[0] == channels,
        lambda: (
            f"kernelopt::{op}: expected {name} to have shape [{channels}], got {list(bias.shape)}"
        ),
    )


def check_int_list(op: str, name: str, values: Sequence[int], count: int, minimum: int) -> None:
    torch._check(
        len(values) == count and all(value >= minimum for value in values),
        lambda: (
            f"kernelopt::{op}: expected {name} to have {count} values of at least {minimum}, "
            f"got {list(values)}"
        ),
    )


def check_enum(op: str, name: str, value: int, members: type) -> None:
    torch._check(
        0 <= value < len(members),  # type: ignore[arg-type]
        lambda: (
            f"kernelopt::{op}: expected {name} to be from 0 to {len(members) - 1}, "  # type: ignore[arg-type]
            f"got {value}"
        ),
    )


def check_grad_output(
    op: str, grad_output: torch.Tensor, input: torch.Tensor, shape: Sequence[int]
) -> None:
    check_operand(op, "grad_output", grad_output, input, len(shape))
    torch._check(
        all(size == expected for size, expected in zip(grad_output.shape, shape, strict=True)),
        lambda: (
            f"kernelopt::{op}: expected grad_output to have shape {list(shape)}, got "
            f"{list(grad_output.shape)}"
        ),
    )


def check_channels(
    op: str,
    input: torch.Tensor,
    name: str,
    weight: torch.Tensor,
    groups: int,
    in_channels: int,
) -> None:
    """``in_channels`` is the number of input channels that ``weight`` is for."""
    torch._check(
        groups >= 1, lambda: f"kernelopt::{op}: expected groups to be at least 1, got {groups}"
    )
    torch._check(
        weight.shape[0] >= groups
        and weight.shape[0] % groups == 0
        and all(size >= 1 for size in weight.shape[2:]),
        lambda: (
            f"kernelopt::{op}: expected the first dimension of {name} to be a multiple of groups, "
            f"{groups}, and the kernel to have elements, got shape {list(weight.shape)}"
        ),
    )
    torch._check(
        input.shape[1] == in_channels,
        lambda: (
            f"kernelopt::{op}: expected input to have {in_channels} channels ({name} of shape "
            f"{list(weight.shape)}, groups {groups}), got shape {list(input.shape)}"
        ),
    )
    torch._check(
        all(size > 0 for size in input.shape[2:]) or input.shape[0] == 0 or input.shape[1] == 0,
        lambda: (
            f"kernelopt::{op}: expected only the batch of input to be empty, got shape "
            f"{list(input.shape)}"
        ),
    )


def convolution_shape(
    op: str,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: int,
    precision: int,
    prefix: str = "",
) -> list[int]:
    """Checks a convolution's arguments and returns its output shape. The number of spatial
    dimensions is that of ``input``; ``prefix`` begins the names of the parameters."""
    count = input.dim() - 2
    check_operand(op, f"{prefix}weight", weight, input, count + 2)
    check_int_list(op, "stride", stride, count, 1)
    check_int_list(op, "padding", padding, count, 0)
    check_int_list(op, "dilation", dilation, count, 1)
    check_channels(op, input, f"{prefix}weight", weight, groups, weight.shape[1] * groups)
    check_bias(op, f"{prefix}bias", bias, input, weight.shape[0])
    check_enum(op, "activation", activation, Activation)
    check_enum(op, "precision", precision, Precision)
    # torch's own shape where there are no input channels.
    shape = [input.shape[0], 0 if weight.shape[1] == 0 else weight.shape[0]]
    for dim in range(count):
        padded = input.shape[2 + dim] + 2 * padding[dim]
        extent = dilation[dim] * (weight.shape[2 + dim] - 1) + 1
        torch._check(
            padded >= extent,
            lambda padded=padded, extent=extent: (
                f"kernelopt::{op}: expected the kernel to fit the "
                f"padded input, got {padded} elements for a kernel of {extent}"
            ),
        )
        shape.append((padded - extent) // stride[dim] + 1)
    return shape


def _register_backward(
    name: str, fake: Callable[..., Any], aten: Callable[..., Any], expand: Callable[..., Any] | None
) -> None:
    """Registers the backward op of a convolution ``f(x, w)`` without an activation, differentiable
    by the convolution itself, which is linear in either tensor: with cotangents a, b and c of the
    gradients of input, weight and bias, those of grad_output, x and w are
    ``f(a, w) + f(x, b) + c``, the input gradient at weight b, and the weight gradient at input a.
    """
    op = getattr(torch.ops.kernelopt, name.removesuffix("_backward"))
    backward_op = getattr(torch.ops.kernelopt, name)

    def save(tensors, values_and_mask):
        return tensors[:3], values_and_mask

    def gradients(tensors, values_and_mask, cotangents, needs):
        grad_output, input, weight = tensors
        *values, mask = values_and_mask
        of_input, of_weight, of_bias = (
            cotangent if asked else None for cotangent, asked in zip(cotangents, mask, strict=True)
        )
        terms = []
        if of_input is not None:
            terms.append(op(of_input, weight, None, *values))
        if of_weight is not None:
            terms.append(op(input, of_weight, None, *values))
        if of_bias is not None:
            terms.append(of_bias.view(-1, *[1] * (input.dim() - 2)).expand_as(grad_output))
        for_output = functools.reduce(torch.add, terms) if needs[0] and terms else None
        for_input = for_weight = None
        if needs[1] and of_weight is not None:
            only = [True, False, False]
            for_input = backward_op(grad_output, input, of_weight, None, *values, only)[0]
        if needs[2] and of_input is not None:
            only = [False, True, False]
            for_weight = backward_op(grad_output, of_input, weight, None, *values, only)[1]
        return for_output, for_input, for_weight, None

    def without_activation(grad_output, input, weight, bias, *values_and_mask):
        *values, activation, precision, mask = values_and_mask
        if activation == Activation.NONE:
            return None
        linear = (*values, int(Activation.NONE), precision)
        z = op(input, weight, bias, *linear)
        grad_z = activation_backward(grad_output, z, activation)
        return backward_op(grad_z, input, weight, bias, *linear, mask)

    register(OpSpec(name, fake, aten, save, gradients, expand or without_activation))


def register_convolution(
    name: str,
    fake: Callable[..., Any],
    aten: Callable[..., Any],
    backward_fake: Callable[..., Any],
    backward_aten: Callable[..., Any],
    expand_backward: Callable[..., Any] | None = None,
) -> Call:
    """Registers a convolution op and its backward op, and returns what calls the op.

    The op takes tensors and then plain values; the backward op takes ``grad_output`` before them
    and ``output_mask`` behind. Nothing but the inputs is saved: the backward op computes again what
    it needs of the forward. ``expand_backward`` is the backward op out of other ops, for an op that
    is no single convolution.
    """
    backward_op = getattr(torch.ops.kernelopt, f"{name}_backward")

    def save(tensors, values):
        return tensors, values

    def gradients(tensors, values, grad_output, needs):
        computed = backward_op(grad_output, *tensors, *values, list(needs))
        return tuple(
            gradient if needed else None for gradient, needed in zip(computed, needs, strict=True)
        )

    call = register(OpSpec(name, fake, aten, save, gradients, autocast=True))
    _register_backward(f"{name}_backward", backward_fake, backward_aten, expand_backward)
    return call
