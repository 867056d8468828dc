"""Tables of a result file, as rows of text: for the terminal and for the docs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .peers import ATEN
from .plan import DIRECTIONS, DTYPES
from .records import Record, Results, fastest_peer, fraction_of_floor, speedup

_HEADLINE_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Table:
    """Column names and rows of cells."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """Aligned columns for a terminal."""
        lines = [self.columns, *self.rows]
        widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def markdown(self) -> str:
        rows = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _number(value: float | None, form: str = ".3g") -> str:
    """A number without exponent where it has at most four digits before the point."""
    if value is None:
        return "-"
    text = format(value, form)
    return f"{value:.0f}" if "e+" in text else text


def _error(record: Record, name: str) -> str:
    error = record[name]
    return "-" if error is None else f"{error['max']:.1e}"


def _order(record: Record) -> tuple[int, int]:
    return DIRECTIONS.index(record["direction"]), DTYPES.index(record["dtype"])


def seeds_table(records: Iterable[Record]) -> Table:
    """One row a record: the floor, kernelopt, the fastest peer, the errors, the path."""
    rows = []
    for record in sorted(records, key=_order):
        fastest = fastest_peer(record)
        rows.append(
            (
                record["problem"],
                record["op"],
                record["shape"],
                record["dtype"],
                record["direction"],
                _number(record["floor_ms"]),
                _number(record["kernelopt_ms"]),
                _number(fraction_of_floor(record), ".2f"),
                f"{_number(fastest[1])} ({fastest[0]})" if fastest else "-",
                _number(speedup(record), ".2f"),
                _error(record, "error"),
                _error(record, "eager_error"),
                record["path"] or "-",
            )
        )
    return Table(
        (
            "problem",
            "op",
            "shape",
            "dtype",
            "direction",
            "floor ms",
            "kernelopt ms",
            "of floor",
            "fastest peer ms",
            "speed-up",
            "error",
            "eager error",
            "path",
        ),
        tuple(rows),
    )


def headline_table(records: Iterable[Record]) -> Table:
    """One row a problem, forward: time, fraction of the floor and speed-up in two dtypes."""
    rows: dict[tuple[str, str, str], dict[str, Record]] = {}
    for record in records:
        if record["direction"] == "forward":
            name = (record["problem"], record["op"], record["shape"])
            rows.setdefault(name, {})[record["dtype"]] = record
    columns = ["problem", "op", "shape"]
    for dtype in _HEADLINE_DTYPES:
        columns += [f"{dtype} ms", "of floor", "speed-up"]
    cells = []
    for name, by_dtype in rows.items():
        row = list(name)
        for dtype in _HEADLINE_DTYPES:
            measured = by_dtype.get(dtype)
            if measured is None:
                row += ["-", "-", "-"]
                continue
            row += [
                _number(measured["kernelopt_ms"]),
                _number(fraction_of_floor(measured), ".2f"),
                _number(speedup(measured), ".2f"),
            ]
        cells.append(tuple(row))
    return Table(tuple(columns), tuple(cells))


def is_faster(record: Record) -> bool:
    """Whether kernelopt's own kernel beat every peer; ATen's path never counts as faster."""
    ratio = speedup(record)
    return ratio is not None and ratio > 1 and record["path"] != ATEN


def grid_table(records: Iterable[Record]) -> Table:
    """One row for each op, dtype and direction of the grid."""
    groups: dict[tuple[str, int, int], list[Record]] = {}
    for record in records:
        groups.setdefault((record["op"], *_order(record)), []).append(record)
    rows = []
    for (op, direction, dtype), members in sorted(groups.items()):
        ratios = [ratio for record in members if (ratio := speedup(record)) is not None]
        fractions = [part for record in members if (part := fraction_of_floor(record)) is not None]
        rows.append(
            (
                op,
                DTYPES[dtype],
                DIRECTIONS[direction],
                str(len(members)),
                f"{100 * sum(map(is_faster, members)) / len(members):.0f}%",
                f"{statistics.geometric_mean(ratios):.2f}" if ratios else "-",
                f"{min(ratios):.2f}" if ratios else "-",
                f"{statistics.median(fractions):.2f}" if fractions else "-",
                f"{100 * sum(record['path'] == ATEN for record in members) / len(members):.0f}%",
            )
        )
    return Table(
        (
            "op",
            "dtype",
            "direction",
            "shapes",
            "faster",
            "geometric mean",
            "worst",
            "of floor (median)",
            "on ATen's path",
        ),
        tuple(rows),
    )


def overhead_table(records: Iterable[Record]) -> Table:
    """One row for each op: microseconds of host time per call."""
    rows = []
    for record in records:
        ours = None if record["kernelopt_ms"] is None else 1e3 * record["kernelopt_ms"]
        eager = 1e3 * record["peers_ms"]["eager"] if "eager" in record["peers_ms"] else None
        added = ours - eager if ours is not None and eager is not None else None
        rows.append(
            (
                record["op"],
                record["problem"],
                _number(ours, ".1f"),
                _number(eager, ".1f"),
                _number(added, ".1f"),
            )
        )
    return Table(("op", "what", "kernelopt us", "torch us", "difference us"), tuple(rows))


def import_time_table(results: Iterable[dict]) -> Table:
    """One row for each file of ``benchmarks/bench_import.py``."""
    rows = [
        (
            result["torch"],
            result["python"],
            f"{result['torch_ms']['median']:.0f}",
            f"{result['kernelopt_ms']['median']:.1f}",
            f"{max(result['kernelopt_ms']['runs']):.1f}",
            f"{result['load']:.1f} on {result['cores']} cores",
        )
        for result in results
    ]
    columns = ("torch", "Python", "torch ms", "kernelopt ms", "slowest run ms", "load before")
    return Table(columns, tuple(rows))


SUITE_TABLES: dict[str, Callable[[Iterable[Record]], Table]] = {
    "seeds": seeds_table,
    "grid": grid_table,
    "overhead": overhead_table,
}


def geometric_means(records: Sequence[Record]) -> str:
    """The geometric-mean speed-up over the fastest peer, of each dtype and direction."""
    parts = []
    for direction in DIRECTIONS:
        for dtype in DTYPES:
            ratios = [
                ratio
                for record in records
                if (record["dtype"], record["direction"]) == (dtype, direction)
                and (ratio := speedup(record)) is not None
                and math.isfinite(ratio)
            ]
            if ratios:
                mean = statistics.geometric_mean(ratios)
                parts.append(f"{direction} {dtype} {mean:.2f}x")
    return "Geometric-mean speed-up over the fastest peer: " + ", ".join(parts) if parts else ""


def environment_line(environment: dict) -> str:
    """What the figures were measured on, in one paragraph."""
    return (
        f"Measured on {environment['device']} (driver {environment['driver']}) with torch "
        f"{environment['torch']}, Python {environment['python']}, commit "
        f"{environment['commit'][:12]}. The card's own rates: copy {environment['copy_gbps']:.0f} "
        f"GB/s, bfloat16 matrix product {environment['tensor_tflops']:.0f} TFLOP/s, strict float32 "
        f"{environment['fp32_tflops']:.1f} TFLOP/s."
    )


def show(results: Results, suite: str) -> None:
    """Prints a suite's table."""
    records = [record for record in results.records.values() if record["suite"] == suite]
    print()
    print(environment_line(results.environment))
    print(SUITE_TABLES[suite](records).text() if records else "no records")
    if suite != "overhead" and records:
        print(geometric_means(records))
