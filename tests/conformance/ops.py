"""kernelopt's public functions beside torch's, each with what its rounding errors grow with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F

import kernelopt
from kernelopt import Precision
from kernelopt._arguments import activation_code
from kernelopt.ops._convolution import apply_activation

ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")


@dataclass(frozen=True)
class Op:
    """A public function under test.

    Attributes:
        ours: called as ``ours(*tensors, **options)``.
        reference: torch's function of the same arguments.
        magnitude: the same computation without activation; on absolute values it bounds the sums of
            absolute products behind each result, and its gradient those behind each gradient.
        elementwise: whether each element is held to its own magnitude.
    """

    name: str
    ours: Callable[..., torch.Tensor]
    reference: Callable[..., torch.Tensor]
    magnitude: Callable[..., torch.Tensor]
    elementwise: bool = False
    activations: bool = False


@dataclass(frozen=True)
class Case:
    """One call: the differentiable tensors in the function's order, and its other arguments."""

    op: Op
    tensors: tuple[torch.Tensor | None, ...]
    options: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    precision: Precision = Precision.IEEE
    wanted: tuple[bool, ...] = ()
    """Which tensors require a gradient; empty: all of them."""
    place_grad: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.contiguous
    """What becomes of the random gradient of the output before it is used."""

    @property
    def input(self) -> torch.Tensor:
        return self.tensors[0]  # type: ignore[return-value]

    def with_tensors(self, *tensors: torch.Tensor | None) -> Case:
        return replace(self, tensors=tensors)

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Case:
        return self.with_tensors(*(None if t is None else function(t) for t in self.tensors))

    def arrange(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Case:
        """The same values, and the output's gradient, in another memory layout."""
        return replace(self.map(function), place_grad=function)

    def with_options(self, **options: Any) -> Case:
        return replace(self, options={**self.options, **options})

    def __str__(self) -> str:
        shapes = ", ".join(
            f"{tuple(value.shape)} strides {value.stride()}"
            if isinstance(value, torch.Tensor)
            else str(value)
            for value in self.tensors
        )
        return f"{self.op.name}({shapes}, {self.options}) [{self.label}]"


def _activate(z: torch.Tensor, activation: str | None) -> torch.Tensor:
    return apply_activation(z, activation_code("reference", "activation", activation))


def _convolution_op(name: str, function: Callable[..., torch.Tensor]) -> Op:
    def reference(*tensors, activation=None, **options):
        return _activate(function(*tensors, **options), activation)

    def magnitude(*tensors, activation=None, **options):
        return function(*tensors, **options)

    return Op(name, getattr(kernelopt, name), reference, magnitude, activations=True)


def _depthwise(input, weight, bias=None, stride=1, padding=0, dilation=1):
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups=input.shape[-3])


def _separable(
    input,
    depthwise_weight,
    pointwise_weight,
    depthwise_bias=None,
    pointwise_bias=None,
    stride=1,
    padding=0,
    dilation=1,
    depthwise_activation=None,
    activation=None,
):
    z = _depthwise(input, depthwise_weight, depthwise_bias, stride, padding, dilation)
    z = _activate(z, depthwise_activation)
    return _activate(F.conv2d(z, pointwise_weight, pointwise_bias), activation)


def _separable_magnitude(*tensors, depthwise_activation=None, activation=None, **options):
    return _separable(*tensors, **options)


OPS = {
    op.name: op
    for op in (
        Op(
            "add",
            kernelopt.add,
            torch.add,
            lambda a, b, alpha=1: torch.add(a, b, alpha=abs(alpha)),
            elementwise=True,
        ),
        Op("gelu", kernelopt.gelu, F.gelu, lambda x, approximate="none": x * 1, elementwise=True),
        _convolution_op("conv1d", F.conv1d),
        _convolution_op("conv_transpose1d", F.conv_transpose1d),
        _convolution_op("depthwise_conv2d", _depthwise),
        _convolution_op("pointwise_conv2d", F.conv2d),
        Op(
            "separable_conv2d",
            kernelopt.separable_conv2d,
            _separable,
            _separable_magnitude,
            activations=True,
        ),
    )
}
