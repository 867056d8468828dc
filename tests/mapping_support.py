"""What the tests of the model mapping share."""

from __future__ import annotations

import copy

import torch
from torch import nn

import kernelopt


def run(model: nn.Module, inputs) -> list[torch.Tensor]:
    """The outputs, and the gradients of every input and parameter."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    output = model(*leaves)
    outputs = [output] if isinstance(output, torch.Tensor) else list(output)
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = sum((o * torch.linspace(-1, 1, o.numel()).to(o).view(o.shape)).sum() for o in outputs)
    return [*outputs, *torch.autograd.grad(total, [*leaves, *parameters])]


def assert_same(actual, expected) -> None:
    for mine, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-9)


def check(model: nn.Module, *inputs: torch.Tensor, **options) -> kernelopt.mapping.Report:
    """Optimizes a model and compares values and gradients with the original's, in fp64."""
    device = inputs[0].device
    model = model.to(device, torch.float64)
    inputs = tuple(x.double() for x in inputs)
    original = copy.deepcopy(model)
    optimized = kernelopt.optimize(model, **options)
    assert optimized is model
    assert list(model.state_dict()) == list(original.state_dict())
    for training in (True, False):
        model.train(training)
        original.train(training)
        assert_same(run(model, inputs), run(original, inputs))
    with torch.no_grad():
        torch.testing.assert_close(model(*inputs), original(*inputs), rtol=1e-9, atol=1e-9)
    return kernelopt.report(model)


def ops(entries) -> list[str]:
    return [entry.op for entry in entries]


class Apply(nn.Module):
    """A model whose forward is the given function of itself and its inputs."""

    def __init__(self, function, **modules: nn.Module):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs):
        return self.function(self, *inputs)
