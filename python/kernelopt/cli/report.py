"""What ``kernelopt run`` shows of its results."""

from __future__ import annotations

from typing import Any

from .render import Output, duration

_SHOWN_FAILURES = 10
_LABELS = {"kernelopt": "kernelopt", "compile": "torch.compile, kernelopt"}


def show_result(output: Output, result: dict[str, Any], verbose: bool) -> None:
    """Everything about one file."""
    if result["status"] == "error":
        output.line(f"  error: {result['message']}")
        return
    if "comparisons" not in result:
        output.line(f"  {result['message']}")
        return
    _show_replacements(output, result["replacements"])
    _show_checks(output, result, verbose)
    _show_times(output, result["times"])
    output.line(f"  {verdict(result)}")


def verdict(result: dict[str, Any]) -> str:
    if result["status"] == "ok":
        return "ok"
    return f"{result['status'].replace('_', ' ')}: {result['message']}"


def _show_replacements(output: Output, entries: list[dict[str, str]]) -> None:
    if not entries:
        output.line("  nothing to replace")
        return
    rows = [
        [entry["name"] or "(model)", entry["kind"], entry["action"], entry["op"], entry["reason"]]
        for entry in entries
    ]
    output.table(["module", "kind", "action", "op", "reason"], rows, text_columns=5)


def _ratio(row: dict[str, Any]) -> float:
    """How much of what is allowed a comparison used up."""
    if not row["ok"]:
        return float("inf")
    return row["error_kernelopt"] / row["bound"] if row["bound"] else 0.0


def _worst(rows: list[dict[str, Any]]) -> list[str]:
    """The errors of the row nearest to its bound, relative to its scale."""
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
        ok = all(row["ok"] for row in members)
        gradients = [row for row in members if row["quantity"].startswith("gradient")]
        others = [row for row in members if row not in gradients]
        rows.append(
            [case, _LABELS[path], "ok" if ok else "DIFFERS", *_worst(others), *_worst(gradients)]
        )
        if verbose:
            rows += [["", "", row["quantity"], *_worst([row]), "", "", ""] for row in members]
    columns = ["inputs", "model", "verdict", "original", "kernelopt", "allowed"]
    columns += ["gradients: original", "kernelopt", "allowed"]
    output.table(columns, rows, text_columns=3)
    for case in result["skipped"]:
        output.line(f"  left out: {case['case']}: {case['reason']}")
    second = {row["quantity"] for row in result["comparisons"] if row["ok"] and row["note"]}
    if second:
        output.line(
            f"  second look: {', '.join(sorted(second))}: the original moves as far when its "
            "inputs and parameters change by a rounding error"
        )
    failures = [row for row in result["comparisons"] if not row["ok"]]
    for row in failures[:_SHOWN_FAILURES]:
        detail = row["note"]
        if detail == "differs":
            detail = (
                f"error {row['error_kernelopt']:.3g}, allowed {row['bound']:.3g}, "
                f"largest value {row['scale']:.3g}"
            )
        output.line(
            f"  DIFFERS: {row['case']}: {_LABELS[row['path']]}: {row['quantity']}: {detail}"
        )
    if len(failures) > _SHOWN_FAILURES:
        output.line(f"  and {len(failures) - _SHOWN_FAILURES} more")


def _show_times(output: Output, times: list[dict[str, Any]]) -> None:
    base = {row["pass"]: row.get("median") for row in times if row["model"] == "original"}
    rows = []
    for row in times:
        if "error" in row:
            rows.append([row["pass"], row["model"], "failed", "", "", row["error"]])
            continue
        original = base[row["pass"]]
        rows.append(
            [
                row["pass"],
                row["model"],
                duration(row["median"]),
                f"{duration(row['low'])} - {duration(row['high'])}",
                str(row["measurements"]),
                f"{original / row['median']:.2f}x" if original else "",
            ]
        )
    output.table(
        ["pass", "model", "median", "quartiles", "measured", "speed"], rows, text_columns=2
    )


def speed(result: dict[str, Any], name: str) -> str:
    """How many times faster the mapped model is than the original; empty where it was not timed."""
    medians = {
        row["model"]: row.get("median") for row in result.get("times", ()) if row["pass"] == name
    }
    original, ours = medians.get("original"), medians.get("kernelopt")
    return f"{original / ours:.2f}x" if original and ours else ""


def show_summary(output: Output, results: list[dict[str, Any]]) -> None:
    """One line a file, where there are several."""
    if len(results) < 2:
        return
    rows = [
        [
            result["file"],
            verdict(result),
            str(result.get("replaced", "")),
            speed(result, "forward"),
            speed(result, "forward+backward"),
        ]
        for result in results
    ]
    output.line("\nsummary")
    output.table(["file", "verdict", "replaced", "forward", "with backward"], rows, text_columns=2)
