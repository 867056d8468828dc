"""Times of a model's forward pass, and of forward and backward together."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .evaluate import NoGradient, random_like
from .values import is_inexact, map_tensors, tensors_in

_ROUNDS = 3
_WARMUP_CALLS = 3
_FEWEST_CALLS, _MOST_CALLS = 3, 100


@dataclass
class Timing:
    """Seconds a call: the median, the quartiles, and how many measurements they come from."""

    median: float
    low: float
    high: float
    measurements: int


def measure(
    functions: dict[str, Callable[[], Any]], device: torch.device, seconds: float = 0.4
) -> dict[str, Timing]:
    """Times functions on a device, each for about some seconds, in turns.

    On a GPU each call is timed by CUDA events, after a write that evicts the L2 cache. On a CPU
    ``torch.utils.benchmark`` times them on all of torch's threads. Turns, because a machine's clock
    and its other work change over time: each function gets its share of both.
    """
    once = _measure_cuda if device.type == "cuda" else _measure_cpu
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(_ROUNDS):
        for name, function in functions.items():
            times[name] += once(function, device, seconds / _ROUNDS)
    return {name: _timing(values) for name, values in times.items()}


def _measure_cpu(function: Callable[[], Any], device: torch.device, seconds: float) -> list[float]:
    from torch.utils.benchmark import Timer

    timer = Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
    first = timer.timeit(1)
    if first.median > seconds:
        return first.times
    return timer.blocked_autorange(min_run_time=seconds).times


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
    return Timing(statistics.median(times), low, high, len(times))


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
