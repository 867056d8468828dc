"""The child that measures. It reads jobs from stdin and answers on stdout, one JSON object a line.

A job names a case, dtype, direction and the steps to take. Each step is announced before it starts
and answered with a value or a failure, so that the parent knows what hung or crashed, and nothing
that was measured is lost. After a CUDA error that the context does not survive the child exits.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from typing import Any

import torch

from . import peers
from .accuracy import measure_error
from .calls import (
    Call,
    Tensors,
    as_channels_last,
    backward_calls,
    forward_calls,
    kernelopt_call,
    make_inputs,
    torch_call,
)
from .cases import Case
from .floors import Rates, work
from .hostinfo import environment
from .overhead import measure_overhead
from .paths import find_path
from .timing import FULL, QUICK, Effort, Timer, make_timer, measure_rates

_GRID = Effort(0.06, 7, 25)


class Measurement:
    """One case, dtype and direction: inputs are made once and shared by the steps."""

    def __init__(self, job: dict[str, Any], timer: Timer) -> None:
        self.case = Case.from_json(job["case"])
        self.direction = job["direction"]
        self.timer = timer
        self.effort = QUICK if job["quick"] else FULL if job["suite"] == "seeds" else _GRID
        floor_ms = work(self.case, job["dtype"], self.direction).floor_ms(
            job["dtype"], Rates(**job["rates"])
        )
        dtype = getattr(torch, job["dtype"])
        self.sets = [
            make_inputs(self.case, dtype, timer.device, seed)
            for seed in range(timer.sets(floor_ms))
        ]

    def _time(self, call: Call, sets: list[Tensors]) -> float:
        if self.direction == "backward":
            return self.timer.time(backward_calls(call, sets), self.effort)
        with torch.no_grad():
            return self.timer.time(forward_calls(call, sets), self.effort)

    def _time_compiled(self, mode: str | None) -> float:
        torch._dynamo.reset()
        # The backward is called repeatedly over one forward, so its saved tensors must survive it.
        torch._functorch.config.donated_buffer = False
        return self._time(torch.compile(torch_call(self.case), mode=mode, dynamic=False), self.sets)

    def _find_path(self) -> str:
        call = kernelopt_call(self.case)
        if self.direction == "backward":
            return find_path(backward_calls(call, self.sets[:1])[0], self.timer.device)
        with torch.no_grad():
            return find_path(forward_calls(call, self.sets[:1])[0], self.timer.device)

    def step(self, name: str) -> Any:
        torch.backends.cudnn.benchmark = name in (
            peers.CUDNN_BENCHMARK,
            peers.KERNELOPT_CUDNN_BENCHMARK,
        )
        if name in (peers.KERNELOPT, peers.KERNELOPT_CUDNN_BENCHMARK):
            return self._time(kernelopt_call(self.case), self.sets)
        if name in (peers.EAGER, peers.CUDNN_BENCHMARK):
            return self._time(torch_call(self.case), self.sets)
        if name == peers.CHANNELS_LAST:
            sets = [[as_channels_last(tensor) for tensor in tensors] for tensors in self.sets]
            return self._time(torch_call(self.case), sets)
        if name == peers.COMPILE:
            return self._time_compiled(None)
        if name == peers.MAX_AUTOTUNE:
            # Inductor's own CUDA graphs could not be captured in the graph that times all peers.
            return self._time_compiled("max-autotune-no-cudagraphs")
        if name == peers.PATH:
            return self._find_path()
        call = kernelopt_call(self.case) if name == peers.ERROR else torch_call(self.case)
        return measure_error(self.case, self.direction, call, self.sets[0])


class Channel:
    """Lines to the parent, over a copy of stdout that nothing else can write to."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def send(self, **message: Any) -> None:
        self._out.write(json.dumps(message) + "\n")


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def _survived(timer: Timer) -> bool:
    """Whether the device and torch's allocator still work after a failure."""
    if timer.capture_failed:
        return False
    try:
        timer.synchronize()
        torch.zeros(1, device=timer.device).add_(1)
        timer.synchronize()
    except RuntimeError:
        return False
    return True


def _free_memory(timer: Timer) -> None:
    if timer.device.type == "cuda":
        total = torch.cuda.get_device_properties(timer.device).total_memory
        if torch.cuda.memory_reserved(timer.device) > total // 3:
            torch.cuda.empty_cache()


def _measure(job: dict[str, Any], timer: Timer, channel: Channel) -> bool:
    """Takes the steps of a job; False where the device did not survive a failure."""
    channel.send(begin="inputs")
    measurement: Measurement | None = None
    for step in job["steps"]:
        begin = time.monotonic()
        try:
            if measurement is None:
                measurement = Measurement(job, timer)
            channel.send(begin=step)
            channel.send(step=step, value=measurement.step(step), seconds=time.monotonic() - begin)
        except Exception as error:
            reason = _reason(error)
            traceback_to_log(error)
            channel.send(step=step, failure=reason)
            if not _survived(timer):
                return False
        _free_memory(timer)
    return True


def traceback_to_log(error: BaseException) -> None:
    """The full story goes to stderr, which the parent keeps in a log file."""
    import traceback

    traceback.print_exception(error, file=sys.stderr)


def _environment(timer: Timer, rates: dict[str, float] | None) -> dict[str, Any]:
    measured = Rates(**rates) if rates else measure_rates(timer)
    return {**environment(timer.device), **measured.__dict__}


def main() -> int:
    warnings.filterwarnings("ignore", category=UserWarning)
    channel = Channel()
    timer = make_timer(torch.device(sys.argv[1]))
    channel.send(ready=True)
    for line in sys.stdin:
        job = json.loads(line)
        survived = True
        if job["kind"] == "environment":
            channel.send(begin="environment")
            channel.send(step="environment", value=_environment(timer, job["rates"]))
        elif job["kind"] == "overhead":
            channel.send(begin=job["steps"][0])
            try:
                value = measure_overhead(job["op"], job["requires_grad"], timer, job["quick"])
                channel.send(step=job["steps"][0], value=value)
            except Exception as error:
                traceback_to_log(error)
                channel.send(step=job["steps"][0], failure=_reason(error))
                survived = _survived(timer)
        else:
            survived = _measure(job, timer, channel)
        if not survived:
            return 1
        channel.send(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
