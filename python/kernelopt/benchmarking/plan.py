"""From options to an ordered list of jobs, each a unit that the child measures and that resumes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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
    """Steps to take for one record. Jobs of different rounds must not share a process."""

    key: Key
    round: str
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
    round_name: str,
    steps: Sequence[str],
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
    return Job(key, round_name, tuple(steps), floor_ms, message)


def plan_cases(directory: Path, selection: Selection, rates: Rates) -> list[Job]:
    """The jobs of the suites ``seeds`` and ``grid``, what matters most first."""
    chosen = select_cases(directory, selection)
    jobs = []
    for name in peers.ROUNDS:
        for direction, dtype in itertools.product(selection.directions, selection.dtypes):
            for case, compiled in chosen:
                if direction == "backward" and not case.backward:
                    continue
                steps = [
                    step
                    for step in peers.steps_of_round(name, case, selection.device, compiled)
                    if peers.serves(step, selection.peers)
                ]
                if steps:
                    jobs.append(_job(case, dtype, direction, name, steps, selection, rates))
    return jobs


# A host's clock may be slow for seconds, which nothing within a job's half second evens out.
OVERHEAD_PASSES = 3


def plan_overhead(selection: Selection) -> list[Job]:
    """The jobs of the suite ``overhead``, several passes over all of them: of a job's times those
    count that were taken while eager was fastest."""
    from .overhead import tiny_cases

    jobs = []
    for op, case in tiny_cases().items():
        if not cases.matches(case, op, selection.only):
            continue
        for requires_grad in (False, True):
            problem = "host time, requires_grad" if requires_grad else "host time"
            message = {
                "kind": "overhead",
                "op": op,
                "requires_grad": requires_grad,
                "quick": selection.quick,
            }
            key = ("overhead", problem, op, case.describe(), "float32", "forward")
            jobs.append(Job(key, peers.OVERHEAD, (peers.OVERHEAD,), None, message))
    return jobs * (1 if selection.quick else OVERHEAD_PASSES)
