"""What the convolution families share: activations, ATen's convolution, and output formats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .._enums import Activation, Precision

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def served(*tensors: torch.Tensor | None) -> bool:
    """Whether kernelopt's ops take these tensors; what they do not take goes to torch's function."""
    return all(
        tensor is None
        or (
            tensor.dtype in FLOATING
            and tensor.device.type in ("cuda", "cpu", "meta")
            and tensor.layout == torch.strided
        )
        for tensor in tensors
    )


def current_precision() -> int:
    """The precision the user asks of float32 convolutions, by torch's own setting.

    IEEE where ``torch.backends.cudnn.conv.fp32_precision`` was set to something other than TF32. A
    compiled graph keeps the value it was traced with.
    """
    precision = torch.backends.cudnn.conv.fp32_precision
    return int(Precision.DEFAULT if precision == "tf32" else Precision.IEEE)


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
        return aten.silu_backward(grad, z)
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
    """activation(convolution), out of ATen operators."""
    z = torch.ops.aten.convolution(
        input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
    )
    return apply_activation(z, activation)


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
    gradients = torch.ops.aten.convolution_backward(
        grad_output, input, weight, [grad_output.shape[1]], *geometry, list(output_mask)
    )
    return tuple(  # type: ignore[return-value]
        gradient if wanted else grad_output.new_empty(0)
        for gradient, wanted in zip(gradients, output_mask, strict=True)
    )


def empty_gradients(
    tensors: Sequence[torch.Tensor], output_mask: Sequence[bool]
) -> tuple[torch.Tensor, ...]:
    """Fake gradients of a backward op: contiguous, 0-element where not asked for."""
    return tuple(
        tensor.new_empty(tensor.shape if wanted else (0,))
        for tensor, wanted in zip(tensors, output_mask, strict=True)
    )


def is_channels_last(tensor: torch.Tensor) -> bool:
    """4-D, dense in channels_last order and not in the contiguous one: the rule for an op's output
    format, the same as ``is_channels_last`` in ``csrc/common/tensor.h``."""
    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
