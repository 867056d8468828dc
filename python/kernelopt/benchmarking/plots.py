"""Plots of a result file: fraction of the floor and speed-up over the fastest peer. PNG and SVG.

matplotlib is imported only where a plot is drawn. Each file holds the hash of the results it shows.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from .plan import DTYPES
from .records import Record, Results, fraction_of_floor, speedup

ENDINGS = (".png", ".svg")
_SUITES = ("seeds", "grid")
_COLORS = {"float32": "#1f5fa8", "bfloat16": "#e08214", "float16": "#4d9a4d"}
_DPI = 130


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def source_mark(results_sha256: str) -> str:
    """The words in a plot's metadata that name the results it shows."""
    return f"results_sha256={results_sha256}"


def _forward(results: Results, suite: str) -> list[Record]:
    return [
        record
        for record in results.records.values()
        if (record["suite"], record["direction"]) == (suite, "forward") and record["kernelopt_ms"]
    ]


def plotted_suites(results: Results) -> list[str]:
    """The suites with forward figures."""
    return [suite for suite in _SUITES if _forward(results, suite)]


def _bars(axes: Any, records: list[Record], measure: Any, limit: float | None) -> None:
    """A group of bars for each problem, a bar for each dtype."""
    problems = list(dict.fromkeys(record["problem"] for record in records))
    height = 0.8 / len(DTYPES)
    for index, dtype in enumerate(DTYPES):
        values = {
            record["problem"]: measure(record) or 0.0
            for record in records
            if record["dtype"] == dtype
        }
        if values:
            positions = [problems.index(problem) + (index - 1) * height for problem in values]
            axes.barh(positions, list(values.values()), height, color=_COLORS[dtype], label=dtype)
    axes.set_yticks(range(len(problems)), problems)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    if limit is not None:
        axes.set_xlim(0, limit)


def _curves(axes: Any, records: list[Record], measure: Any, logarithmic: bool) -> None:
    """For each dtype the shapes in order of their value, as a share of all."""
    for dtype in DTYPES:
        values = sorted(
            value
            for record in records
            if record["dtype"] == dtype and (value := measure(record)) is not None
        )
        if values:
            shares = [100 * (index + 0.5) / len(values) for index in range(len(values))]
            axes.plot(values, shares, color=_COLORS[dtype], label=f"{dtype} ({len(values)})")
    if logarithmic:
        axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_ylabel("share of shapes, %")
    axes.grid(alpha=0.3)


def draw(results: Results, suite: str, stem: Path, results_sha256: str) -> None:
    """Draws a suite to ``stem``.png and ``stem``.svg."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "kernelopt"
    from matplotlib import pyplot

    records = _forward(results, suite)
    problems = len({record["problem"] for record in records})
    height = max(3.5, 1.2 + 0.32 * problems) if suite == "seeds" else 4.5
    figure, (floor, ratio) = pyplot.subplots(1, 2, figsize=(11, height), layout="constrained")
    if suite == "seeds":
        _bars(floor, records, fraction_of_floor, 1.1)
        _bars(ratio, records, speedup, None)
    else:
        _curves(floor, records, fraction_of_floor, logarithmic=False)
        _curves(ratio, records, speedup, logarithmic=True)
    floor.set_xlabel("fraction of the floor (1 is the hardware's limit)")
    ratio.set_xlabel("speed-up over the fastest peer")
    ratio.legend(loc="lower right", fontsize=8)
    figure.suptitle(f"kernelopt on {results.environment['device']}: {suite}, forward")
    stem.parent.mkdir(parents=True, exist_ok=True)
    description = source_mark(results_sha256)
    figure.savefig(stem.with_suffix(".png"), dpi=_DPI, metadata={"Description": description})
    figure.savefig(stem.with_suffix(".svg"), metadata={"Description": description, "Date": None})
    pyplot.close(figure)
