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
MODULES = ("Conv1d", "ConvTranspose1d", "Conv2d", "GELU")
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
    info = next(info for info in module_db if info.module_cls is getattr(torch.nn, name))
    inputs = info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=True
    )
    number = 0
    for sample in inputs:
        arguments = sample.constructor_input
        for ours in _module_forms(name, arguments.args, arguments.kwargs):
            theirs = getattr(torch.nn, name)(*ours.arguments, **ours.options).to(dtype)
            mine = ours.cls(*ours.arguments, **ours.options).to(dtype)
            mine.load_state_dict(theirs.state_dict())
            yield _module_case(f"nn.{name}", mine, theirs, sample.forward_input.args, number)
            number += 1


class _Form:
    """A class of kernelopt.nn and the constructor arguments of torch's class it stands for."""

    def __init__(self, cls: type, arguments: tuple, options: dict) -> None:
        self.cls, self.arguments, self.options = cls, arguments, options


def _module_forms(name: str, arguments: tuple, options: dict) -> list[_Form]:
    if name != "Conv2d":
        return [_Form(getattr(kernelopt.nn, name), arguments, options)]
    # torch's samples are dense 3x3 convolutions: their depthwise and pointwise forms.
    channels, kernel_size = arguments[0], arguments[2]
    return [
        _Form(
            kernelopt.nn.Conv2d,
            (channels, 2 * channels, kernel_size),
            options | {"groups": channels},
        ),
        _Form(kernelopt.nn.Conv2d, (channels, arguments[1], 1), options),
    ]


def _module_case(
    name: str, mine: torch.nn.Module, theirs: torch.nn.Module, inputs: tuple, number: int
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
        call(mine),
        call(theirs),
        (lambda x: x * 1) if elementwise else call(theirs),
        elementwise=elementwise,
    )
    parameters = tuple(value.detach() for value in theirs.parameters())
    return Case(op, (*inputs, *parameters), {}, f"ModuleInfo sample {number}")
