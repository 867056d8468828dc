"""Host time of one call on tiny inputs: what a call costs before any kernel does anything."""

from __future__ import annotations

import functools
from typing import Any

import torch

from .calls import kernelopt_call, make_inputs, torch_call
from .cases import Case, add, convolution, gelu
from .timing import FULL, QUICK, Timer, host_us


def tiny_cases() -> dict[str, Case]:
    """One tiny case for each op."""
    cases = (
        add("tiny", (2, 8)),
        gelu("tiny", (2, 8)),
        convolution("conv1d", "tiny", (1, 8, 32), 8, 3, padding=1),
        convolution("conv_transpose1d", "tiny", (1, 8, 32), 8, 3, padding=1),
        convolution("depthwise_conv2d", "tiny", (1, 8, 8, 8), 8, 3, padding=1),
        convolution("pointwise_conv2d", "tiny", (1, 8, 8, 8), 8),
        convolution("separable_conv2d", "tiny", (1, 8, 8, 8), 8, 3, padding=1),
    )
    return {case.op: case for case in cases}


def measure_overhead(op: str, requires_grad: bool, timer: Timer, quick: bool) -> dict[str, Any]:
    """Milliseconds of host time per call, kernelopt's and eager's."""
    case = tiny_cases()[op]
    tensors = make_inputs(case, torch.float32, timer.device, seed=0)
    for tensor in tensors:
        tensor.requires_grad_(requires_grad)
    calls = {"kernelopt": kernelopt_call(case), "eager": torch_call(case)}
    times = host_us(
        {name: functools.partial(call, *tensors) for name, call in calls.items()},
        timer,
        QUICK if quick else FULL,
    )
    return {name: 1e-3 * us for name, us in times.items()}
