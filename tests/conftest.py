"""Fixtures of every test file."""

from __future__ import annotations

import sys

import pytest
import torch

import kernelopt
from support import case_id


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test of an :class:`op_suite.OpSuite` for each case of its class."""
    for fixture in ("case", "gradient_case", "example"):
        if fixture in metafunc.fixturenames and hasattr(metafunc.cls, f"{fixture}s"):
            metafunc.parametrize(fixture, getattr(metafunc.cls, f"{fixture}s"), ids=case_id)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Every device the suite runs on; ``-m gpu`` picks the CUDA half."""
    if request.param == "cuda":
        reason = kernelopt.unavailable_reason()
        if reason:
            pytest.skip(reason)
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
