"""Device time of a call, the rates of the card, and host time of a call.

On a GPU the L2 cache is flushed before each trial and the median is taken. A launch is timed in one
of two ways, chosen by the floor of the case, so alike for kernelopt and every peer:

* floor of 50 us or more: CUDA events around one call, behind a short sleep on the device, so that
  the host has enqueued the call before the device reaches it;
* below: ten calls, each on its own inputs and so cold in L2, captured in one CUDA graph; CUDA
  events around its replay, the time divided by ten.

A trial in which the host was late all the same is left out, and the next ones sleep longer.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .floors import Rates

GRAPH_BELOW_MS = 0.05
CALLS_PER_GRAPH = 10
_CYCLES_PER_MS = 1_900_000
_MAX_SLEEP_MS = 10.0

Thunk = Callable[[], Any]


@dataclass(frozen=True)
class Effort:
    """How long a measurement may take: trials until the time is used up, within bounds."""

    seconds: float
    min_trials: int
    max_trials: int

    def trials(self, trial_ms: float) -> int:
        wanted = int(1e3 * self.seconds / max(trial_ms, 1e-3))
        return max(self.min_trials, min(self.max_trials, wanted))


QUICK = Effort(0.03, 5, 15)
FULL = Effort(0.2, 9, 50)


class CpuTimer:
    """Wall time of calls on the CPU."""

    capture_failed = False

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def sets(self, floor_ms: float) -> int:
        return 1

    def synchronize(self) -> None:
        """The CPU is always done."""

    def time(self, calls: list[Thunk], effort: Effort) -> float:
        """Milliseconds of one call, the median."""
        call = calls[0]
        call()
        begin = time.perf_counter()
        call()
        trials = effort.trials(1e3 * (time.perf_counter() - begin))
        samples = []
        for _ in range(trials):
            begin = time.perf_counter()
            call()
            samples.append(1e3 * (time.perf_counter() - begin))
        return statistics.median(samples)

    def copy_gbps(self) -> float:
        source = torch.ones(1 << 24)
        target = torch.empty_like(source)
        return 2 * source.nbytes / self.time([lambda: target.copy_(source)], QUICK) / 1e6

    def matmul_tflops(self, dtype: torch.dtype) -> float:
        size = 512
        a, b = (torch.randn(size, size, dtype=dtype) for _ in range(2))
        return 2 * size**3 / self.time([lambda: a @ b], QUICK) / 1e9


class CudaTimer:
    """Device time of calls on a GPU. Everything it times runs on its own stream."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.capture_failed = False
        self.stream = torch.cuda.Stream(device)
        torch.cuda.set_stream(self.stream)
        l2_bytes = torch.cuda.get_device_properties(device).L2_cache_size
        self._flush = torch.empty(max(2 * l2_bytes, 1 << 26), dtype=torch.uint8, device=device)

    def sets(self, floor_ms: float) -> int:
        """How many sets of inputs a case with this floor is timed on."""
        return CALLS_PER_GRAPH if floor_ms < GRAPH_BELOW_MS else 1

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.device)

    def time(self, calls: list[Thunk], effort: Effort) -> float:
        """Milliseconds of one call, the median; several calls are captured in one graph."""
        for call in calls:
            call()
        for _ in range(2):
            calls[0]()
        self.synchronize()
        if len(calls) == 1:
            return self._median(calls[0], effort)
        graph, outputs = self._capture(calls)
        try:
            graph.replay()
            return self._median(graph.replay, effort) / len(calls)
        finally:
            self.synchronize()
            del outputs
            graph.reset()

    def _capture(self, calls: list[Thunk]) -> tuple[torch.cuda.CUDAGraph, list[Any]]:
        # The outputs are kept until the replays are over, so that no two calls write to one place.
        # After a capture that fails, the allocator may go on serving from the graph's own pool.
        graph = torch.cuda.CUDAGraph()
        self.capture_failed = True
        graph.capture_begin()
        outputs = [call() for call in calls]
        graph.capture_end()
        self.capture_failed = False
        return graph, outputs

    def _median(self, call: Thunk, effort: Effort) -> float:
        begin = time.perf_counter()
        call()
        host_ms = 1e3 * (time.perf_counter() - begin)
        self.synchronize()
        total_ms = 1e3 * (time.perf_counter() - begin)
        sleep_ms = min(2.0, 0.1 + 2 * host_ms)
        trials = effort.trials(total_ms + sleep_ms)
        events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        late = 0
        while len(events) < trials:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._flush.zero_()
            torch.cuda._sleep(int(sleep_ms * _CYCLES_PER_MS))
            start.record()
            call()
            end.record()
            # Where the device is past the start by now, it may have waited for the host.
            if late < trials and start.query():
                late += 1
                sleep_ms = min(_MAX_SLEEP_MS, 2 * sleep_ms)
            else:
                events.append((start, end))
        self.synchronize()
        return statistics.median(start.elapsed_time(end) for start, end in events)

    def copy_gbps(self) -> float:
        """Bytes read plus bytes written per second of a large copy on the device."""
        source = torch.ones(1 << 30, dtype=torch.float32, device=self.device)
        target = torch.empty_like(source)
        return 2 * source.nbytes / self.time([lambda: target.copy_(source)], FULL) / 1e6

    def matmul_tflops(self, dtype: torch.dtype) -> float:
        """FLOPs of a large square product of random matrices, per second."""
        size = 4096 if dtype == torch.float32 else 8192
        a, b = (torch.randn(size, size, dtype=dtype, device=self.device) for _ in range(2))
        product = torch.empty_like(a)
        call = [lambda: torch.matmul(a, b, out=product)]
        return 2 * size**3 / self.time(call, FULL) / 1e9


Timer = CpuTimer | CudaTimer


def make_timer(device: torch.device) -> Timer:
    return CudaTimer(device) if device.type == "cuda" else CpuTimer(device)


def measure_rates(timer: Timer) -> Rates:
    """Copy bandwidth, the rate of a bfloat16 product, and that of a strict float32 product."""
    # cuBLAS computes float32 products without tensor cores unless it is told otherwise.
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return Rates(
            copy_gbps=round(timer.copy_gbps(), 1),
            tensor_tflops=round(timer.matmul_tflops(torch.bfloat16), 3),
            fp32_tflops=round(timer.matmul_tflops(torch.float32), 3),
        )
    finally:
        torch.set_float32_matmul_precision(precision)


def host_us(calls: dict[str, Thunk], timer: Timer, effort: Effort) -> dict[str, float]:
    """Microseconds the host spends in one call of each.

    Whatever disturbs a host only ever adds to a time, and its clock drifts: so the calls take turns
    in short rounds, every other one in reverse, and of a call's rounds the fastest tenth tells its
    time, by its slowest member. The garbage collector is off. A block of calls is short enough that
    the launch queue of a GPU does not fill up.
    """
    block, rounds = 20, max(20, 8 * effort.max_trials)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    turns = list(calls.items())
    collecting = gc.isenabled()
    gc.disable()
    try:
        for call in calls.values():
            for _ in range(5 * block):
                call()
        for _ in range(rounds):
            for name, call in turns:
                timer.synchronize()
                begin = time.perf_counter()
                for _ in range(block):
                    call()
                samples[name].append(1e6 * (time.perf_counter() - begin) / block)
            turns.reverse()
        timer.synchronize()
    finally:
        if collecting:
            gc.enable()
    return {name: sorted(times)[len(times) // 10] for name, times in samples.items()}
