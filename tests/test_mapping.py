"""``kernelopt.optimize``: models as their authors wrote them, mapped with no hint."""

from __future__ import annotations

import copy
import io
import pickle
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import kernelopt
from mapping_support import Apply, assert_same, check, ops, run

MODELS = (
    *("elementwise_add", "gelu_tanh", "conv1d", "conv_transpose1d", "conv_transpose1d_dilated"),
    "separable_conv2d",
)


def seed(name: str):
    __import__(f"kernelopt.models.{name}")
    return sys.modules[f"kernelopt.models.{name}"]


# The reference architectures


@pytest.mark.parametrize("name", MODELS)
def test_seed_architecture(name, device):
    problem = seed(name)
    model = problem.Model(*problem.get_init_inputs())
    report = check(model, *(x.to(device) for x in problem.get_inputs()))
    assert not report.kept
    op = {
        "elementwise_add": "add",
        "gelu_tanh": "gelu",
        "conv_transpose1d_dilated": "conv_transpose1d",
    }.get(name, name)
    assert op in ops(report.replaced + report.fused)


# The module layer


def test_modules_stay_the_same_objects(device):
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ConvTranspose1d(4, 3, 3))
    model[0].weight.requires_grad_(False)
    model.eval()
    before = [(id(m), id(m.weight)) for m in model]
    report = check(model, torch.randn(2, 3, 9, device=device))
    assert [(id(m), id(m.weight)) for m in model] == before
    assert isinstance(model[0], nn.Conv1d)
    assert not model[0].weight.requires_grad
    assert not model[0].training
    assert ops(report.replaced) == ["conv1d", "conv_transpose1d"]
    assert [(e.name, e.reason) for e in report.kept] == [("1", "kernelopt has no op for it")]
    assert report.graph.startswith("off")


def test_model_that_is_one_convolution(device):
    report = check(nn.Conv1d(3, 4, 3, padding="same"), torch.randn(2, 3, 9, device=device))
    assert [(e.name, e.op) for e in report.replaced] == [("(model)", "conv1d")]


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_padding_mode(mode, device):
    model = nn.Sequential(nn.Conv1d(3, 4, 3, padding=1, padding_mode=mode), nn.ReLU())
    report = check(model, torch.randn(2, 3, 9, device=device))
    assert len(report.fused) == (mode == "zeros")


@pytest.mark.parametrize(
    ("convolution", "op"),
    [
        (nn.Conv2d(4, 4, 3, groups=4), "depthwise_conv2d"),
        (nn.Conv2d(4, 8, (3, 1), stride=2, padding=1, groups=4), "depthwise_conv2d"),
        (nn.Conv2d(4, 7, 1), "pointwise_conv2d"),
        (nn.Conv2d(1, 1, 3), "depthwise_conv2d"),
        (nn.Conv2d(4, 8, 3), None),
        (nn.Conv2d(4, 8, 3, groups=2), None),
        (nn.Conv2d(4, 8, 1, stride=2), None),
        (nn.Conv2d(4, 8, 1, padding=1), None),
        (nn.Conv2d(1, 8, 3), None),
    ],
)
def test_which_conv2d_is_replaced(convolution, op, device):
    x = torch.randn(2, convolution.in_channels, 6, 7, device=device)
    by_module = check(copy.deepcopy(convolution), x)
    in_graph = check(
        Apply(
            lambda self, x: F.conv2d(
                *(x, self.c.weight, self.c.bias, self.c.stride, self.c.padding),
                groups=self.c.groups,
            ),
            c=copy.deepcopy(convolution),
        ),
        x,
        only="",
    )
    for report in (by_module, in_graph):
        assert ops(report.replaced) == ([op] if op else [])
    if op is None:
        assert "not depthwise" in by_module.kept[0].reason


ACTIVATIONS = [nn.ReLU(inplace=True), nn.GELU(), nn.GELU("tanh"), nn.SiLU()]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.ConvTranspose1d])
def test_sequential_fuses_activation(convolution, activation, device):
    model = nn.Sequential(convolution(3, 4, 3), activation, nn.Flatten())
    report = check(model, torch.randn(2, 3, 9, device=device))
    assert [e.name for e in report.fused] == ["0 + 1"]
    assert not report.replaced
    assert isinstance(model, nn.Sequential)
    assert type(model[1]) in (type(activation), kernelopt.nn.GELU)


@pytest.mark.parametrize("between", [[], [nn.SiLU()]])
@pytest.mark.parametrize("after", [[], [nn.ReLU()]])
def test_sequential_fuses_separable(between, after, device):
    layers = [nn.Conv2d(4, 4, 3, 2, 1, groups=4), *between, nn.Conv2d(4, 6, 1), *after]
    model = nn.Sequential(*layers)
    report = check(model, torch.randn(2, 4, 7, 8, device=device))
    assert ops(report.fused) == ["separable_conv2d"]
    x = torch.randn(2, 4, 7, 8, device=device).double()
    by_parts = x
    for layer in model:
        by_parts = layer(by_parts)
    torch.testing.assert_close(model(x), by_parts, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("position", [0, 1])
def test_hook_added_later_sees_what_it_saw(position):
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU()).double()
    original = copy.deepcopy(model)
    kernelopt.optimize(model)
    x = torch.randn(2, 3, 9).double()
    model(x)
    seen = []
    for m in (model, original):
        m[position].register_forward_hook(lambda module, args, output: seen.append((*args, output)))
        m(x)
    for mine, reference in zip(*seen, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-9)


def test_hook_in_graph_sees_what_it_saw(device):
    model = Apply(lambda self, x: F.gelu(self.conv(x)), conv=nn.Conv1d(3, 4, 3))
    x = torch.randn(2, 3, 9, device=device).double()
    report = check(model, x)
    assert ops(report.fused) == ["conv1d"]
    original = kernelopt.restore(copy.deepcopy(model))
    seen = []
    for m in (model, original):
        m.conv.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
        m.conv.register_full_backward_hook(lambda module, grads, _: seen.append(grads[0]))
        run(m, [x])
    assert len(seen) == 4
    assert_same(seen[:2], seen[2:])


@pytest.mark.parametrize("position", [0, 1])
def test_forward_replaced_after_the_first_call(position, device):
    """As libraries do that attach their hooks so; in a Sequential that a graph holds, too."""
    block = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU())
    model = Apply(lambda self, x: F.gelu(self.block(x)), block=block)
    x = torch.randn(2, 3, 9, device=device).double()
    report = check(model, x)
    assert ops(report.fused) == ["conv1d"]
    original = kernelopt.restore(copy.deepcopy(model))
    for m in (model, original):
        forward = m.block[position].forward
        m.block[position].forward = lambda z, forward=forward: 3 * forward(z)
    assert_same(run(model, [x]), run(original, [x]))


def test_hook_of_every_module_sees_what_it_saw(device):
    model = Apply(lambda self, x: F.gelu(self.conv(x)), conv=nn.Conv1d(3, 4, 3))
    x = torch.randn(2, 3, 9, device=device).double()
    check(model, x)
    seen = []
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, args, output: seen.append(output) if module is model.conv else None
    )
    try:
        model(x)
    finally:
        hook.remove()
    assert_same(seen, [kernelopt.restore(copy.deepcopy(model)).conv(x)])


def test_shared_convolution(device):
    conv = nn.Conv1d(4, 4, 3, padding=1)
    model = Apply(
        lambda self, x: self.block(x) + self.again(x), block=nn.Sequential(conv, nn.ReLU())
    )
    model.again = conv
    report = check(model, torch.randn(2, 4, 9, device=device))
    assert model.again is model.block[0]
    assert {"conv1d", "add"} <= set(ops(report.replaced + report.fused))


def test_subclass_and_replaced_forward_are_kept():
    class Scaled(nn.Conv1d):
        def forward(self, input):
            return 2 * super().forward(input)

    overridden = nn.Conv1d(4, 4, 3)
    overridden.forward = lambda input: input
    model = nn.Sequential(Scaled(3, 4, 3), nn.ReLU(), overridden)
    original = copy.deepcopy(model[0])
    report = kernelopt.report(kernelopt.optimize(model))
    reasons = {entry.name: entry.reason for entry in report.kept}
    assert reasons["0"] == "a subclass of nn.Conv1d"
    assert reasons["2"] == "its forward was replaced"
    x = torch.randn(2, 3, 9)
    torch.testing.assert_close(model(x), original(x).relu())


@pytest.mark.parametrize("old", [False, True])
def test_weight_norm(old, device):
    wrap = nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm
    model = Apply(lambda self, x: F.silu(self.conv(x)), conv=wrap(nn.Conv1d(3, 4, 3)))
    model = model.to(device, torch.float64)
    x = torch.randn(2, 3, 9, device=device).double()
    expected = run(model, [x])
    keys = list(model.state_dict())
    kernelopt.optimize(model)
    assert_same(run(model, [x]), expected)
    assert list(model.state_dict()) == keys
    assert "conv1d" in ops(kernelopt.report(model).fused)


def test_parametrized_after_optimize(device):
    model = kernelopt.optimize(nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU()))
    model = model.to(device, torch.float64)
    nn.utils.parametrizations.weight_norm(model[0])
    x = torch.randn(2, 3, 9, device=device, dtype=torch.float64)
    torch.testing.assert_close(model(x), F.conv1d(x, model[0].weight, model[0].bias).relu())
    kernelopt.restore(model)
    assert nn.utils.parametrize.is_parametrized(model[0])
    torch.testing.assert_close(model(x), F.conv1d(x, model[0].weight, model[0].bias).relu())


def test_unserved_dtype_is_kept():
    model = nn.Sequential(nn.Conv1d(3, 4, 3, dtype=torch.complex64), nn.Flatten())
    expected = model(torch.ones(2, 3, 5, dtype=torch.complex64))
    report = kernelopt.report(kernelopt.optimize(model))
    assert "complex64" in report.kept[0].reason
    torch.testing.assert_close(model(torch.ones(2, 3, 5, dtype=torch.complex64)), expected)


# Copies, restoring, options


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.ReLU())
        self.last = nn.Conv1d(4, 4, 1)

    def forward(self, x):
        return F.gelu(self.last(self.body(x))) + x


def pickled(model):
    buffer = io.BytesIO()
    pickle.dump(model, buffer)
    buffer.seek(0)
    return pickle.load(buffer)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("called", [False, True])
def test_copies_are_optimized(copied, called, device):
    model = kernelopt.optimize(Block().to(device, torch.float64))
    x = torch.randn(2, 4, 9, device=device).double()
    expected = run(model, [x]) if called else None
    twin = copied(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    results = run(twin, [x])
    original = kernelopt.restore(copy.deepcopy(twin))
    assert_same(results, expected or run(original, [x]))
    assert "rewritten" in kernelopt.report(twin).graph
    assert kernelopt.report(twin) is not kernelopt.report(model)


def test_restore_and_twice(device):
    model = Block().to(device, torch.float64)
    kinds = [type(module) for module in model.modules()]
    x = torch.randn(2, 4, 9, device=device).double()
    expected = run(model, [x])
    first = kernelopt.report(kernelopt.optimize(model)).to_dict()
    second = kernelopt.report(kernelopt.optimize(model)).to_dict()
    assert first == second
    assert_same(run(model, [x]), expected)
    kernelopt.restore(model)
    assert [type(module) for module in model.modules()] == kinds
    assert model._compiled_call_impl is None
    assert_same(run(model, [x]), expected)


@pytest.mark.parametrize(
    "only",
    ["body*", ["body", "body.*"], lambda name, module: name.startswith("body")],
    ids=["pattern", "patterns", "function"],
)
def test_only(only):
    model = Block()
    report = check(model, torch.randn(2, 4, 9), only=only)
    assert [entry.name for entry in report.fused] == ["body.0 + body.1"]
    assert not report.replaced
    assert type(model.last) is nn.Conv1d


@pytest.mark.parametrize("only", [3, ["body", 3]])
def test_only_of_a_wrong_type(only):
    with pytest.raises(TypeError, match=r"kernelopt\.optimize\(\): expected only to be"):
        kernelopt.optimize(Block(), only=only)


def test_symbolic_trace():
    """torch.fx traces an optimized model as it traces the original: extractors of features and
    other tools begin with it."""
    x = torch.randn(2, 4, 9)
    model = Block().eval()
    expected = model(x)
    traced = torch.fx.symbolic_trace(kernelopt.optimize(model))
    targets = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert kernelopt.conv1d in targets
    torch.testing.assert_close(traced(x), expected)


def test_report(device):
    report = check(Block(), torch.randn(2, 4, 9, device=device))
    found = {(e.name, e.kind, e.action, e.op) for e in report.entries}
    assert ("body.0 + body.1", "Conv1d + ReLU", "fused", "conv1d") in found
    assert ("last", "conv1d + gelu", "fused", "conv1d") in found
    assert ("(model)", "a + b", "replaced", "add") in found
    assert all(e.location.startswith("test_mapping.py:") for e in report.operations)
    as_dict = report.to_dict()
    assert as_dict["fused"] == 2
    assert len(as_dict["entries"]) == len(report.entries)
    assert "Block: " in str(report)
    assert "body.0 + body.1" in str(report)


def test_report_of_a_model_that_is_not_optimized():
    model = Block()
    report = kernelopt.report(model)
    assert [e.op for e in report.fused] == ["conv1d"]
    assert report.graph == "off: not optimized"
    assert "optimize() would give: 1 replaced, 1 fused" in str(report)
    assert type(model.body) is nn.Sequential


@pytest.mark.parametrize("function", [kernelopt.optimize, kernelopt.restore, kernelopt.report])
def test_what_is_no_module_raises(function):
    message = rf"{function.__name__}\(\): expected model to be .*, got function"
    with pytest.raises(TypeError, match=message):
        function(run)
