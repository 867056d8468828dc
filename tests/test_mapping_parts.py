"""Models of which Dynamo captures one part after another, and errors in a later part."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

import kernelopt
from kernelopt.mapping import rewrite
from mapping_support import Apply, assert_same


@pytest.fixture(autouse=True)
def no_parts_known():
    """Dynamo does not capture a part again on which it has failed."""
    torch._dynamo.reset()


def first_part(x):
    x = x + x
    if x.sum() > 1e9:  # which ends the graph
        x = x + 1
    return x


def caught(self, x):
    x = first_part(x)
    try:
        return torch.relu(self.conv(x))
    except RuntimeError:
        return x


def raised(self, x):
    return torch.relu(self.conv(first_part(x)))


def pair(forward, **options):
    model = Apply(forward, conv=nn.Conv1d(4, 4, 1))
    return model, kernelopt.optimize(Apply(forward, conv=model.conv), **options)


RIGHT, WRONG = torch.randn(2, 4, 9), torch.randn(1, 3, 2)


@pytest.mark.parametrize("inputs", [(RIGHT, WRONG, RIGHT), (WRONG, RIGHT, WRONG)])
def test_an_error_that_the_model_catches(inputs, capfd):
    suppressed = torch._dynamo.config.suppress_errors
    original, optimized = pair(caught)
    for x in inputs:
        assert_same([optimized(x)], [original(x)])
        assert torch._dynamo.config.suppress_errors == suppressed
    report = kernelopt.report(optimized)
    assert "rewritten" in report.graph
    assert "; Dynamo failed on a part: TorchRuntimeError" in report.graph
    assert [entry.op for entry in report.fused] == ["conv1d"] * (inputs[0] is RIGHT)
    assert "WON'T CONVERT" not in capfd.readouterr().err
    assert not logging.getLogger("torch._dynamo.convert_frame").filters


@pytest.mark.parametrize("first", [RIGHT, WRONG])
def test_an_error_that_the_model_does_not_catch_is_not_dynamos(first):
    original, optimized = pair(raised)
    if first is RIGHT:
        assert_same([optimized(first)], [original(first)])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="channels") as caught_error:
            optimized(WRONG)
        assert not isinstance(caught_error.value, torch._dynamo.exc.TorchDynamoException)
    assert_same([optimized(RIGHT)], [original(RIGHT)])


def test_strict_raises_what_dynamo_raises():
    _, optimized = pair(caught, strict=True)
    with pytest.raises(torch._dynamo.exc.TorchRuntimeError):
        optimized(WRONG)


def test_a_failure_in_a_later_part_is_reported(monkeypatch):
    right = rewrite.rewrite

    def fail(graph_module, **options):
        if any("relu" in str(node.target) for node in graph_module.graph.nodes):
            raise NotImplementedError("no rewriting today")
        return right(graph_module, **options)

    monkeypatch.setattr(rewrite, "rewrite", fail)
    original, optimized = pair(raised)
    for x in (RIGHT, RIGHT, -RIGHT):
        assert_same([optimized(x)], [original(x)])
    torch._dynamo.reset()
    report = kernelopt.report(optimized)
    assert [entry.op for entry in report.operations] == ["add"]
    assert "; Dynamo failed on a part: BackendCompilerFailed" in report.graph
    assert "no rewriting today" in report.graph
    _, strict = pair(raised, strict=True)
    with pytest.raises(RuntimeError, match="no rewriting today"):
        strict(RIGHT)
