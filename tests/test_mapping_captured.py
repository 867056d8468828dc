"""Models that torch.fx captured before they are optimized."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from mapping_support import Apply, check


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.seq = nn.Sequential(nn.Conv1d(3, 4, 3), nn.GELU())
        self.parts = nn.ModuleDict({"last": nn.Sequential(nn.Conv1d(4, 4, 1), nn.SiLU())})
        self.up = nn.ConvTranspose1d(4, 4, 3, stride=2, padding=1, output_padding=1, dilation=2)

    def forward(self, x):
        y = self.seq(x)
        return self.up(y + self.parts["last"](y))


def names(entries) -> list[str]:
    return [entry.name for entry in entries]


# torch.fx


def test_names_in_a_traced_graph(device):
    report = check(torch.fx.symbolic_trace(Net()), torch.randn(2, 3, 9, device=device))
    assert names(report.fused) == ["seq.0 + seq.1", "parts.last.0 + parts.last.1"]
    assert names(report.replaced) == ["up", "(model)"]
    assert not report.kept
    assert all(not entry.location.startswith("<") for entry in report.entries)


def test_names_in_a_traced_graph_within_a_model(device):
    model = Apply(lambda self, x: F.relu(self.inner(x)), inner=torch.fx.symbolic_trace(Net()))
    report = check(model, torch.randn(2, 3, 9, device=device))
    assert names(report.fused)[:2] == [
        "inner.seq.0 + inner.seq.1",
        "inner.parts.last.0 + inner.parts.last.1",
    ]
    assert all(entry.location.startswith("test_mapping_captured.py:") for entry in report.fused)
    assert all(" in " not in entry.location for entry in report.fused)


def test_only_in_a_traced_graph():
    model = torch.fx.symbolic_trace(Net())
    report = check(model, torch.randn(2, 3, 9), only=["parts.*"])
    assert names(report.fused) == ["parts.last.0 + parts.last.1"]
    assert not report.replaced
    assert type(model.get_submodule("seq.0")) is nn.Conv1d
