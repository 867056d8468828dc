"""Which kernel a call runs, read off torch.profiler."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from .peers import ATEN

_OWN_KERNEL = re.compile(
    r"(?:void )?kernelopt::(?:\(anonymous namespace\)::|\w+::)*(\w+)(?=[<(]|$)"
)
_TRANSFERS = ("Memcpy", "Memset")


def kernel_path(times_us: dict[str, float]) -> str:
    """The path that a call's kernels show: the longest of kernelopt's kernels, or "aten".

    A kernel that is not kernelopt's and takes longer than each of kernelopt's makes it "aten".
    """
    launches = {name: time for name, time in times_us.items() if not name.startswith(_TRANSFERS)}
    if not launches:
        return ATEN
    longest = max(launches, key=lambda name: launches[name])
    own = _OWN_KERNEL.match(longest)
    return own.group(1) if own else ATEN


def find_path(call: Callable[[], Any], device: torch.device) -> str:
    """Runs ``call`` under the profiler and names its path.

    On a CPU "aten" where an ATen convolution runs, otherwise "cpu", kernelopt's own loop.
    """
    call()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
    activities = [ProfilerActivity.CPU]
    if on_gpu:
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        call()
        if on_gpu:
            torch.cuda.synchronize(device)
    if not on_gpu:
        names = [event.name for event in profiler.events()]
        return (
            ATEN if any(name.startswith("aten::") and "conv" in name for name in names) else "cpu"
        )
    times: defaultdict[str, float] = defaultdict(float)
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA:
            times[event.name] += event.time_range.elapsed_us()
    return kernel_path(times)
