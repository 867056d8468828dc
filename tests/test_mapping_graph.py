"""The graph layer of ``kernelopt.optimize``, and ``torch.compile(backend="kernelopt")``."""

from __future__ import annotations

import copy
import gc
import operator
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import kernelopt
from kernelopt.mapping.backend import compile_with_kernelopt, register
from kernelopt.mapping.nodes import may_have_effects
from kernelopt.mapping.rewrite import rewrite


class Net(nn.Module):
    """A convolution and GELU, a depthwise and 1x1 convolution as attributes, and an addition."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.pointwise = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = F.gelu(self.stem(x))
        x = x + self.pointwise(F.silu(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


class Branch(nn.Module):
    """The path depends on the values, which ends the graph that Dynamo captures."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        if x.sum() > 0:
            x = x * 2
        y = self.net(x)
        return y + y if y.sum() > 0 else y - 1


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def images(device, n=2, size=6):
    return torch.randn(n, 3, size, size, device=device, dtype=torch.float64)


def pair(model, device):
    original = model.to(device, torch.float64)
    return original, kernelopt.optimize(copy.deepcopy(original))


def ops(entries):
    return [entry.op for entry in entries]


def train_step(model, x):
    output = model(x)
    output.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    return output, *gradients


def test_net(device):
    original, optimized = pair(Net(), device)
    x = images(device)
    close(train_step(optimized, x), train_step(original, x))
    report = kernelopt.report(optimized)
    fused = {(entry.name, entry.op) for entry in report.fused}
    assert fused == {("stem", "pointwise_conv2d"), ("depthwise + pointwise", "separable_conv2d")}
    assert ("(model)", "add") in {(entry.name, entry.op) for entry in report.replaced}


def test_data_dependent_branch(device):
    original, optimized = pair(Branch(), device)
    for sign in (1, -1):
        x = sign * images(device).abs()
        close(train_step(optimized, x), train_step(original, x))
    assert {"pointwise_conv2d", "separable_conv2d"} <= set(ops(kernelopt.report(optimized).fused))


def test_training_moves_the_parameters_of_the_model(device):
    original, optimized = pair(Net(), device)
    x = images(device)
    for model in (original, optimized):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    close(optimized.state_dict(), original.state_dict())


def test_other_shapes_and_dtypes_follow(device):
    original, optimized = pair(Net(), device)
    for n, size in ((2, 6), (3, 9), (5, 7), (0, 6)):
        x = images(device, n, size)
        close(optimized(x), original(x))
    close(optimized.float()(images(device).float()), original.float()(images(device).float()), 1)
    assert kernelopt.report(optimized).graph.startswith("rewritten")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype, device):
    original, optimized = pair(Net(), device)
    original.float()
    optimized.float()
    x = images(device).float()
    with torch.autocast(device, dtype):
        actual, expected = train_step(optimized, x), train_step(original, x)
    assert [a.dtype for a in actual] == [e.dtype for e in expected]
    for mine, reference in zip(actual, expected, strict=True):
        close(mine.float(), reference.float(), 0.1)
    assert "separable_conv2d" in ops(kernelopt.report(optimized).fused)


def test_nothing_to_rewrite_is_left_uncompiled(device):
    class Plain(nn.Module):
        def forward(self, a, b):
            return a * b, a + 1

    a = images(device)
    model = kernelopt.optimize(Plain())
    close(model(a, a), (a * a, a + 1))
    assert model._compiled_call_impl is None
    report = kernelopt.report(model)
    assert report.graph == "off: nothing to rewrite"
    assert [entry.reason for entry in report.kept] == ["an operand is a number"]


def test_graph_off(device):
    model = kernelopt.optimize(Net().to(device), graph=False)
    model(images(device).float())
    assert model._compiled_call_impl is None
    assert not kernelopt.report(model).fused
    assert len(kernelopt.report(model).replaced) == 3


class Parts(nn.Module):
    """Everything held as an attribute, one activation in three places."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.pointwise = nn.Conv2d(4, 5, 1)
        self.act = nn.GELU()

    def forward(self, x):
        x = self.act(self.conv(x))
        return self.act(self.pointwise(self.act(self.depthwise(x))))


def test_modules_as_attributes_are_fused(device):
    original, optimized = pair(Parts(), device)
    x = images(device)
    close(train_step(optimized, x), train_step(original, x))
    report = kernelopt.report(optimized)
    assert {(entry.name, entry.op) for entry in report.entries} == {
        ("conv + act", "pointwise_conv2d"),
        ("depthwise + act + pointwise + act", "separable_conv2d"),
    }


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointed_parts_draw_the_same_random_numbers_again(use_reentrant, device):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Parts()
            self.dropout = nn.Dropout(0.5)

        def part(self, x):
            return self.dropout(self.net(x))

        def forward(self, x):
            return checkpoint(self.part, x, use_reentrant=use_reentrant)

    original, optimized = pair(Checkpointed(), device)
    x = images(device).requires_grad_()
    results = []
    for model in (optimized, original):
        torch.manual_seed(0)
        results.append(train_step(model, x))
    close(*results)
    assert "separable_conv2d" in ops(kernelopt.report(optimized).fused)


@pytest.mark.parametrize("how", ["module", "part", "script"])
def test_what_the_user_compiled_stays_compiled(how):
    model = Branch()
    if how == "module":
        model.compile(backend="eager")
    elif how == "part":
        model.net = torch.compile(model.net, backend="eager")
    else:
        model.net = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))
    compiled = model._compiled_call_impl
    kernelopt.optimize(model)
    assert model._compiled_call_impl is compiled
    assert "compiled already" in kernelopt.report(model).graph
    kernelopt.restore(model)
    assert model._compiled_call_impl is compiled


def test_convolution_used_twice_is_not_fused(device):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(3, 4, 3)

        def forward(self, x):
            z = self.conv(x)
            return F.relu(z) * z

    original, optimized = pair(Twice(), device)
    x = images(device)[..., 0]
    close(train_step(optimized, x), train_step(original, x))
    assert not kernelopt.report(optimized).fused


def test_functional_calls(device):
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 3, 3))
            self.v = nn.Parameter(torch.randn(4, 2, 3))

        def forward(self, x):
            y = F.conv1d(x, self.w, padding="same").relu_()
            y = F.conv_transpose1d(y, self.v, stride=2, output_padding=1)
            return torch.nn.functional.silu(y)

    original, optimized = pair(Functional(), device)
    x = images(device)[..., 0]
    close(train_step(optimized, x), train_step(original, x))
    assert ops(kernelopt.report(optimized).fused) == ["conv1d", "conv_transpose1d"]
    unbatched = x[0]
    close(optimized(unbatched), original(unbatched))


def test_errors_are_torchs(device):
    _, optimized = pair(Net(), device)
    wrong = torch.randn(2, 5, 6, 6, device=device, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="expected"):
        optimized(wrong)
    optimized(images(device))
    with pytest.raises(RuntimeError, match="expected"):
        optimized(wrong)
    assert kernelopt.report(optimized).graph.startswith("rewritten")


def test_failure_of_dynamo(monkeypatch, device):
    def fail(*args, **kwargs):
        raise NotImplementedError("no rewriting today")

    monkeypatch.setattr("kernelopt.mapping.rewrite.rewrite", fail)
    original, optimized = pair(Net(), device)
    close(optimized(images(device) * 0), original(images(device) * 0))
    assert "no rewriting today" in kernelopt.report(optimized).graph
    assert optimized._compiled_call_impl is None
    strict = kernelopt.optimize(copy.deepcopy(original), strict=True)
    with pytest.raises(RuntimeError, match="no rewriting today"):
        strict(images(device))


class Contexts(nn.Module):
    """Contexts as decorators of a module, which Dynamo fails on with an error of Python's."""

    def __init__(self, context):
        super().__init__()
        self.net = Net()
        self.context = context

    def forward(self, x):
        return self.context(self.net)(x)


@pytest.mark.parametrize(
    "context", [torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)]
)
def test_errors_that_dynamo_does_not_own_up_to(context, device):
    original, optimized = pair(Contexts(context), device)
    x = images(device)
    close(optimized(x), original(x))


def test_transforms_take_the_model_as_it_is(device):
    original, optimized = pair(Net(), device)
    x = images(device)
    state = dict(original.named_parameters())

    def loss(parameters, x, model):
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    for transform in (
        lambda model: torch.func.grad(loss)(state, x, model),
        lambda model: torch.func.vmap(model)(x[:, None]),
        lambda model: torch.func.jvp(model, (x,), (x,)),
        lambda model: torch.compile(model, backend="eager", fullgraph=True)(x),
        lambda model: torch.export.export(model, (x,)).module()(x),
        lambda model: torch.jit.trace(model, (x,))(x),
    ):
        close(transform(optimized), transform(original))


def test_inner_optimized_model(device):
    original = Branch().to(device, torch.float64)
    outer = copy.deepcopy(original)
    kernelopt.optimize(outer.net)
    kernelopt.optimize(outer)
    x = images(device)
    close(outer(x), original(x))
    kernelopt.restore(outer)
    close(outer(x), original(x))


def test_model_is_freed():
    model = kernelopt.optimize(Branch().double())
    model(images("cpu"))
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_more_models_than_the_recompile_limit():
    for index in range(torch._dynamo.config.recompile_limit + 2):
        model = kernelopt.optimize(Net().double())
        model(images("cpu"))
        assert kernelopt.report(model).graph.startswith("rewritten"), index


def test_options_of_dynamo_are_left_as_they_were():
    before = torch._dynamo.config.skip_nnmodule_hook_guards
    kernelopt.optimize(Net().double())(images("cpu"))
    assert torch._dynamo.config.skip_nnmodule_hook_guards == before


def traced(function, *inputs):
    """The graph that Dynamo captures of a function."""
    graphs = []

    def backend(graph_module, example_inputs):
        graphs.append(graph_module)
        return graph_module.forward

    torch.compile(function, backend=backend, fullgraph=True)(*inputs)
    return graphs[0]


def test_effects():
    def function(x, y):
        x.add_(1)
        y = F.relu(y, True)
        y = torch.nn.functional.dropout(y, 0.5, True)
        with torch.autocast("cpu"):
            y = y @ y
        x += y
        x[0] = 1
        return torch.mul(x, y, out=x)

    graph = traced(function, torch.randn(3, 3), torch.randn(3, 3)).graph
    calls = [node for node in graph.nodes if node.op.startswith("call")]
    assert [node.target for node in calls if not may_have_effects(node)] == [operator.matmul]


# The torch.compile backend


def test_rewrite_for_a_compiler_leaves_additions_and_lone_gelus():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(3, 4, 3)

        def forward(self, x):
            y = F.gelu(self.conv(x))
            return F.gelu(y + y)

    graph_module = traced(Mixed(), torch.randn(2, 3, 9))
    found = rewrite(graph_module, compiled=True)
    assert [(entry.action, entry.op) for entry in found] == [
        ("fused", "conv1d"),
        ("kept", ""),
        ("kept", ""),
    ]
    targets = {node.target for node in graph_module.graph.nodes}
    assert kernelopt.conv1d in targets
    assert F.gelu in targets
    assert torch.conv1d not in targets


def test_backend_is_known_by_name():
    register()
    register()
    assert "kernelopt" in torch._dynamo.list_backends()


def test_compiled_with_inductor(device):
    register()
    original = Net().to(device, torch.float64)
    compiled = torch.compile(original, backend="kernelopt")
    for n, size in ((2, 6), (3, 9), (4, 8)):
        x = images(device, n, size)
        actual = train_step(compiled, x)
        close(actual, train_step(original, x))
    with torch.no_grad():
        x = images(device)
        close(compiled(x), original(x))


def test_compiled_with_mode_options_and_autocast(device):
    original = Net().to(device)
    x = images(device).float()
    expected = original(x)
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        compiled = torch.compile(
            original, backend=compile_with_kernelopt, options={"max_autotune": False}
        )
        actual = compiled(x)
    assert actual.dtype == torch.bfloat16
    close(actual.float(), expected, 0.1)
