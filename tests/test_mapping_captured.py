"""Models that torch.fx or torch.export captured before they are optimized."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import kernelopt
from mapping_support import Apply, assert_same, check, ops, run


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.seq = nn.Sequential(nn.Conv1d(3, 4, 3), nn.GELU())
        self.parts = nn.ModuleDict({"last": nn.Sequential(nn.Conv1d(4, 4, 1), nn.SiLU())})
        self.up = nn.ConvTranspose1d(4, 4, 3, stride=2, padding=1, output_padding=1, dilation=2)

    def forward(self, x):
        y = self.seq(x)
        return self.up(y + self.parts["last"](y))


class Planar(nn.Module):
    """Everything 2-D, in-place activations and one written out."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 3, padding="same", groups=4)
        self.pointwise = nn.Conv2d(4, 6, 1)
        self.dense = nn.Conv2d(6, 2, 3)

    def forward(self, x):
        x = F.silu(self.pointwise(F.relu(self.depthwise(x), inplace=True)), inplace=True)
        x = self.dense(x)
        return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def names(entries) -> list[str]:
    return [entry.name for entry in entries]


def exported(model: nn.Module, *inputs: torch.Tensor, decomposed: bool = False) -> nn.Module:
    program = torch.export.export(model, inputs)
    return (program.run_decompositions() if decomposed else program).module()


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


OUTSIDE = nn.Module()
OUTSIDE.conv = nn.Conv1d(3, 4, 3).double()


def test_names_of_a_module_outside_of_the_model():
    report = check(Apply(lambda self, x: F.relu(OUTSIDE.conv(x))), torch.randn(2, 3, 9))
    assert names(report.fused) == ["*.OUTSIDE.conv"]


# torch.export


@pytest.mark.parametrize("decomposed", [False, True])
def test_exported(decomposed, device):
    x = torch.randn(2, 3, 9, device=device, dtype=torch.float64)
    original = Net().to(x)
    model = kernelopt.optimize(exported(original, x, decomposed=decomposed))
    assert_same(run(model, [x]), run(original, [x]))
    report = kernelopt.report(model)
    assert names(report.fused) == ["seq.0 + seq.1", "parts.last.0 + parts.last.1"]
    assert ops(report.fused) == ["conv1d", "conv1d"]
    assert names(report.replaced) == ["(model)", "up"]
    assert ops(report.replaced) == ["add", "conv_transpose1d"]
    assert all(entry.location.startswith("test_mapping_captured.py:") for entry in report.entries)


@pytest.mark.parametrize("decomposed", [False, True])
def test_exported_in_two_dimensions(decomposed, device):
    x = torch.randn(2, 4, 7, 6, device=device, dtype=torch.float64)
    original = Planar().to(x)
    model = kernelopt.optimize(exported(original, x, decomposed=decomposed))
    assert_same(run(model, [x]), run(original, [x]))
    report = kernelopt.report(model)
    assert names(report.fused) == ["depthwise + pointwise"]
    assert ops(report.fused) == ["separable_conv2d"]
    assert [(entry.kind, entry.op) for entry in report.replaced] == [
        ("gelu (written out)", "gelu"),
    ]
    assert [(entry.name, entry.kind) for entry in report.kept] == [("dense", "F.conv2d")]


def test_exported_within_a_model_is_not_taken_for_the_models_own(device):
    """Its names are those of another model, which may be names of this one, too."""
    x = torch.randn(2, 3, 9, device=device, dtype=torch.float64)
    original = Apply(lambda self, x: self.inner(self.seq(x)), inner=Net(), seq=nn.Conv1d(3, 3, 1))
    original = original.to(x)
    model = copy.deepcopy(original)
    model.inner = exported(model.inner, x)
    kernelopt.optimize(model)
    assert_same(run(model, [x]), run(original, [x]))
    report = kernelopt.report(model)
    assert names(report.fused) == ["*.seq.0 + *.seq.1", "*.parts.last.0 + *.parts.last.1"]
    kernelopt.optimize(model, only=["seq", "seq.0", "parts.*"])
    assert_same(run(model, [x]), run(original, [x]))
    assert names(kernelopt.report(model).replaced) == ["seq"]


def test_exported_with_a_dynamic_shape_and_under_autocast():
    x = torch.randn(2, 3, 9)
    original = Net()
    dynamic = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC},)
    model = torch.export.export(original, (x,), dynamic_shapes=dynamic).module()
    kernelopt.optimize(model)
    for shape in ((2, 3, 9), (5, 3, 21)):
        x = torch.randn(shape)
        torch.testing.assert_close(model(x), original(x))
        with torch.autocast("cpu", torch.bfloat16):
            mapped, expected = model(x), original(x)
        assert mapped.dtype == expected.dtype
        torch.testing.assert_close(mapped, expected, rtol=0.05, atol=0.05)
    assert ops(kernelopt.report(model).fused)[:2] == ["conv1d", "conv1d"]


def test_exported_in_place_activation():
    """As the training graph has it: operators that write to their input."""
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    original = Planar().to(x)
    program = torch.export.export(original, (x,))
    targets = {node.target for node in program.graph.nodes}
    assert {torch.ops.aten.relu_.default, torch.ops.aten.silu_.default} <= targets
    model = kernelopt.optimize(program.module())
    torch.testing.assert_close(model(x), original(x))
    assert ops(kernelopt.report(model).fused) == ["separable_conv2d"]


def test_only_in_an_exported_program():
    x = torch.randn(2, 3, 9, dtype=torch.float64)
    model = kernelopt.optimize(exported(Net().double(), x), only="up")
    model(x)
    assert names(kernelopt.report(model).entries) == ["up"]


def test_what_only_keeps_parameters_is_not_reported():
    model = exported(Net(), torch.randn(2, 3, 9))
    assert not kernelopt.report(model).entries
    assert not kernelopt.report(kernelopt.optimize(model)).entries


# Parametrizations


@pytest.mark.parametrize("copied", [False, True])
def test_removing_a_parametrization_after_restore_leaves_torchs_class(copied):
    model = kernelopt.optimize(nn.Sequential(nn.Conv1d(3, 4, 3), nn.Tanh()))
    nn.utils.parametrizations.weight_norm(model[0])
    x = torch.randn(2, 3, 9)
    expected = model(x)
    twin = copy.deepcopy(model) if copied else None
    kernelopt.restore(model)
    torch.testing.assert_close(model(x), expected)
    assert not isinstance(model[0], kernelopt.nn.Conv1d)
    nn.utils.parametrize.remove_parametrizations(model[0], "weight")
    assert type(model[0]) is nn.Conv1d
    torch.testing.assert_close(model(x), expected)
    if twin is not None:
        assert isinstance(twin[0], kernelopt.nn.Conv1d)
        torch.testing.assert_close(twin(x), expected)
