"""PyTorch's own OpInfo and ModuleInfo inputs through kernelopt's functions and modules, each varied
in layout, size and values, forward and backward, against float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from conformance.check import check, check_delegated, random_grad, run
from conformance.in_range import InRangeProducts
from conformance.ops import OPS, Case
from conformance.samples import ENTRIES, op_info, reference_samples, samples
from conformance.variants import VARIANTS, vary
from kernelopt import Precision

FLOATING = {
    "float32": (torch.float32, Precision.DEFAULT),
    "float32-ieee": (torch.float32, Precision.IEEE),
    "float16": (torch.float16, Precision.DEFAULT),
    "bfloat16": (torch.bfloat16, Precision.DEFAULT),
    "float64": (torch.float64, Precision.IEEE),
}
# On the CPU float32 is always IEEE.
RUNS = [pytest.param("cpu", dtype) for dtype in FLOATING if dtype != "float32-ieee"] + [
    pytest.param("cuda", dtype, marks=pytest.mark.gpu) for dtype in FLOATING
]
# There the modules, which call the functions, run in torch's own dtypes for their samples.
SAMPLE_RUNS = [
    pytest.param(entry, *run.values, marks=run.marks)
    for entry in ENTRIES
    for run in RUNS
    if not (entry.startswith("nn.") and run.values in (("cpu", "float16"), ("cpu", "bfloat16")))
]
DELEGATED = (torch.complex64, torch.complex128, torch.int64, torch.int32, torch.uint8, torch.bool)


def _check_all(cases: list[Case], function: Callable[[Case], None]) -> int:
    failures = []
    for case in cases:
        try:
            function(case)
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error} [{case}]")
    shown = "\n".join(failures[:5])
    assert not failures, f"{len(failures)} of {len(cases)} samples are wrong:\n{shown}"
    return len(cases)


def _record(request: pytest.FixtureRequest, device: str, op: str, dtype: str, count: int) -> None:
    row = {"device": device, "op": op, "dtype": dtype, "samples": count}
    request.node.user_properties.append(("conformance", row))


def cases_of(entry: str, dtype: str, variant: str, device: str) -> list[Case]:
    """Every case of a variant of an entry's samples, on a device.

    The CPU's convolutions are ATen's. So it leaves out their largest variants and, to bound the
    time, every second sample of the dtypes but float32; and Inf and NaN in the 16-bit dtypes, which
    oneDNN multiplies by zeros of its own.
    """
    torch_dtype, precision = FLOATING[dtype]
    torch.manual_seed(0)
    chosen = samples(entry, torch_dtype)
    if device == "cpu":
        precision = Precision.IEEE
        left_out = ["many_rows", "many_channels"]
        if torch_dtype.itemsize == 2:
            left_out.append("not_finite")
        if torch_dtype != torch.float32:
            chosen = chosen[::2]
        if variant in left_out and not chosen[0].op.elementwise:
            return []
    cases = []
    for sample in chosen:
        moved = replace(sample.map(lambda tensor: tensor.to(device)), precision=precision)
        cases += vary(moved, variant)
    return cases


@pytest.mark.parametrize("entry", [name for name in ENTRIES if name not in ("add", "gelu")])
def test_sums_of_in_range_products_are_convolutions(entry: str) -> None:
    for case in samples(entry, torch.float64):
        output = run(case, case.op.reference, None)["output"]
        grad = random_grad(case, output)
        expected = run(case, case.op.reference, grad)
        with InRangeProducts():
            torch.testing.assert_close(run(case, case.op.reference, grad), expected)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("entry", "device", "dtype"), SAMPLE_RUNS)
def test_samples(request, entry: str, device: str, dtype: str, variant: str) -> None:
    cases = cases_of(entry, dtype, variant, device)
    _record(request, device, entry, dtype, _check_all(cases, check))


@pytest.mark.parametrize(("device", "dtype"), RUNS)
def test_reference_inputs_of_add(request, device: str, dtype: str) -> None:
    torch_dtype, precision = FLOATING[dtype]
    cases, delegated = [], []
    for sample in reference_samples("add", torch_dtype):
        operands = [
            _with_strides_on(operand, device) if isinstance(operand, torch.Tensor) else operand
            for operand in sample.tensors
        ]
        numbers = not all(isinstance(operand, torch.Tensor) for operand in operands)
        moved = replace(sample.with_tensors(*operands), precision=precision)
        (delegated if numbers else cases).append(moved)
    count = _check_all(cases, check) + _check_all(delegated, check_delegated)
    _record(request, device, "add", dtype, count)


def _with_strides_on(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """A tensor's copy on a device, gaps and offset included."""
    storage = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage()).to(device)
    return storage.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


@pytest.mark.parametrize("dtype", DELEGATED, ids=str)
@pytest.mark.parametrize("name", OPS)
def test_other_dtypes_are_torchs(request, name: str, dtype: torch.dtype, device: str) -> None:
    sampled = dtype if dtype in op_info(name).supported_dtypes(device) else torch.float32
    cases = [case.map(lambda tensor: tensor.to(device, dtype)) for case in samples(name, sampled)]
    count = _check_all(cases, check_delegated)
    _record(request, device, name, str(dtype).removeprefix("torch."), count)
