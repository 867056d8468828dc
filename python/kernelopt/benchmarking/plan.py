"""From options to an ordered list of jobs, each a unit that the child measures and that resumes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import cases, peers
from .floors import Rates, work
from .records import Key

DTYPES = ("float32", "bfloat16", "float16")
DIRECTIONS = ("forward", "backward")

_QUICK_GRID_STEP = 8
# On a CPU, calls beyond these take too long to be worth measuring.
_CPU_LIMITS = {True: (1 << 22, 1e8), False: (1 << 26, 2e9)}


@dataclass(frozen=True)
class Selection:
    """What to measure: the options of ``kernelopt bench`` that choose cases and steps."""

    suite: str
    families: Sequence[str] = cases.FAMILIES
    only: Sequence[str] = ()
    dtypes: Sequence[str] = DTYPES
    directions: Sequence[str] = DIRECTIONS
    peers: Sequence[str] = peers.PEERS
    quick: bool = False
    device: str = "cuda"


@dataclass(frozen=True)
class Job:
    """One record and the steps still to take for it."""

    key: Key
    steps: tuple[str, ...]
    floor_ms: float | None
    message: dict[str, Any]


def _affordable(case: cases.Case, selection: Selection) -> bool:
    if selection.device != "cpu":
        return True
    max_bytes, max_flops = _CPU_LIMITS[selection.quick]
    least = work(case, "float32", "forward")
    return least.bytes <= max_bytes and least.tensor_flops + least.core_flops <= max_flops


def select_cases(directory: Path, selection: Selection) -> list[tuple[cases.Case, bool]]:
    """The chosen cases of a suite, each with whether the compiled peers run on it."""
    chosen = []
    for family in cases.load(directory, selection.families):
        matching = [
            case
            for case in family.suite(selection.suite)
            if cases.matches(case, family.family, selection.only) and _affordable(case, selection)
        ]
        if selection.quick and selection.suite == "grid":
            matching = matching[::_QUICK_GRID_STEP]
        chosen += [
            (
                case,
                selection.suite == "seeds" or (case.problem, case.describe()) in family.compiled,
            )
            for case in matching
        ]
    return chosen


def _job(
    case: cases.Case,
    dtype: str,
    direction: str,
    steps: Iterable[str],
    selection: Selection,
    rates: Rates,
) -> Job:
    floor_ms = work(case, dtype, direction).floor_ms(dtype, rates)
    message = {
        "kind": "case",
        "case": asdict(case),
        "dtype": dtype,
        "direction": direction,
        "suite": selection.suite,
        "quick": selection.quick,
        "rates": asdict(rates),
    }
    key = (selection.suite, case.problem, case.op, case.describe(), dtype, direction)
    return Job(key, tuple(steps), floor_ms, message)


def plan_cases(directory: Path, selection: Selection, rates: Rates) -> list[Job]:
    """The jobs of the suites ``seeds`` and ``grid``, what matters most first.

    The compiled peers come in rounds of their own after everything else, because they cost most:
    when the time is up, it is they that are missing.
    """
    chosen = select_cases(directory, selection)
    rounds: list[str | None] = [None]
    rounds += [name for name in (peers.COMPILE, peers.MAX_AUTOTUNE) if name in selection.peers]
    jobs = []
    for compiled in rounds:
        for direction in selection.directions:
            for dtype in selection.dtypes:
                for case, with_compiled in chosen:
                    if direction == "backward" and not case.backward:
                        continue
                    if compiled and not with_compiled:
                        continue
                    steps = (
                        [compiled]
                        if compiled
                        else [
                            step
                            for step in peers.base_steps(case, selection.device)
                            if step not in peers.PEERS or step in selection.peers
                        ]
                    )
                    jobs.append(_job(case, dtype, direction, steps, selection, rates))
    return jobs


def plan_overhead(selection: Selection) -> list[Job]:
    """The jobs of the suite ``overhead``."""
    from .overhead import IMPORT, tiny_cases

    jobs = []
    for op in (*tiny_cases(), IMPORT):
        if selection.only and not any(word in op for word in selection.only):
            continue
        for requires_grad in (False, True) if op != IMPORT else (False,):
            problem = "host time, requires_grad" if requires_grad else "host time"
            shape = tiny_cases()[op].describe() if op != IMPORT else "import kernelopt"
            message = {
                "kind": "overhead",
                "op": op,
                "requires_grad": requires_grad,
                "quick": selection.quick,
            }
            key = ("overhead", problem, op, shape, "float32", "forward")
            jobs.append(Job(key, (peers.OVERHEAD,), None, message))
    return jobs
