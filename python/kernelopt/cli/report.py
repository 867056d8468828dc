"""What ``kernelopt run`` shows of its results."""

from __future__ import annotations

import math
from typing import Any

from .check import NOT_ASKED_FOR
from .render import Output, duration

_SHOWN_FAILURES = 10
_SHOWN_NAMES = 3


def show_result(output: Output, result: dict[str, Any], verbose: bool) -> None:
    """Everything about one file."""
    if "mapping" in result:
        _show_mapping(output, result["mapping"])
        _show_checks(output, result, verbose)
        _show_times(output, result["times"])
    output.line(f"  {verdict(result)}")


def verdict(result: dict[str, Any]) -> str:
    if result["status"] == "ok":
        gradients = result["backward_skipped"] not in ("", NOT_ASKED_FOR)
        count = len(result["skipped"])
        left_out = [*["gradients"] * gradients, *([str(count)] if count else [])]
        return f"ok ({' and '.join(left_out)} left out)" if left_out else "ok"
    return f"{result['status'].replace('_', ' ')}: {result['message']}"


def _show_mapping(output: Output, mapping: dict[str, Any]) -> None:
    """What became of each module and operation; those that differ in name alone share a row."""
    output.line(
        f"  {mapping['model']}: {mapping['replaced']} replaced, {mapping['fused']} fused, "
        f"{mapping['kept']} kept; graph: {mapping['graph']}"
    )
    groups: dict[tuple[str, ...], list[str]] = {}
    for entry in mapping["entries"]:
        what = tuple(entry[key] for key in ("action", "kind", "op", "reason"))
        groups.setdefault(what, []).append(entry["name"])
    rows = []
    for what, names in groups.items():
        more = f", ... ({len(names)})" if len(names) > _SHOWN_NAMES else ""
        rows.append([", ".join(names[:_SHOWN_NAMES]) + more, *what])
    if rows:
        output.table(["where", "action", "what", "op", "why"], rows, text_columns=5)


def _ratio(row: dict[str, Any]) -> float:
    """How much of what is allowed a comparison used up."""
    if not row["ok"]:
        return math.inf
    return row["error_kernelopt"] / row["bound"] if row["bound"] else 0.0


def _worst(rows: list[dict[str, Any]]) -> list[str]:
    """The errors of the row nearest to its bound, relative to its scale."""
    rows = [row for row in rows if not math.isnan(row["bound"])]
    if not rows:
        return ["", "", ""]
    worst = max(rows, key=_ratio)
    errors = (worst["error_original"], worst["error_kernelopt"], worst["bound"])
    return [f"{error / (worst['scale'] or 1.0):.1e}" for error in errors]


def _show_checks(output: Output, result: dict[str, Any], verbose: bool) -> None:
    output.line(f"  checked in {result['mode']} mode ({result['mode_reason']})")
    because = f" ({result['reference_reason']})" if result["reference_reason"] else ""
    output.line(
        f"  reference: {result['reference']}{because}; errors relative to its largest value"
    )
    if result["backward_skipped"]:
        output.line(f"  gradients not checked: {result['backward_skipped']}")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["comparisons"]:
        groups.setdefault((row["case"], row["path"]), []).append(row)
    rows = []
    for (case, path), members in groups.items():
        ok = "ok" if all(row["ok"] for row in members) else "DIFFERS"
        ok += " (!)" if any(row["doubtful"] for row in members) else ""
        gradients = [row for row in members if row["quantity"].startswith("gradient")]
        others = [row for row in members if not row["quantity"].startswith("gradient")]
        where = case if path == "kernelopt" else f"{case} ({path})"
        rows.append([where, ok, *_worst(others), *_worst(gradients)])
        if verbose:
            rows += [[f"  {row['quantity']}", "", *_worst([row]), "", "", ""] for row in others]
            rows += [[f"  {row['quantity']}", "", "", "", "", *_worst([row])] for row in gradients]
    columns = ["inputs", "verdict", "original", "kernelopt", "allowed"]
    columns += ["gradients: original", "kernelopt", "allowed"]
    output.table(columns, rows, text_columns=2)
    for case in result["skipped"]:
        output.line(f"  left out: {case['case']}: {case['reason']}")
    _show_doubtful(output, groups)
    second_look = {row["quantity"] for row in result["comparisons"] if row["ok"] and row["note"]}
    if second_look:
        output.line(
            f"  second look: {', '.join(sorted(second_look))}: the original moves as far when its "
            "inputs and parameters change by a rounding error"
        )
    _show_failures(output, [row for row in result["comparisons"] if not row["ok"]])


def _show_doubtful(output: Output, groups: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    """The inputs for which the original's results are little but rounding errors."""
    cases = {}
    for (case, _), rows in groups.items():
        doubtful = [row for row in rows if row["doubtful"]]
        if doubtful:
            worst = max(doubtful, key=_original_share)
            cases[case] = f"{case} ({worst['quantity']}: {_original_share(worst):.2g})"
    if cases:
        output.line(
            "  (!) the original's own error is more than 0.01 of the largest value, so to agree "
            f"with it says little: {', '.join(cases.values())}"
        )


def _original_share(row: dict[str, Any]) -> float:
    return row["error_original"] / row["scale"] if row["scale"] else math.inf


def _show_failures(output: Output, rows: list[dict[str, Any]]) -> None:
    """What is wrong, once for all the cases in which it is."""
    failures: dict[str, list[str]] = {}
    for row in rows:
        detail = row["note"]
        if detail == "differs":
            detail = (
                f"error {row['error_kernelopt']:.3g}, allowed {row['bound']:.3g}, "
                f"largest value {row['scale']:.3g}"
            )
        text = f"{row['path']}: {row['quantity']}: {detail}"
        failures.setdefault(text, []).append(row["case"])
    for text, cases in list(failures.items())[:_SHOWN_FAILURES]:
        output.line(f"  DIFFERS: {text} ({', '.join(cases)})")
    if len(failures) > _SHOWN_FAILURES:
        output.line(f"  and {len(failures) - _SHOWN_FAILURES} more differences")


def _show_times(output: Output, times: list[dict[str, Any]]) -> None:
    base = {row["pass"]: row.get("median") for row in times if row["model"] == "original"}
    rows = []
    for row in times:
        if "error" in row:
            output.line(f"  {row['pass']}, {row['model']}: not timed: {row['error']}")
            continue
        original = base[row["pass"]]
        rows.append(
            [
                row["pass"],
                row["model"],
                duration(row["median"]),
                f"{duration(row['low'])} - {duration(row['high'])}{_mark(row)}",
                str(row["measurements"]),
                f"{original / row['median']:.2f}x" if original else "",
            ]
        )
    if rows:
        columns = ["pass", "model", "median", "quartiles", "measured", "speed"]
        output.table(columns, rows, text_columns=2)
    if any(map(_mark, times)):
        output.line(
            "  (!) the quartiles are more than half of the median apart, so the speed says little: "
            "the machine was busy with something else, or changed its clock"
        )


def _mark(row: dict[str, Any]) -> str:
    return " (!)" if row.get("unsteady") else ""


def speed(result: dict[str, Any], name: str) -> str:
    """How many times faster the mapped model is than the original, marked where one of the two was
    unsteady; empty where it was not timed."""
    rows = {row["model"]: row for row in result.get("times", ()) if row["pass"] == name}
    original, ours = rows.get("original", {}), rows.get("kernelopt", {})
    if not (original.get("median") and ours.get("median")):
        return ""
    return f"{original['median'] / ours['median']:.2f}x{_mark(original) or _mark(ours)}"


def show_summary(output: Output, results: list[dict[str, Any]]) -> None:
    """One line a file, where there are several."""
    if len(results) < 2:
        return
    rows = []
    for result in results:
        mapping = result.get("mapping")
        replaced = str(mapping["replaced"] + mapping["fused"]) if mapping else ""
        passes = [speed(result, name) for name in ("forward", "forward+backward")]
        rows.append([result["file"], verdict(result), replaced, *passes])
    output.line("\nsummary")
    output.table(["file", "verdict", "replaced", "forward", "with backward"], rows, text_columns=2)
