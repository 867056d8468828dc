"""What a run shows: a progress bar on a terminal with rich, otherwise one plain line a job."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from .records import Record, fraction_of_floor, speedup


def clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02d}"


def summary(record: Record) -> str:
    """A record's times in one line."""
    words = [" ".join(record[name] for name in ("problem", "op", "shape", "dtype", "direction"))]
    ours = record["kernelopt_ms"]
    words.append("kernelopt " + (f"{ours:.4g} ms" if ours is not None else "failed"))
    words += [f"{name} {value:.4g}" for name, value in record["peers_ms"].items()]
    for label, value in (("x", speedup(record)), (" of floor", fraction_of_floor(record))):
        if value is not None:
            words.append(f"{value:.2f}{label}")
    if record["path"]:
        words.append(record["path"])
    return " | ".join(words)


def _rich_progress() -> Any:
    """A rich progress bar, or None where there is no terminal or no rich."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
    except ImportError:
        return None
    return RichProgress(
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    )


class Progress:
    """Shows ``total`` jobs; ``skipped`` ones were there already."""

    def __init__(self, total: int, skipped: int, time_budget: float | None) -> None:
        self._total = total
        self._done = 0
        self._begin = time.monotonic()
        self._bar = _rich_progress()
        self._task = self._bar.add_task("", total=total) if self._bar else None
        words = [f"{total} jobs"]
        if skipped:
            words.append(f"{skipped} measured before")
        if time_budget is not None:
            words.append(f"time budget {clock(time_budget)}")
        self._print(", ".join(words))

    def _print(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def begin(self, name: str) -> None:
        if self._bar:
            self._bar.update(self._task, description=name)

    def note(self, text: str) -> None:
        self._print(f"! {text}")

    def finish(self, record: Record) -> None:
        self._done += 1
        elapsed = time.monotonic() - self._begin
        left = elapsed / self._done * (self._total - self._done)
        position = f"[{self._done}/{self._total} {clock(elapsed)}, {clock(left)} left]"
        self._print(summary(record) if self._bar else f"{position} {summary(record)}")
        if self._bar:
            self._bar.advance(self._task)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
