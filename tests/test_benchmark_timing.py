"""Which trials count: those that the host had enqueued before the device came to them."""

from __future__ import annotations

import pytest
import torch

from kernelopt.benchmarking.timing import CudaTimer, Effort


class FakeEvents:
    """Stands for torch.cuda.Event: each trial's start is told whether the device is past it, and
    how long the trial takes."""

    def __init__(self, trials: list[tuple[bool, float]]) -> None:
        self._trials = iter(trials)
        self._open: FakeEvents.Event | None = None

    class Event:
        passed, took = False, 0.0

        def record(self) -> None:
            """Nothing is recorded."""

        def query(self) -> bool:
            return self.passed

        def elapsed_time(self, _: FakeEvents.Event) -> float:
            return self.took

    def __call__(self, enable_timing: bool) -> FakeEvents.Event:
        event = self.Event()
        if self._open is None:
            event.passed, event.took = next(self._trials)
            self._open = event
        else:
            self._open = None
        return event


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    cycles: list[int] = []
    monkeypatch.setattr(torch.cuda, "_sleep", cycles.append)
    return cycles


def _median(monkeypatch: pytest.MonkeyPatch, trials: list[tuple[bool, float]]) -> float:
    timer = CudaTimer.__new__(CudaTimer)
    timer._flush = torch.empty(1)
    monkeypatch.setattr(timer, "synchronize", lambda: None, raising=False)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvents(trials))
    return timer._median(lambda: None, Effort(0.0, 3, 3))


def test_late_trials_are_left_out(monkeypatch: pytest.MonkeyPatch, sleeps: list[int]) -> None:
    trials = [(True, 90.0), (False, 2.0), (True, 80.0), (False, 1.0), (False, 3.0)]
    assert _median(monkeypatch, trials) == 2.0
    assert len(sleeps) == 5
    assert sleeps[1] >= 1.99 * sleeps[0]
    assert sleeps[3] >= 1.99 * sleeps[2]


def test_a_host_that_is_always_late_is_measured(
    monkeypatch: pytest.MonkeyPatch, sleeps: list[int]
) -> None:
    assert _median(monkeypatch, [(True, 5.0)] * 6) == 5.0
    assert len(sleeps) == 6
