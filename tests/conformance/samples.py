"""PyTorch's own test inputs, as cases of kernelopt's functions and modules."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db

import kernelopt

from .ops import OPS, Case, Op

OP_INFOS = {
    "add": "add",
    "gelu": "nn.functional.gelu",
    "conv1d": "nn.functional.conv1d",
    "conv_transpose1d": "nn.functional.conv_transpose1d",
    "depthwise_conv2d": "nn.functional.conv2d",
    "pointwise_conv2d": "nn.functional.conv2d",
    "separable_conv2d": "nn.functional.conv2d",
}
MODULES = {
    "Conv1d": "Conv1d",
    "ConvTranspose1d": "ConvTranspose1d",
    "DepthwiseConv2d": "Conv2d",
    "PointwiseConv2d": "Conv2d",
    "GELU": "GELU",
}
"""kernelopt's modules and the torch modules whose samples they take."""

ENTRIES = (*OP_INFOS, *(f"nn.{name}" for name in MODULES))


@functools.cache
def op_info(name: str):
    return next(
        info for info in op_db if info.name == OP_INFOS[name] and not info.variant_test_name
    )


@functools.cache
def samples(entry: str, dtype: torch.dtype) -> list[Case]:
    """Every sample of an entry, on the CPU, in the order torch gives them."""
    torch.manual_seed(0)
    if entry.startswith("nn."):
        return list(_module_samples(entry.removeprefix("nn."), dtype))
    return [
        Case(OPS[entry], tensors, options, f"OpInfo sample {number}")
        for number, (tensors, options) in enumerate(_function_samples(entry, dtype))
    ]


def reference_samples(name: str, dtype: torch.dtype) -> list[Case]:
    """OpInfo's larger set, of element-wise functions: more shapes, broadcasting, strides, values,
    and operands that are numbers."""
    torch.manual_seed(0)
    return [
        Case(OPS[name], (sample.input, *sample.args), dict(sample.kwargs), f"reference {number}")
        for number, sample in enumerate(
            op_info(name).reference_inputs("cpu", dtype, requires_grad=False)
        )
    ]


def _function_samples(name: str, dtype: torch.dtype) -> Iterator[tuple[tuple, dict]]:
    for sample in op_info(name).sample_inputs("cpu", dtype, requires_grad=False):
        tensors, options = (sample.input, *sample.args), dict(sample.kwargs)
        if OP_INFOS[name] != "nn.functional.conv2d":
            yield tensors, options
            continue
        input, weight, bias = tensors
        groups = options.pop("groups", 1)
        if name == "pointwise_conv2d":
            # None of torch's samples has a 1x1 kernel: this is the middle of theirs.
            if groups == 1:
                yield (input, weight[..., :1, :1].contiguous(), bias), {}
        elif groups == input.shape[-3] and weight.shape[1] == 1:
            yield from _depthwise_sample(name, tensors, options)


def _depthwise_sample(name: str, tensors: tuple, options: dict) -> Iterator[tuple[tuple, dict]]:
    if name == "depthwise_conv2d":
        yield tensors, options
        return
    # torch has no separable function: its depthwise samples, and a pointwise convolution after.
    input, weight, bias = tensors
    pointwise = torch.randn(5, weight.shape[0], 1, 1).to(weight.dtype)
    pointwise_bias = None if bias is None else torch.randn(5).to(weight.dtype)
    yield (input, weight, pointwise, bias, pointwise_bias), options


def _module_samples(name: str, dtype: torch.dtype) -> Iterator[Case]:
    torch_class = getattr(torch.nn, MODULES[name])
    info = next(info for info in module_db if info.module_cls is torch_class)
    inputs = info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=True
    )
    for number, sample in enumerate(inputs):
        arguments = sample.constructor_input.args
        options = dict(sample.constructor_input.kwargs)
        # torch's two-dimensional samples are dense 3x3 convolutions: these are their other forms.
        if name == "DepthwiseConv2d":
            channels, _, kernel_size = arguments
            arguments = (channels, 2 * channels, kernel_size)
            options["groups"] = channels
        elif name == "PointwiseConv2d":
            if options:
                continue
            arguments = (*arguments[:2], 1)
        theirs = torch_class(*arguments, **options).to(dtype)
        ours = getattr(kernelopt.nn, name)(*arguments, **options).to(dtype)
        ours.load_state_dict(theirs.state_dict())
        yield _module_case(f"nn.{name}", ours, theirs, sample.forward_input.args, number)


def _module_case(
    name: str, ours: torch.nn.Module, theirs: torch.nn.Module, inputs: tuple, number: int
) -> Case:
    names = [key for key, _ in theirs.named_parameters()]

    def call(module: torch.nn.Module):
        def function(input: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
            values = dict(zip(names, parameters, strict=True))
            return torch.func.functional_call(module, values, (input,))

        return function

    elementwise = not names
    op = Op(
        name,
        call(ours),
        call(theirs),
        (lambda x: x * 1) if elementwise else call(theirs),
        elementwise=elementwise,
    )
    parameters = tuple(value.detach() for value in theirs.parameters())
    return Case(op, (*inputs, *parameters), {}, f"ModuleInfo sample {number}")
