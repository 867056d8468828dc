"""Fixtures of every test file, the ``gpu`` marker, and the conformance count."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
import torch

import kernelopt
from support import case_id


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test of an :class:`op_suite.OpSuite` for each case of its class."""
    for fixture in ("case", "gradient_case", "example"):
        if fixture in metafunc.fixturenames and hasattr(metafunc.cls, f"{fixture}s"):
            metafunc.parametrize(fixture, getattr(metafunc.cls, f"{fixture}s"), ids=case_id)


def pytest_configure(config: pytest.Config) -> None:
    # The samples are small: more threads than this spend their time waiting for each other.
    torch.set_num_threads(min(4, torch.get_num_threads()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = kernelopt.unavailable_reason()
    if reason:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {reason}"))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Every device the suite runs on; ``-m gpu`` picks the CUDA half."""
    return request.param


@pytest.fixture(autouse=True)
def _repeatable():
    """Every test begins with the same random numbers and with no compiled graphs."""
    torch.manual_seed(0)
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@pytest.fixture
def ieee():
    """Float32 convolutions without TF32, as torch's own setting asks for it."""
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    yield
    torch.backends.cudnn.conv.fp32_precision = before


def _rows(terminalreporter: pytest.TerminalReporter, name: str) -> list[dict]:
    """What passed tests recorded under a name in their user properties."""
    return [
        value
        for report in terminalreporter.stats.get("passed", [])
        for key, value in getattr(report, "user_properties", [])
        if key == name
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in _rows(terminalreporter, "conformance"):
        counts[row["device"], row["op"], row["dtype"]] += row["samples"]
    for device in sorted({key[0] for key in counts}):
        total = sum(count for key, count in counts.items() if key[0] == device)
        terminalreporter.section(f"conformance: {total} samples passed on {device}")
        for op in sorted({key[1] for key in counts if key[0] == device}):
            words = [
                f"{dtype} {counts[key]}"
                for key in sorted(counts)
                if key[:2] == (device, op)
                for dtype in [key[2]]
            ]
            terminalreporter.line(f"{op}: {', '.join(words)}")
    shares = _rows(terminalreporter, "own_kernels")
    if shares:
        terminalreporter.section("samples that ran on kernelopt's own kernels alone")
    for row in shares:
        terminalreporter.line(
            f"{row['op']} {row['dtype']}: {row['own']} of {row['samples']} "
            f"({row['own'] / row['samples']:.1%})"
        )
        for exception in row["exceptions"]:
            terminalreporter.line(f"    {exception}")
