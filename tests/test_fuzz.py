"""Random calls over the whole argument space of every op, forward and backward, against float64.

The same calls every time: a failure repeats, and hypothesis shrinks it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.check import check
from conformance.ops import ACTIVATIONS, OPS, Case
from conformance.variants import LAYOUTS
from kernelopt import Precision

Draw = Callable[[st.SearchStrategy], Any]

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
EXAMPLES = {"cpu": 30, "cuda": 300}


def _ints(first: int, last: int) -> st.SearchStrategy:
    return st.integers(first, last)


def _form(draw: Draw, values: list[int]) -> int | tuple[int, ...]:
    """An argument as a tuple, or as one int where that says the same."""
    alike = len(set(values)) == 1
    return values[0] if alike and draw(st.booleans()) else tuple(values)


def _window(draw: Draw, dims: int) -> tuple[list[int], list[int], dict]:
    """Sizes of an input and a kernel that fits it, and the arguments that say how."""
    kernel = [draw(_ints(1, 5)) for _ in range(dims)]
    stride = [draw(_ints(1, 4)) for _ in range(dims)]
    dilation = [draw(_ints(1, 3)) for _ in range(dims)]
    padding: Any = [draw(_ints(0, 4)) for _ in range(dims)]
    word = draw(st.sampled_from(["numbers", "numbers", "same", "valid"]))
    if word == "same":
        stride = [1] * dims
    sizes = []
    for d in range(dims):
        pad = {"numbers": padding[d], "same": dilation[d] * (kernel[d] - 1) // 2, "valid": 0}[word]
        least = max(1, dilation[d] * (kernel[d] - 1) + 1 - 2 * pad)
        sizes.append(least + draw(_ints(0, 70 if dims == 1 else 20)))
    options = {
        "stride": _form(draw, stride),
        "padding": _form(draw, padding) if word == "numbers" else word,
        "dilation": _form(draw, dilation),
    }
    return sizes, kernel, options


def _conv1d(draw: Draw) -> tuple[list, dict]:
    groups, per_group, out = draw(_ints(1, 4)), draw(_ints(1, 5)), draw(_ints(1, 5))
    sizes, kernel, options = _window(draw, 1)
    shapes = [[groups * per_group, *sizes], [groups * out, per_group, *kernel], [groups * out]]
    return shapes, options | {"groups": groups}


def _conv_transpose1d(draw: Draw) -> tuple[list, dict]:
    groups, per_group, out = draw(_ints(1, 4)), draw(_ints(1, 5)), draw(_ints(1, 5))
    length, kernel = draw(_ints(1, 70)), draw(_ints(1, 5))
    stride, dilation = draw(_ints(1, 4)), draw(_ints(1, 3))
    output_padding = draw(_ints(0, max(stride, dilation) - 1))
    full = (length - 1) * stride + dilation * (kernel - 1) + output_padding
    padding = draw(_ints(0, min(4, full // 2)))
    options = {
        "stride": _form(draw, [stride]),
        "padding": _form(draw, [padding]),
        "output_padding": _form(draw, [output_padding]),
        "groups": groups,
        "dilation": _form(draw, [dilation]),
    }
    shapes = [[groups * per_group, length], [groups * per_group, out, kernel], [groups * out]]
    return shapes, options


def _depthwise_conv2d(draw: Draw) -> tuple[list, dict]:
    channels, multiplier = draw(_ints(1, 6)), draw(_ints(1, 3))
    sizes, kernel, options = _window(draw, 2)
    out = channels * multiplier
    return [[channels, *sizes], [out, 1, *kernel], [out]], options


def _pointwise_conv2d(draw: Draw) -> tuple[list, dict]:
    channels, out = draw(_ints(1, 40)), draw(_ints(1, 40))
    sizes = [draw(_ints(1, 12)), draw(_ints(1, 40))]
    return [[channels, *sizes], [out, channels, 1, 1], [out]], {}


def _separable_conv2d(draw: Draw) -> tuple[list, dict]:
    (input, weight, bias), options = _depthwise_conv2d(draw)
    out = draw(_ints(1, 20))
    shapes = [input, weight, [out, weight[0], 1, 1], bias, [out]]
    return shapes, options | {"depthwise_activation": draw(st.sampled_from([None, *ACTIVATIONS]))}


CONVOLUTIONS = {
    "conv1d": _conv1d,
    "conv_transpose1d": _conv_transpose1d,
    "depthwise_conv2d": _depthwise_conv2d,
    "pointwise_conv2d": _pointwise_conv2d,
    "separable_conv2d": _separable_conv2d,
}


def _convolution_call(draw: Draw, name: str) -> tuple[list, dict]:
    shapes, options = CONVOLUTIONS[name](draw)
    batch = draw(st.sampled_from([None, 0, 1, 2, 3]))
    if batch is not None:
        shapes[0] = [batch, *shapes[0]]
    for position, shape in enumerate(shapes):
        if len(shape) == 1 and draw(st.booleans()):
            shapes[position] = None
    return shapes, options | {"activation": draw(st.sampled_from([None, *ACTIVATIONS]))}


def _add_call(draw: Draw) -> tuple[list, dict]:
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 7, 33]), max_size=4))
    shapes = [
        [size if draw(_ints(0, 3)) else 1 for size in shape[draw(_ints(0, len(shape))) :]]
        for _ in range(2)
    ]
    return shapes, {"alpha": draw(st.sampled_from([1, 2, -0.5, 0.0]))}


def _gelu_call(draw: Draw) -> tuple[list, dict]:
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 7, 33]), max_size=4))
    return [shape], {"approximate": draw(st.sampled_from(["none", "tanh"]))}


def _draw_case(draw: Draw, name: str, device: str) -> Case:
    calls = {"add": _add_call, "gelu": _gelu_call}
    make = calls.get(name)
    shapes, options = make(draw) if make else _convolution_call(draw, name)
    dtype = draw(st.sampled_from(DTYPES))
    precisions = [Precision.IEEE] if device == "cpu" else list(Precision)
    torch.manual_seed(draw(_ints(0, 1000)))
    tensors = [
        None
        if shape is None
        else LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))](torch.randn(shape).to(device, dtype))
        for shape in shapes
    ]
    case = Case(OPS[name], tuple(tensors), options, precision=draw(st.sampled_from(precisions)))
    return replace(case, place_grad=LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))])


@pytest.mark.parametrize("name", OPS)
def test_random_calls(name: str, device: str) -> None:
    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=EXAMPLES[device],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def search(data: st.DataObject) -> None:
        check(_draw_case(data.draw, name, device))

    search()
