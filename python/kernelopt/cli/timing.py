"""Times of a model's forward pass, and of forward and backward together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.benchmark import Timer

from .evaluate import NoGradient, random_like
from .values import is_inexact, map_tensors, tensors_in

_FEWEST_ROUNDS = 3
_CPU_ROUNDS = 40
# Long beside a clock's reading, short beside the time for which a scheduler takes a core away.
_CPU_SAMPLE_SECONDS = 1e-4
_WARMUP_CALLS = 3
_FEWEST_CALLS, _MOST_CALLS = 3, 100
UNSTEADY = 0.5  # of the median: quartiles farther apart than that are of an unsteady machine


@dataclass
class Timing:
    """Seconds a call: the median, the quartiles, how many measurements they come from, and whether
    the quartiles are far apart."""

    median: float
    low: float
    high: float
    measurements: int
    unsteady: bool


def measure(
    functions: dict[str, Callable[[], Any]], device: torch.device, seconds: float = 0.4
) -> dict[str, Timing]:
    """Times functions on a device, each for about some seconds, in turns.

    On a GPU each call is timed by CUDA events, after a write that evicts the L2 cache. On a CPU
    ``torch.utils.benchmark`` times single calls, several where they are very short, on all of
    torch's threads. Turns, because a machine's clock and its other work change over time: each
    function gets its share of both.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    if device.type != "cuda":
        _measure_cpu(functions, seconds, times)
        return {name: _timing(values) for name, values in times.items()}
    for function in functions.values():
        function()
    for _ in range(_FEWEST_ROUNDS):
        for name, function in functions.items():
            times[name] += _measure_cuda(function, device, seconds / _FEWEST_ROUNDS)
    return {name: _timing(values) for name, values in times.items()}


def _measure_cpu(
    functions: dict[str, Callable[[], Any]], seconds: float, times: dict[str, list[float]]
) -> None:
    """Short turns: what else the machine does comes and goes within tenths of a second."""
    # What a timer calls to find a sample's length is not in its time: no other warm-up.
    threads = torch.get_num_threads()
    timers = {
        name: Timer("function()", globals={"function": function}, num_threads=threads)
        for name, function in functions.items()
    }
    end = time.perf_counter() + seconds * len(functions)
    for turn in range(_CPU_ROUNDS):
        if turn >= _FEWEST_ROUNDS and time.perf_counter() > end:
            break
        for name, timer in timers.items():
            turn_end = time.perf_counter() + seconds / _CPU_ROUNDS
            while True:
                sample = timer.blocked_autorange(min_run_time=_CPU_SAMPLE_SECONDS)
                times[name] += sample.times
                if time.perf_counter() > turn_end:
                    break


def _measure_cuda(function: Callable[[], Any], device: torch.device, seconds: float) -> list[float]:
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    evict = torch.empty(2 * cache, dtype=torch.int8, device=device)

    def timed(calls: int) -> list[float]:
        events = []
        for _ in range(calls):
            evict.zero_()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize(device)
        return [start.elapsed_time(end) / 1000 for start, end in events]

    estimate = statistics.median(timed(_WARMUP_CALLS))
    calls = int(seconds / max(estimate, 1e-6))
    return timed(min(max(calls, _FEWEST_CALLS), _MOST_CALLS))


def _timing(times: list[float]) -> Timing:
    low, high = min(times), max(times)
    if len(times) >= 4:
        low, _, high = statistics.quantiles(times, n=4)
    median = statistics.median(times)
    return Timing(median, low, high, len(times), unsteady=high - low > UNSTEADY * median)


def forward_step(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], copy_inputs: bool
) -> Callable[[], Any]:
    """A forward pass under ``torch.no_grad``, on copies where the model writes to its inputs."""

    def step() -> Any:
        given = map_tensors(torch.clone, (args, kwargs)) if copy_inputs else (args, kwargs)
        with torch.no_grad():
            return model(*given[0], **given[1])

    return step


def training_step(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], copy_inputs: bool
) -> Callable[[], Any]:
    """A forward and a backward pass, to the gradients of floating inputs and parameters."""
    inputs = map_tensors(
        lambda tensor: tensor.detach().requires_grad_(is_inexact(tensor)), (args, kwargs)
    )
    wanted = [tensor for tensor in tensors_in(inputs) if tensor.requires_grad]
    wanted += [parameter for parameter in model.parameters() if parameter.requires_grad]

    def outputs() -> list[torch.Tensor]:
        given = map_tensors(torch.clone, inputs) if copy_inputs else inputs
        with torch.enable_grad():
            return [t for t in tensors_in(model(*given[0], **given[1])) if t.requires_grad]

    cotangents = [random_like(tensor, seed=0) for tensor in outputs()]
    if not cotangents or not wanted:
        raise NoGradient("nothing to differentiate")

    def step() -> Any:
        return torch.autograd.grad(outputs(), wanted, cotangents, allow_unused=True)

    return step
