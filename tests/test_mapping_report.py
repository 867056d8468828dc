"""What the report of ``kernelopt.optimize`` says of models that Dynamo or the report could miss."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import kernelopt


class Counting(nn.Module):
    """Counts its calls in an attribute, which Dynamo takes for a constant of each graph."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.conv(x) + x


def test_graphs_that_dynamo_runs_no_longer():
    model = kernelopt.optimize(Counting())
    report = kernelopt.report(model)
    x = torch.randn(1, 2, 5)
    limit = torch._dynamo.config.recompile_limit
    for _ in range(limit):
        model(x)
    assert report.graph == f"rewritten ({limit} graphs)"
    for _ in range(2):
        model(x)
    assert report.graph.startswith(f"rewritten ({limit} graphs); not used in the last call")
    model.calls = 3  # a value that a graph was captured for
    model(x)
    assert report.graph == f"rewritten ({limit} graphs)"


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x):
        for _ in range(3):
            if x.abs().max() > 100:
                break
            x = nn.functional.gelu(self.conv(x)) + x
        return x


def test_a_branch_within_a_loop():
    model = kernelopt.optimize(Loop())
    model(torch.randn(1, 2, 5))
    report = kernelopt.report(model)
    assert [entry.name for entry in report.entries] == ["conv"]
    assert report.graph == "off: nothing to rewrite in what Dynamo captured"


def test_containers_are_not_reported():
    model = nn.Module()
    model.some = nn.ParameterList([torch.ones(2)])
    model.named = nn.ParameterDict({"a": torch.ones(2)})
    model.none, model.no_names, model.nothing = nn.ModuleList(), nn.ModuleDict(), nn.Sequential()
    model.linear = nn.Linear(2, 2)
    assert [entry.name for entry in kernelopt.report(model).entries] == ["linear"]


class CallOnly(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)

    def __call__(self, x):
        return self.conv(x) + x


class CallsForward(CallOnly):
    def forward(self, x):
        return self.conv(x) + x


class CallsModule(CallsForward):
    def __call__(self, x):
        return nn.Module.__call__(self, x)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (CallOnly, "off: the model has a __call__ of its own and no forward", None),
        (CallsForward, "waits for a call of nn.Module's: the model's __call__ is its own", None),
        (
            CallsModule,
            "waits for a call of nn.Module's: the model's __call__ is its own",
            "rewritten (1 graph)",
        ),
    ],
)
def test_models_with_a_call_of_their_own(kind, before, after):
    model = kernelopt.optimize(kind())
    report = kernelopt.report(model)
    assert report.graph == before
    x = torch.randn(1, 2, 5)
    model(x)
    assert report.graph == (after or before)
