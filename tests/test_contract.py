"""Every op in torch.ops.kernelopt has all its parts, and every family its rooms."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import kernelopt
from conformance.ops import OPS
from conformance.raw import op_names, raw_arguments
from support import CountGraphs

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
FAMILIES = sorted(path.name for path in CSRC.iterdir() if path.is_dir() and path.name != "common")
FORWARD = [name for name in op_names() if not name.endswith("_backward")]
LENGTHS = (17, 40, 131)


def _family(op: str) -> str:
    """The room an op's schema stands in."""
    sources = list(CSRC.glob(f"*/{op.removesuffix('_backward')}.cpp"))
    assert len(sources) == 1, f"expected {op} to have one csrc/<family>/<op>.cpp, got {sources}"
    return sources[0].parent.name


def _has_kernel(op: str, key: str, namespace: str = "kernelopt") -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"{namespace}::{op}", key)


def test_the_namespace_is_what_the_tests_know() -> None:
    assert sorted(OPS) == FORWARD
    assert all(f"{name}_backward" in op_names() for name in FORWARD)


@pytest.mark.parametrize("op", op_names())
def test_implementations(op: str) -> None:
    """CPU, CUDA, fake, autograd, batching, ATen path and decomposition."""
    keys = ["CPU", "Meta", "Autograd", "FuncTorchBatched"]
    if kernelopt.build_info()["cuda"] != "none":
        keys.append("CUDA")
    assert [key for key in keys if not _has_kernel(op, key)] == []
    assert _has_kernel(op, "CompositeExplicitAutograd", "kernelopt_aten")
    assert getattr(torch.ops.kernelopt, op).default in kernelopt.decompositions()


@pytest.mark.parametrize("op", FORWARD)
def test_public_function_and_pages(op: str) -> None:
    """A public function with a docstring, and a mention where its family is tested, measured and
    described."""
    family = _family(op)
    function = getattr(kernelopt, op)
    assert op in kernelopt.__all__
    for word in ("Args:", "Returns:", "Raises:"):
        assert word in function.__doc__
    for page in (
        f"tests/test_{family}.py",
        f"benchmarks/bench_{family}.py",
        f"docs/ops/{family}.md",
    ):
        assert op in (ROOT / page).read_text(), f"{page} does not mention {op}"


@pytest.mark.parametrize("family", FAMILIES)
def test_rooms(family: str) -> None:
    rooms = (
        f"python/kernelopt/ops/{family}.py",
        f"python/kernelopt/nn/{family}.py",
        f"tests/test_{family}.py",
        f"benchmarks/bench_{family}.py",
        f"docs/ops/{family}.md",
    )
    assert [room for room in rooms if not (ROOT / room).exists()] == []


def _included(header: Path) -> set[str]:
    """Everything a header includes, directly or through the project's own headers."""
    found: set[str] = set()
    pending = [header]
    while pending:
        for name in re.findall(r'#include\s+[<"]([^>"]+)[>"]', pending.pop().read_text()):
            if name not in found and (CSRC / name).exists():
                pending.append(CSRC / name)
            found.add(name)
    return found


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(path, id=str(path.relative_to(CSRC)))
        for path in sorted(CSRC.rglob("*"))
        if path.name.endswith(("_kernel.cuh", "_policy.h"))
    ],
)
def test_kernel_and_policy_headers_include_no_torch_header(header: Path) -> None:
    assert [
        name for name in _included(header) if name.startswith(("torch/", "ATen/", "c10/"))
    ] == []


def test_files_stay_readable() -> None:
    """Kernel files of about 400 lines at most, host files of 250, Python files of 450."""
    limits = {".cuh": 450, ".cu": 250, ".cpp": 250, ".h": 250, ".py": 450}
    files = [*CSRC.rglob("*"), *(ROOT / "python").rglob("*.py")]
    lengths = {path: len(path.read_text().splitlines()) for path in files if path.suffix in limits}
    too_long = {
        str(path.relative_to(ROOT)): length
        for path, length in lengths.items()
        if length >= limits[path.suffix]
    }
    assert too_long == {}


# One graph for every length


def _of_tensors(op: str) -> Callable[..., object]:
    """The op as a function of its tensors alone, in a list; its sizes follow them."""
    overload = getattr(torch.ops.kernelopt, op).default
    # A float is left at its default: as a variable, under dynamic=True, it would become an input.
    fixed = {name: v for name, v in raw_arguments(op).items() if not isinstance(v, float)}
    tensor_names = [name for name, v in fixed.items() if isinstance(v, torch.Tensor)]

    def function(tensors: list[torch.Tensor]) -> object:
        arguments = {**fixed, **dict(zip(tensor_names, tensors, strict=True))}
        if op == "add_backward":
            arguments["self_size"] = list(tensors[0].shape)
            arguments["other_size"] = list(tensors[0].shape[1:])
        return overload(**arguments)

    return function


def _graphs(op: str, requires_grad: bool, dynamic: bool | None) -> int:
    count = CountGraphs()
    compiled = torch.compile(_of_tensors(op), backend=count, dynamic=dynamic, fullgraph=True)
    for length in LENGTHS:
        arguments = raw_arguments(op, length, requires_grad).values()
        result = compiled([value for value in arguments if isinstance(value, torch.Tensor)])
        if requires_grad:
            result.sum().backward()
    return count.count


def _graph_cases() -> list[tuple[str, bool]]:
    return [(op, False) for op in op_names()] + [(op, True) for op in FORWARD]


@pytest.mark.parametrize(("op", "requires_grad"), _graph_cases())
def test_one_graph_for_three_lengths(op: str, requires_grad: bool) -> None:
    assert _graphs(op, requires_grad, dynamic=True) == 1


@pytest.mark.parametrize(("op", "requires_grad"), _graph_cases())
def test_one_recompile_under_automatic_dynamic_shapes(op: str, requires_grad: bool) -> None:
    assert _graphs(op, requires_grad, dynamic=None) <= 2
