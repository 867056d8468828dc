"""Which kernels cases launch."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from conformance.check import float32_precision, run
from conformance.ops import Case


def is_hopper() -> bool:
    return torch.cuda.get_device_capability() == (9, 0)


def assert_launched(cases: list[Case], *names: str, backward: bool = False) -> None:
    """Kernels of these names run for some of the cases."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for case in cases:
            with float32_precision(case.precision):
                output = run(case, case.op.ours, None)["output"]
                if backward:
                    run(case, case.op.ours, torch.ones_like(output))
    launched = {event.key for event in profiler.key_averages()}
    for name in names:
        assert any(name in kernel for kernel in launched), (name, launched)
