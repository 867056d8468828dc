"""What the report of ``kernelopt.optimize`` says of models that Dynamo or the report could miss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import kernelopt
from mapping_support import Apply


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


# One thing is listed once


class Causal(nn.Conv1d):
    def forward(self, x):
        return super().forward(F.pad(x, (2, 0)))


def listed(model: nn.Module, *shape: int) -> list[tuple[str, str, str]]:
    """The report's entries after a call, but for additions."""
    kernelopt.optimize(model)(torch.randn(*shape))
    report = kernelopt.report(model)
    counts = report.to_dict()
    assert counts["replaced"] + counts["fused"] + counts["kept"] == len(report.entries)
    return [(e.name, e.kind, e.action) for e in report.entries if e.kind != "a + b"]


def test_a_module_that_the_graph_tells_of_is_listed_there():
    model = Apply(lambda self, x: self.kept(x) + x, kept=nn.Conv2d(3, 3, 3, padding=1))
    assert listed(model, 2, 3, 5, 5) == [("kept", "F.conv2d", "kept")]
    model = Apply(lambda self, x: self.causal(x) + x, causal=Causal(3, 3, 3))
    assert listed(model, 2, 3, 9) == [("causal", "F.conv1d", "replaced")]


def test_a_module_within_a_part_of_the_model():
    def forward(self, x):
        if x.sum() > 1e9:
            x = x + 1
        return F.relu(self.parts[0](x))

    model = Apply(forward, parts=nn.ModuleList([nn.Conv1d(3, 3, 1)]), other=nn.Conv1d(3, 3, 1))
    assert listed(model, 2, 3, 9) == [
        ("other", "Conv1d", "replaced"),
        ("*.parts.0", "conv1d + relu", "fused"),
    ]


def test_shared_modules_are_listed_once():
    conv, relu = nn.Conv1d(3, 3, 1), nn.ReLU()
    model = Apply(lambda self, x: self.b(self.a(x)) + x, a=conv, b=conv, c=relu, d=relu)
    assert listed(model, 2, 3, 9) == [("a", "Conv1d", "replaced"), ("c", "ReLU", "kept")]


@pytest.mark.parametrize(
    ("body", "shape", "expected"),
    [
        (
            nn.Sequential(nn.Conv1d(3, 3, 1), nn.ReLU()),
            (2, 3, 9),
            ("body.0 + body.1", "Conv1d + ReLU", "fused"),
        ),
        (nn.Sequential(nn.Conv2d(3, 3, 3)), (2, 3, 9, 9), ("body.0", "F.conv2d", "kept")),
    ],
)
def test_modules_known_by_another_name_are_listed_once(body, shape, expected):
    model = Apply(lambda self, x: self.body(x) + 1, first=body[0], body=body)
    assert listed(model, *shape) == [expected]


def test_a_sequence_that_uses_a_convolution_twice_fuses_it_twice():
    conv = nn.Conv1d(3, 3, 1)
    model = nn.Sequential(conv, nn.ReLU(), conv, nn.GELU())
    assert [entry[0] for entry in listed(model, 2, 3, 9)] == ["0 + 1", "2 + 3"]
