"""Runs jobs in a child process and keeps the result file up to date after each answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from . import peers
from .child import Child, ChildGoneError, ChildTimeoutError, Message

# A worker that dies this often in a row without an answer will not come up at all.
_MAX_FAILED_STARTS = 3


class BudgetSpentError(Exception):
    """The time budget is used up."""


class WorkerUnusableError(Exception):
    """The worker does not start."""


@dataclass
class Runner:
    """Measures jobs with one child after another.

    Attributes:
        command: starts a worker.
        log: where the workers' stderr goes.
        step_limit: seconds a step may take; default each step's own.
        time_budget: seconds for everything; jobs left over are measured when the run is resumed.
    """

    command: Sequence[str]
    log: TextIO
    step_limit: float | None = None
    time_budget: float | None = None
    _child: Child | None = None
    _round: str = ""
    _begin: float = field(default_factory=time.monotonic)

    def _limit(self, step: str) -> tuple[float, bool]:
        """Seconds to wait for a step, and whether it is the budget that sets them."""
        limit = peers.step_limit(step, self.step_limit)
        if self.time_budget is None:
            return limit, False
        left = self.time_budget - (time.monotonic() - self._begin)
        return (left, True) if left < limit else (limit, False)

    def check_budget(self) -> None:
        if self._limit("")[0] <= 0:
            raise BudgetSpentError

    def _receive(self, step: str) -> Message:
        assert self._child is not None
        limit, by_budget = self._limit(step)
        try:
            return self._child.receive(limit)
        except ChildTimeoutError:
            if by_budget:
                raise BudgetSpentError from None
            raise

    def _ready_child(self) -> Child:
        if self._child is not None:
            return self._child
        reason = ""
        for _ in range(_MAX_FAILED_STARTS):
            self._child = Child(self.command, self.log)
            try:
                self._receive("start")
            except (ChildGoneError, ChildTimeoutError) as error:
                reason = str(error)
                self.close()
            except BudgetSpentError:
                self.close()
                raise
            else:
                return self._child
        raise WorkerUnusableError(f"the worker does not start ({reason}); see {self.log.name}")

    def enter_round(self, name: str) -> None:
        """Jobs from here on belong to a round: a child of another round is replaced."""
        if name != self._round:
            self.close()
        self._round = name

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def run_steps(
        self,
        message: dict[str, Any],
        steps: Sequence[str],
        answered: Callable[[str, Any, str | None], None],
    ) -> None:
        """Takes the steps, in a new child after each step that hangs or crashes.

        Args:
            answered: called with each step's name, value, and reason of failure.

        Raises:
            BudgetSpentError: the time budget ended before the last answer.
        """
        left = list(steps)
        while left:
            self.check_budget()
            child = self._ready_child()
            begun: str | None = None
            progressed = False
            try:
                child.send({**message, "steps": left})
                while not (answer := self._receive(begun or "")).get("done"):
                    begun = answer.get("begin")
                    if begun is None:
                        progressed = True
                        left.remove(answer["step"])
                        answered(answer["step"], answer.get("value"), answer.get("failure"))
                return
            except BudgetSpentError:
                self.close()
                raise
            except (ChildGoneError, ChildTimeoutError) as error:
                self.close()
                for step in _blamed(begun, left, progressed):
                    left.remove(step)
                    answered(step, None, str(error))


def _blamed(begun: str | None, left: list[str], progressed: bool) -> list[str]:
    """The steps that a hang or crash is put down to; the others run in the next child."""
    if begun in left:
        return [begun]  # type: ignore[list-item]
    if begun is not None:
        return list(left)  # What all of them need, their inputs, could not be made.
    # A worker whose device did not survive a failure ends after it has reported that failure.
    return [] if progressed else left[:1]
