"""The memory format of a 2-D convolution's output is torch's, whatever its tensors' formats."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from support import gradients

LAST = torch.channels_last
FORMATS = (torch.contiguous_format, LAST)

LAYOUTS: dict[str, Callable[[int, int, int, int], torch.Tensor]] = {
    "contiguous": torch.randn,
    "channels_last": lambda n, c, h, w: torch.randn(n, c, h, w).to(memory_format=LAST),
    "slice of channels": lambda n, c, h, w: torch.randn(n, 2 * c, h, w).to(memory_format=LAST)[
        :, :c
    ],
    "permuted": lambda n, c, h, w: torch.randn(n, h, w, c).permute(0, 3, 1, 2),
    "every second column": lambda n, c, h, w: torch.randn(n, c, h, 2 * w)[..., ::2],
    "transposed": lambda n, c, h, w: torch.randn(n, c, w, h).transpose(2, 3),
    "expanded": lambda n, c, h, w: torch.randn(n, 1, h, w).expand(n, c, h, w),
}


def _formats(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_contiguous(), tensor.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_has_torchs_format(
    layout: str, weight_format: torch.memory_format, device: str
) -> None:
    for sizes in ((2, 4, 5, 6), (1, 4, 5, 6), (2, 1, 5, 6), (2, 4, 1, 1), (2, 4, 1, 6)):
        channels = sizes[1]
        x = LAYOUTS[layout](*sizes)
        pointwise = torch.randn(3, channels, 1, 1).to(memory_format=weight_format)
        expected = F.conv2d(x, pointwise)
        moved = [tensor.to(device) for tensor in (x, pointwise)]
        assert _formats(kernelopt.pointwise_conv2d(*moved)) == _formats(expected), sizes
        for kernel, multiplier in ((3, 1), (1, 1), (3, 2)):
            weight = torch.randn(channels * multiplier, 1, kernel, kernel)
            weight = weight.to(memory_format=weight_format)
            expected = F.conv2d(x, weight, padding=kernel // 2, groups=channels)
            output = kernelopt.depthwise_conv2d(
                x.to(device), weight.to(device), padding=kernel // 2
            )
            assert _formats(output) == _formats(expected), (sizes, kernel, multiplier)
            if multiplier == 1:
                output = kernelopt.separable_conv2d(
                    x.to(device), weight.to(device), pointwise.to(device), padding=kernel // 2
                )
                assert _formats(output) == _formats(F.conv2d(expected, pointwise)), (sizes, kernel)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_without_a_batch_has_torchs_format(layout: str, device: str) -> None:
    for sizes in ((2, 4, 5, 6), (2, 1, 5, 6), (2, 4, 1, 1), (2, 4, 1, 6)):
        channels, x = sizes[1], LAYOUTS[layout](*sizes)[1]
        for first, second in itertools.product(FORMATS, FORMATS):
            weight = torch.randn(channels, 1, 3, 3).to(memory_format=first)
            pointwise = torch.randn(3, channels, 1, 1).to(memory_format=second)
            hidden = F.conv2d(x, weight, padding=1, groups=channels)
            moved = [tensor.to(device) for tensor in (x, weight, pointwise)]
            for output, expected in (
                (kernelopt.depthwise_conv2d(*moved[:2], padding=1), hidden),
                (kernelopt.pointwise_conv2d(moved[0], moved[2]), F.conv2d(x, pointwise)),
                (kernelopt.separable_conv2d(*moved, padding=1), F.conv2d(hidden, pointwise)),
            ):
                assert _formats(output[None]) == _formats(expected[None]), sizes
                assert output.is_contiguous() == expected.is_contiguous()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_moved_to_channels_last_takes_contiguous_inputs(compiled: bool) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.pointwise = torch.nn.Conv2d(8, 6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.pointwise(F.relu(self.depthwise(x)))
            return y.permute(0, 2, 3, 1).view(-1, 6)  # a view of channels_last outputs alone

    model = Model().to(memory_format=LAST)
    x = torch.randn(2, 8, 7, 9)
    expected = model(x)
    mapped = torch.compile(model, backend="kernelopt") if compiled else kernelopt.optimize(model)
    torch.testing.assert_close(mapped(x), expected)


def _separable(x: torch.Tensor, depthwise: torch.Tensor, pointwise: torch.Tensor) -> torch.Tensor:
    return kernelopt.separable_conv2d(x, depthwise, pointwise, padding=1)


def _torchs(x: torch.Tensor, depthwise: torch.Tensor, pointwise: torch.Tensor) -> torch.Tensor:
    return F.conv2d(F.conv2d(x, depthwise, padding=1, groups=4), pointwise)


OURS: dict[str, Callable[..., torch.Tensor]] = {
    "depthwise": lambda x, weight: kernelopt.depthwise_conv2d(x, weight, padding=1),
    "pointwise": kernelopt.pointwise_conv2d,
    "separable": _separable,
}
THEIRS: dict[str, Callable[..., torch.Tensor]] = {
    "depthwise": lambda x, weight: F.conv2d(x, weight, padding=1, groups=4),
    "pointwise": F.conv2d,
    "separable": _torchs,
}
WEIGHTS = {
    "depthwise": [(4, 1, 3, 3)],
    "pointwise": [(5, 4, 1, 1)],
    "separable": [(4, 1, 3, 3), (5, 4, 1, 1)],
}
# The input's layout and its weights' format.
COMPILED = [
    ("channels_last", torch.contiguous_format),
    ("channels_last", LAST),
    ("contiguous", LAST),
    ("slice of channels", torch.contiguous_format),
]


def _tensors(
    name: str,
    layout: str,
    weight_format: torch.memory_format,
    sizes: tuple[int, ...] = (2, 4, 5, 6),
) -> list[torch.Tensor]:
    weights = [torch.randn(shape).to(memory_format=weight_format) for shape in WEIGHTS[name]]
    return [LAYOUTS[layout](*sizes), *weights]


def _assert_same(function: Callable, expected: Callable, tensors: list[torch.Tensor]) -> None:
    """Values, formats and gradients."""
    output = expected(*tensors)
    torch.testing.assert_close(function(*tensors), output)
    assert _formats(function(*tensors)) == _formats(output)
    grad = torch.randn_like(output)
    torch.testing.assert_close(
        gradients(function, tensors, grad), gradients(expected, tensors, grad)
    )


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("layout", "weight_format"), COMPILED)
@pytest.mark.parametrize("name", OURS)
def test_compiled_is_one_graph(
    name: str, layout: str, weight_format: torch.memory_format, dynamic: bool
) -> None:
    ours = OURS[name]
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for sizes in ((2, 4, 5, 6), (3, 4, 7, 9)):
        _assert_same(compiled, ours, _tensors(name, layout, weight_format, sizes))


def test_inductor_takes_channels_last() -> None:
    compiled = torch.compile(_separable, fullgraph=True)
    _assert_same(compiled, _separable, _tensors("separable", "channels_last", LAST))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("layout", "weight_format"), COMPILED)
@pytest.mark.parametrize("name", OURS)
def test_exported(name: str, layout: str, weight_format: torch.memory_format, strict: bool) -> None:
    modules = {
        "depthwise": kernelopt.nn.DepthwiseConv2d(4, 4, 3, padding=1),
        "pointwise": kernelopt.nn.PointwiseConv2d(4, 5),
        "separable": kernelopt.nn.SeparableConv2d(4, 5, 3, padding=1),
    }
    model = modules[name].to(memory_format=weight_format)
    dimensions = {0: torch.export.Dim("n"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    for shapes in (None, (dimensions,)):
        x = LAYOUTS[layout](2, 4, 5, 6)
        program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=strict)
        if shapes is not None:
            x = LAYOUTS[layout](3, 4, 7, 9)
        expected = model(x)
        torch.testing.assert_close(program.module()(x), expected)
        assert _formats(program.module()(x)) == _formats(expected)


def _transformed(function: Callable, count: int) -> list[tuple[int, Callable]]:
    """The gradient, and over a batch of each tensor alone the function and its gradient; each with
    the place of the tensor that has a further dimension, -1 for none."""

    def loss(*given: torch.Tensor) -> torch.Tensor:
        return function(*given).sin().sum()

    found = [(-1, torch.func.grad(loss))]
    for place in range(count):
        dims = tuple(0 if index == place else None for index in range(count))
        found += [(place, torch.vmap(what, dims)) for what in (function, torch.func.grad(loss))]
    return found


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", OURS)
def test_transforms_of_channels_last(name: str, compiled: bool) -> None:
    for layout, weight_format in COMPILED[:3]:
        tensors = _tensors(name, layout, weight_format)
        ours, theirs = (_transformed(of[name], len(tensors)) for of in (OURS, THEIRS))
        for (place, mine), (_, expected) in zip(ours, theirs, strict=True):
            given = list(tensors)
            if place >= 0:
                given[place] = torch.stack([tensors[place], tensors[place] * 0.5])
            if compiled:
                torch._dynamo.reset()
                mine = torch.compile(mine, backend="aot_eager", fullgraph=True)
            torch.testing.assert_close(mine(*given), expected(*given))
