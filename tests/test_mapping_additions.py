"""Additions in the graphs of ``kernelopt.optimize``: which are replaced, and which stay."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import nn

import kernelopt
from mapping_support import Apply, assert_same, ops


@pytest.mark.parametrize(
    "add",
    [
        lambda a, b: torch.add(a, other=b),
        lambda a, b: torch.add(other=b, input=a, alpha=2),
        lambda a, b: a.add(other=b),
    ],
)
def test_operands_given_by_name(add, device):
    a, b = torch.randn(2, 3, 4, device=device, dtype=torch.float64)
    model = kernelopt.optimize(Apply(lambda self, a, b: add(a, b)))
    assert_same([model(a, b)], [add(a, b)])
    assert ops(kernelopt.report(model).entries) == ["add"]


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (torch.ones(3), torch.ones(3, dtype=torch.float16), "dtypes differ"),
        (torch.ones(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64), "int64"),
        (torch.ones(3), 2.0, "number"),
        (torch.ones(3, dtype=torch.complex64), torch.ones(3, dtype=torch.complex64), "complex64"),
    ],
)
def test_additions_that_stay(a, b, reason):
    model = kernelopt.optimize(Apply(lambda self, a, b: a + b))
    torch.testing.assert_close(model(a, b), a + b)
    assert reason in kernelopt.report(model).kept[0].reason


@pytest.mark.parametrize(
    "add", [operator.iadd, lambda a, b: a.add_(other=b), lambda a, b: a.__iadd__(b)]
)
def test_additions_in_place_are_listed(add, device):
    x = torch.randn(2, 3, 4, device=device)
    model = kernelopt.optimize(Apply(lambda self, x: add(x * 2, x)))
    assert_same([model(x)], [x * 2 + x])
    entries = kernelopt.report(model).entries
    assert [(e.kind, e.action, e.reason) for e in entries] == [("a += b", "kept", "works in place")]


def test_counters_are_not_listed():
    model = kernelopt.optimize(Apply(lambda self, x: self.norm(x), norm=nn.BatchNorm1d(3)))
    model(torch.randn(2, 3, 4))
    assert "a += b" not in {entry.kind for entry in kernelopt.report(model).entries}
