"""What kernelopt replaces: one table, read by the module layer and by the graph rewrite.

A convolution is described once, as a :class:`Replacement`: to map a further one, add an entry to
``REPLACEMENTS``. An activation that convolutions can apply is an entry of ``ACTIVATION_MODULES``
and of ``ACTIVATION_FUNCTIONS``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
DEVICES = ("cuda", "cpu", "meta")

Arguments = dict[str, Any]
"""Keyword arguments of a public kernelopt function."""


@dataclass(frozen=True)
class Convolution:
    """What decides whether a convolution is replaced, be it a module or a call in a graph."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: Any
    padding: Any
    groups: int


def _all_equal(value: Any, expected: int) -> bool:
    """Whether an int, or every int of a tuple, is ``expected``."""
    return all(v == expected for v in (value if isinstance(value, (tuple, list)) else (value,)))


def _always(convolution: Convolution) -> str:
    return ""


def _unless_depthwise(convolution: Convolution) -> str:
    channels, groups = convolution.in_channels, convolution.groups
    if groups != channels:
        return f"not depthwise (groups={groups} for {channels} input channels)"
    # One input channel and several outputs: a dense convolution, not many 1-channel ones.
    if groups == 1 and convolution.out_channels != 1:
        return f"not depthwise (1 input channel for {convolution.out_channels} output channels)"
    return ""


def _unless_pointwise(convolution: Convolution) -> str:
    if not _all_equal(convolution.kernel_size, 1):
        return f"not 1x1 (kernel_size={convolution.kernel_size})"
    if convolution.groups != 1:
        return f"1x1, but groups={convolution.groups}"
    if not _all_equal(convolution.stride, 1):
        return f"1x1, but stride={convolution.stride}"
    if convolution.padding not in ("same", "valid") and not _all_equal(convolution.padding, 0):
        return f"1x1, but padding={convolution.padding}"
    return ""


@dataclass(frozen=True)
class Replacement:
    """How one kind of convolution is replaced.

    Attributes:
        op: the kernelopt function (and op) that takes its place.
        module: the torch class whose exact instances are replaced.
        becomes: the class of ``kernelopt.nn`` that they become, a subclass of ``module``.
        function: the torch function that is replaced in graphs.
        geometry: the arguments that ``op`` takes after input, weight and bias; each is an attribute
            of ``module`` as well.
        keep: why a convolution is kept as it is; "" where it is replaced.
    """

    op: str
    module: type[nn.Module]
    becomes: str
    function: Callable[..., Any]
    geometry: tuple[str, ...]
    keep: Callable[[Convolution], str]


REPLACEMENTS = (
    Replacement(
        op="conv1d",
        module=nn.Conv1d,
        becomes="Conv1d",
        function=torch.conv1d,
        geometry=("stride", "padding", "dilation", "groups"),
        keep=_always,
    ),
    Replacement(
        op="conv_transpose1d",
        module=nn.ConvTranspose1d,
        becomes="ConvTranspose1d",
        function=torch.conv_transpose1d,
        geometry=("stride", "padding", "output_padding", "groups", "dilation"),
        keep=_always,
    ),
    Replacement(
        op="depthwise_conv2d",
        module=nn.Conv2d,
        becomes="DepthwiseConv2d",
        function=torch.conv2d,
        geometry=("stride", "padding", "dilation"),
        keep=_unless_depthwise,
    ),
    Replacement(
        op="pointwise_conv2d",
        module=nn.Conv2d,
        becomes="PointwiseConv2d",
        function=torch.conv2d,
        geometry=(),
        keep=_unless_pointwise,
    ),
)

# The arguments of the torch functions above, in order.
_CONV_PARAMETERS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
PARAMETERS: dict[Callable[..., Any], tuple[str, ...]] = {
    torch.conv1d: _CONV_PARAMETERS,
    torch.conv2d: _CONV_PARAMETERS,
    torch.conv_transpose1d: (
        "input",
        "weight",
        "bias",
        "stride",
        "padding",
        "output_padding",
        "groups",
        "dilation",
    ),
}
DEFAULTS: Arguments = {
    "bias": None,
    "stride": 1,
    "padding": 0,
    "output_padding": 0,
    "dilation": 1,
    "groups": 1,
}

# Names of activations are those of the ``activation`` argument of kernelopt's functions.
ACTIVATION_MODULES: dict[type[nn.Module], Callable[[Any], str | None]] = {
    nn.ReLU: lambda module: "relu",
    nn.SiLU: lambda module: "silu",
    nn.GELU: lambda module: gelu_name(module.approximate),
}
ACTIVATION_FUNCTIONS: dict[Any, str] = {
    F.relu: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    F.silu: "silu",
    F.gelu: "gelu",
}
ACTIVATION_METHODS = {"relu": "relu", "relu_": "relu"}

ADD_FUNCTIONS = (operator.add, torch.add)
ADD_METHODS = ("add",)
# These are kept: no op of kernelopt writes to its input.
IN_PLACE_ADD_FUNCTIONS = (operator.iadd, torch.ops.aten.add_.Tensor)
IN_PLACE_ADD_METHODS = ("add_", "__iadd__")


def gelu_name(approximate: Any) -> str | None:
    """The activation of ``F.gelu`` with this ``approximate``; None where torch would raise."""
    return {"none": "gelu", "tanh": "gelu_tanh"}.get(approximate)


def choose(
    candidates: list[Replacement], convolution: Convolution
) -> tuple[Replacement | None, str]:
    """The replacement of a convolution, or None and the reason why it is kept."""
    reasons = []
    for replacement in candidates:
        reason = replacement.keep(convolution)
        if not reason:
            return replacement, ""
        reasons.append(reason)
    return None, ", ".join(reasons)


def tensor_reason(tensor: torch.Tensor) -> str:
    """Why kernelopt's ops do not serve a tensor's dtype, device or layout; "" where they do."""
    if tensor.dtype not in FLOATING:
        return f"dtype {str(tensor.dtype).removeprefix('torch.')} is not served"
    if tensor.device.type not in DEVICES:
        return f"device {tensor.device.type} is not served"
    if tensor.layout != torch.strided:
        return f"layout {tensor.layout} is not served"
    return ""


def separable_arguments(depthwise: Arguments, pointwise: Arguments) -> Arguments:
    """The arguments of ``separable_conv2d`` from those of ``depthwise_conv2d`` and of the
    ``pointwise_conv2d`` that follows it."""
    return {
        "input": depthwise["input"],
        "depthwise_weight": depthwise["weight"],
        "pointwise_weight": pointwise["weight"],
        "depthwise_bias": depthwise["bias"],
        "pointwise_bias": pointwise["bias"],
        "stride": depthwise["stride"],
        "padding": depthwise["padding"],
        "dilation": depthwise["dilation"],
        "depthwise_activation": depthwise.get("activation"),
        "activation": pointwise.get("activation"),
    }
