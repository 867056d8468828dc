"""From a case to tensors and to the calls that are compared: kernelopt's and torch's."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

import kernelopt

from .cases import Case
from .floors import input_shapes

Tensors = list[torch.Tensor]
Call = Callable[..., torch.Tensor]

_ACTIVATIONS: dict[str | None, Callable[[torch.Tensor], torch.Tensor]] = {
    None: lambda x: x,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


def make_inputs(case: Case, dtype: torch.dtype, device: torch.device, seed: int) -> Tensors:
    """Random inputs; weights are scaled so that the output is of the order of one."""
    generator = torch.Generator(device).manual_seed(seed)
    tensors = []
    for index, shape in enumerate(input_shapes(case)):
        tensor = torch.randn(shape, dtype=dtype, device=device, generator=generator)
        if index and case.op not in ("add", "gelu") and len(shape) > 1:
            fan_in = shape[0] if case.op == "conv_transpose1d" else shape[1]
            tensor /= math.sqrt(fan_in * math.prod(shape[2:]))
        tensors.append(as_channels_last(tensor) if case.channels_last else tensor)
    return tensors


def as_channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """A 4-D tensor in channels-last memory format; others as they are."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _written_out_gelu(x: torch.Tensor) -> torch.Tensor:
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
    return 0.5 * x * (1.0 + torch.tanh(inner))


def _convolution_arguments(case: Case) -> dict[str, Any]:
    if case.op == "pointwise_conv2d":
        return {}
    arguments: dict[str, Any] = {
        "stride": case.stride,
        "padding": case.padding,
        "dilation": case.dilation,
    }
    if case.op in ("conv1d", "conv_transpose1d"):
        arguments["groups"] = case.groups
    if case.op == "conv_transpose1d":
        arguments["output_padding"] = case.output_padding
    return arguments


def kernelopt_call(case: Case) -> Call:
    """kernelopt's public function with everything but the tensors filled in."""
    function = getattr(kernelopt, case.op)
    if case.op == "add":
        return function
    if case.op == "gelu":
        approximate = "tanh" if case.activation == "gelu_tanh" else "none"
        return lambda x: function(x, approximate=approximate)
    arguments = _convolution_arguments(case)
    arguments["activation"] = case.activation
    if case.op == "separable_conv2d":
        arguments["depthwise_activation"] = case.depthwise_activation
    return lambda *tensors: function(*tensors, **arguments)


def torch_call(case: Case) -> Call:
    """The same out of torch's functions, as a model without kernelopt calls it."""
    if case.op == "add":
        return torch.add
    if case.op == "gelu":
        return _written_out_gelu if case.written_out else _ACTIVATIONS[case.activation]
    activation = _ACTIVATIONS[case.activation]
    arguments = _convolution_arguments(case)
    if case.op == "separable_conv2d":
        between = _ACTIVATIONS[case.depthwise_activation]

        def separable(
            x: torch.Tensor,
            depthwise: torch.Tensor,
            pointwise: torch.Tensor,
            depthwise_bias: torch.Tensor | None = None,
            pointwise_bias: torch.Tensor | None = None,
        ) -> torch.Tensor:
            middle = F.conv2d(x, depthwise, depthwise_bias, groups=x.shape[1], **arguments)
            return activation(F.conv2d(between(middle), pointwise, pointwise_bias))

        return separable
    if case.op == "depthwise_conv2d":
        arguments["groups"] = case.shape[1]
    functions: dict[str, Call] = {"conv1d": F.conv1d, "conv_transpose1d": F.conv_transpose1d}
    function = functions.get(case.op, F.conv2d)
    return lambda *tensors: activation(function(*tensors, **arguments))


def narrow_batch(case: Case, tensors: Tensors, start: int, count: int) -> Tensors:
    """The inputs of a call on a slice of the batch: weights and broadcast operands stay whole."""
    output = case.output_shape

    def batched(index: int, tensor: torch.Tensor) -> bool:
        if case.op == "add":
            return tensor.dim() == len(output) and tensor.shape[0] == output[0]
        return index == 0

    return [
        tensor.narrow(0, start, count) if batched(index, tensor) else tensor
        for index, tensor in enumerate(tensors)
    ]


def backward_calls(call: Call, sets: list[Tensors]) -> list[Callable[[], Any]]:
    """Calls that compute the gradients of all tensors, each over its own forward."""
    calls: list[Callable[[], Any]] = []
    for tensors in sets:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        output = call(*leaves)
        grad_output = torch.randn_like(output)

        def gradients(
            output: torch.Tensor = output,
            leaves: Tensors = leaves,
            grad_output: torch.Tensor = grad_output,
        ) -> Any:
            return torch.autograd.grad(output, leaves, grad_output, retain_graph=True)

        calls.append(gradients)
    return calls


def forward_calls(call: Call, sets: list[Tensors]) -> list[Callable[[], Any]]:
    """Calls of the forward, one for each set of inputs."""
    return [functools.partial(call, *tensors) for tensors in sets]
