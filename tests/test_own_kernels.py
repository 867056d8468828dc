"""Which kernels a GPU really runs: torch.profiler names every one, for every conformance sample."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from conformance.check import float32_precision, random_grad, run
from conformance.ops import Case
from conformance.samples import ENTRIES
from conformance.variants import VARIANTS
from kernelopt._arguments import int_list
from test_conformance import FLOATING, cases_of

pytestmark = pytest.mark.gpu

MARKER = "spin_kernel"  # torch.cuda._sleep's, launched between samples to tell them apart
LEAST_SHARE = 0.95


def _kernels_of_each(cases: list[Case]) -> list[set[str]]:
    """The names of the kernels each case launches, forward and backward; memory copies and fills
    aside."""
    prepared = []
    for case in cases:
        with float32_precision(case.precision):
            output = run(case, case.op.ours, None)["output"]
        prepared.append((case, random_grad(case, output)))
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for case, grad_output in prepared:
            torch.cuda._sleep(1)
            with float32_precision(case.precision):
                run(case, case.op.ours, grad_output)
        torch.cuda.synchronize()
    events = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
    launched: list[set[str]] = []
    for event in sorted(events, key=lambda event: event.time_range.start):
        if MARKER in event.name:
            launched.append(set())
        elif not event.name.startswith(("Memset", "Memcpy")):
            launched[-1].add(event.name)
    assert len(launched) == len(cases)
    return launched


def _reason(case: Case) -> str:
    """Why a case may run a kernel of torch's; empty where it must not."""
    if case.options.get("padding") == "same":
        weight = case.tensors[1]
        assert weight is not None
        sizes = weight.shape[2:]
        dilations = int_list(case.op.name, "dilation", case.options.get("dilation", 1), len(sizes))
        if any(d * (k - 1) % 2 for d, k in zip(dilations, sizes, strict=True)):
            return "torch pads the input where padding='same' leaves an odd rest"
    return ""


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("entry", ENTRIES)
def test_share_of_own_kernels(request, entry: str, dtype: str) -> None:
    cases = [case for variant in VARIANTS for case in cases_of(entry, dtype, variant, "cuda")]
    exceptions = []
    unexplained = []
    for case, names in zip(cases, _kernels_of_each(cases), strict=True):
        foreign = sorted(name for name in names if "kernelopt::" not in name)
        if not foreign:
            continue
        if not _reason(case):
            unexplained.append(f"{case}: {foreign}")
        exceptions.append(f"{_reason(case)}: {case}: {foreign}")
    row = {
        "op": entry,
        "dtype": dtype,
        "samples": len(cases),
        "own": len(cases) - len(exceptions),
        "exceptions": exceptions,
    }
    request.node.user_properties.append(("own_kernels", row))
    shown = "\n".join(unexplained[:5])
    assert not unexplained, f"{len(unexplained)} of {len(cases)} ran other kernels:\n{shown}"
    assert row["own"] >= LEAST_SHARE * len(cases)
