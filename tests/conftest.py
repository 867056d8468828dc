"""Fixtures of every test file, the ``gpu`` marker, and the conformance count."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import kernelopt
from problem_files import HEADER
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


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where times are not what is tested, ``kernelopt run`` measures a few milliseconds each."""
    from kernelopt.cli import solve, timing

    monkeypatch.setattr(solve, "measure", functools.partial(timing.measure, seconds=0.003))


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], short_times: None
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Runs ``kernelopt run`` on a file's text: exit status, JSON, and what it printed."""
    from kernelopt.cli import main

    def run(text, *options, name="problem.py", seeds=1, device="cpu"):
        path = tmp_path / name
        path.write_text(HEADER + text)
        target = tmp_path / "out.json"
        words = ["run", str(path), "--device", device, "--seeds", str(seeds), *options]
        status = main([*words, "--json", str(target)])
        captured = capsys.readouterr()
        document = json.loads(target.read_text())
        assert document["exit_status"] == status
        return status, document["results"][0], captured.out + captured.err

    return run


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


def _load_aot_inductor(program: torch.export.ExportedProgram, folder: Path) -> Callable[..., Any]:
    """An exported program through AOTInductor: compiled to a package and loaded from it."""
    with torch._inductor.config.patch("aot_inductor.compile_wrapper_opt_level", "O0"):
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=str(folder / "model.pt2")
        )
    return torch._inductor.aoti_load_package(package)


_PLAIN_PACKAGE = """
import sys, torch
class Plain(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) + 1
program = torch.export.export(Plain(), (torch.ones(4),))
package = torch._inductor.aoti_compile_and_package(program, package_path=sys.argv[1])
print(torch._inductor.aoti_load_package(package)(torch.ones(4)).sum().item())
"""


@pytest.fixture(scope="session")
def aot_inductor(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """AOTInductor, where torch's own can load a package that holds none of our ops: on some
    installations that crashes the process."""
    package = tmp_path_factory.mktemp("plain") / "model.pt2"
    command = [sys.executable, "-c", _PLAIN_PACKAGE, str(package)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.stdout.strip() != "8.0":
        pytest.skip(
            "torch's AOTInductor cannot load a package without kernelopt's ops here: "
            f"exit status {result.returncode}"
        )
    return _load_aot_inductor
