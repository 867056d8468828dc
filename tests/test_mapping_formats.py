"""Fusion in graphs of inputs in channels_last and without a batch: neither is in the way."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import kernelopt
from kernelopt.mapping.rewrite import rewrite
from mapping_support import Apply, assert_same, check, ops, run

LAST = torch.channels_last

INPUTS: dict[str, Callable[[], torch.Tensor]] = {
    "contiguous": lambda: random(2, 4, 5, 6),
    "channels_last": lambda: random(2, 4, 5, 6).to(memory_format=LAST),
    "slice of channels": lambda: random(2, 8, 5, 6).to(memory_format=LAST)[:, :4],
    "unbatched": lambda: random(4, 5, 6),
    "unbatched channels_last": lambda: random(2, 4, 5, 6).to(memory_format=LAST)[1],
}


def random(*sizes: int) -> torch.Tensor:
    return torch.randn(sizes, dtype=torch.float64)


def separable(padding: int | str = 1) -> nn.Module:
    """As attributes."""
    return Apply(
        lambda self, x: self.pointwise(self.depthwise(x)),
        depthwise=nn.Conv2d(4, 4, 3, padding=padding, groups=4),
        pointwise=nn.Conv2d(4, 5, 1),
    )


def activated(convolution: nn.Module) -> nn.Module:
    return Apply(lambda self, x: F.gelu(self.conv(x)), conv=convolution)


def assert_fused(model: nn.Module, x: torch.Tensor, op: str) -> None:
    """Into this op alone; values, gradients and the output's strides are the original's."""
    original = copy.deepcopy(model)
    assert ops(check(model, x).fused) == [op]
    mapped = kernelopt.optimize(original.double())
    with torch.no_grad():
        strides = mapped(x).stride()
        assert ops(kernelopt.report(mapped).fused) == [op]
        assert strides == kernelopt.restore(mapped)(x).stride()


@pytest.mark.parametrize("weight_format", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("name", INPUTS)
def test_separable(name: str, weight_format: torch.memory_format) -> None:
    for padding in (1, "same"):
        model = separable(padding).to(memory_format=weight_format)
        assert_fused(model, INPUTS[name](), "separable_conv2d")


@pytest.mark.parametrize("name", INPUTS)
def test_activation(name: str) -> None:
    depthwise, pointwise = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 5, 1)
    assert_fused(activated(depthwise), INPUTS[name](), "depthwise_conv2d")
    assert_fused(activated(pointwise), INPUTS[name](), "pointwise_conv2d")


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_activation_in_one_dimension(kind: type[nn.Module]) -> None:
    report = check(activated(kind(3, 4, 3)), random(3, 9))
    assert len(report.fused) == 1


@pytest.mark.parametrize("name", INPUTS)
def test_what_comes_between_is_kept(name: str) -> None:
    def twice(self, x):
        y = self.depthwise(x)
        return self.pointwise(y) + y.sum()

    def in_place(self, x):
        y = self.depthwise(x)
        count = torch.zeros(()).to(x)
        count.add_(1)
        return self.pointwise(y) + count

    for forward in (twice, in_place):
        model = separable()
        model.function = forward
        report = check(model, INPUTS[name]())
        assert not report.fused


def test_a_format_of_the_users_own_stays() -> None:
    """The public function would choose the contiguous format here."""
    weight = torch.randn(5, 4, 1, 1, dtype=torch.float64)

    def forward(self, x):
        x = x.contiguous(memory_format=LAST)
        y = torch.ops.kernelopt.pointwise_conv2d(x, weight, None)
        return F.relu(y.contiguous(memory_format=LAST)) + 1

    model = Apply(forward)
    x = INPUTS["contiguous"]()
    expected = model(x)
    kernelopt.optimize(model)
    torch.testing.assert_close(model(x), expected)
    assert model(x).is_contiguous(memory_format=LAST)
    assert not model(x).is_contiguous()


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", INPUTS)
def test_modules_of_kernelopt_for_a_compiler(name: str, dynamic: bool) -> None:
    model = kernelopt.optimize(separable().double(), graph=False)
    found = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        from torch._dynamo.backends.debugging import aot_eager

        found.extend(rewrite(graph, compiled=True))
        return aot_eager(graph, inputs)

    x = INPUTS[name]()
    expected = run(model, [x])
    model.compile(backend=backend, fullgraph=True, dynamic=dynamic)
    assert_same(run(model, [x]), expected)
    assert ops(found) == ["separable_conv2d"]


def test_an_exported_program() -> None:
    for name in INPUTS:
        x = INPUTS[name]()
        model = kernelopt.optimize(separable().double(), graph=False)
        exported = torch.export.export(model, (x,)).module()
        expected = exported(x)
        kernelopt.optimize(exported)
        torch.testing.assert_close(exported(x), expected)
        assert ops(kernelopt.report(exported).fused) == ["separable_conv2d"], name
