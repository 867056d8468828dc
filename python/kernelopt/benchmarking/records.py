"""The result file: reading, checking, and rewriting it after every measurement."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cases import SUITES
from .peers import CUDNN_BENCHMARK, PEERS

ENVIRONMENT_KEYS = (
    "device",
    "driver",
    "torch",
    "python",
    "commit",
    "csrc_sha256",
    "wheel_sha256",
    "copy_gbps",
    "tensor_tflops",
    "fp32_tflops",
)
RECORD_KEYS = (
    "suite",
    "problem",
    "op",
    "shape",
    "dtype",
    "direction",
    "floor_ms",
    "kernelopt_ms",
    "peers_ms",
    "error",
    "eager_error",
    "path",
)
# Of a result on ATen's path alone: kernelopt's time where torch.backends.cudnn.benchmark is set.
KERNELOPT_CUDNN_BENCHMARK_MS = "kernelopt_cudnn_benchmark_ms"
_IDENTITY = RECORD_KEYS[:6]
# Figures may only stand in one file when these agree.
_SAME = ("device", "torch", "csrc_sha256")

Record = dict[str, Any]
Key = tuple[str, ...]


def record_key(record: Record) -> Key:
    return tuple(record[name] for name in _IDENTITY)


def new_record(identity: Key, floor_ms: float | None) -> Record:
    """A record with nothing measured yet."""
    return {
        **dict(zip(_IDENTITY, identity, strict=True)),
        "floor_ms": None if floor_ms is None else float(f"{floor_ms:.5g}"),
        "kernelopt_ms": None,
        "peers_ms": {},
        "error": None,
        "eager_error": None,
        "path": None,
    }


def write_atomically(path: Path, content: str) -> None:
    """A reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(content)
    os.replace(temporary, path)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def problems(document: Any) -> list[str]:
    """What is wrong with a result file's content; empty where it has the documented form."""
    if not isinstance(document, dict) or set(document) != {"environment", "records"}:
        return ["expected an object with the keys environment and records"]
    found = [
        f"environment lacks {key}" for key in ENVIRONMENT_KEYS if key not in document["environment"]
    ]
    seen = set()
    for index, record in enumerate(document["records"]):
        where = f"record {index}"
        if set(record) - {KERNELOPT_CUDNN_BENCHMARK_MS} != set(RECORD_KEYS):
            found.append(f"{where}: expected the keys {', '.join(RECORD_KEYS)}")
            continue
        if record["suite"] not in SUITES:
            found.append(f"{where}: unknown suite {record['suite']!r}")
        if record["direction"] not in ("forward", "backward"):
            found.append(f"{where}: unknown direction {record['direction']!r}")
        if not set(record["peers_ms"]) <= set(PEERS):
            found.append(f"{where}: unknown peers in {sorted(record['peers_ms'])}")
        times = [record["floor_ms"], record["kernelopt_ms"], *record["peers_ms"].values()]
        times.append(record.get(KERNELOPT_CUDNN_BENCHMARK_MS))
        if not all(time is None or _is_time(time) for time in times):
            found.append(f"{where}: a time is not a number")
        if any(time is None for time in record["peers_ms"].values()):
            found.append(f"{where}: a peer without a time")
        for name in ("error", "eager_error"):
            error = record[name]
            if error is not None and (
                not isinstance(error, dict) or set(error) != {"max", "relative_rms"}
            ):
                found.append(f"{where}: expected {name} to hold max and relative_rms")
        if record_key(record) in seen:
            found.append(f"{where}: measured twice: {' '.join(record_key(record))}")
        seen.add(record_key(record))
    return found


class Results:
    """The records of one file, by key, and the failures beside them.

    Failures are in ``<stem>.failures.jsonl`` beside the file, one object a line, so that the file
    itself holds figures alone and a resumed run does not repeat what failed.
    """

    def __init__(self, path: Path, environment: dict[str, Any]) -> None:
        self.path = path
        self.environment = environment
        self.records: dict[Key, Record] = {}
        self.failures: dict[tuple[Key, str], str] = {}
        self._lines: dict[
            Key, str
        ] = {}  # the records as JSON: a save must not cost what a trial does

    def put(self, record: Record) -> None:
        """Adds a record, or takes note of its changes."""
        key = record_key(record)
        self.records[key] = record
        self._lines[key] = "    " + json.dumps(record)

    @property
    def failures_path(self) -> Path:
        return self.path.with_suffix(".failures.jsonl")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Raises ValueError where the file does not have the documented form."""
        document = json.loads(path.read_text())
        wrong = problems(document)
        if wrong:
            raise ValueError(
                f"{path}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" * (len(wrong) > 1))
            )
        results = cls(path, document["environment"])
        for record in document["records"]:
            results.put(record)
        if results.failures_path.exists():
            for line in results.failures_path.read_text().splitlines():
                entry = json.loads(line)
                results.failures[tuple(entry["record"]), entry["step"]] = entry["reason"]
        return results

    def disagreement(self, environment: dict[str, Any]) -> str:
        """Why figures measured in ``environment`` must not join this file; empty where they may."""
        for name in _SAME:
            if self.environment[name] != environment[name]:
                return f"{name} is {environment[name]}, the file's is {self.environment[name]}"
        return ""

    def add_failure(self, key: Key, step: str, reason: str) -> None:
        self.failures[key, step] = reason
        self.failures_path.parent.mkdir(parents=True, exist_ok=True)
        with self.failures_path.open("a") as file:
            file.write(json.dumps({"record": key, "step": step, "reason": reason}) + "\n")

    def save(self) -> None:
        """One record a line, so that a diff of two result files can be read."""
        lines = ",\n".join(self._lines.values())
        environment = json.dumps(self.environment, indent=2).replace("\n", "\n  ")
        write_atomically(
            self.path,
            f'{{\n  "environment": {environment},\n  "records": [\n{lines}\n  ]\n}}\n',
        )


def join(output: Path, parts: Sequence[Path]) -> Results:
    """Adds the records of result files to those of ``output``, made where it does not exist.

    For figures measured side by side on several cards of one kind. A record that several files
    hold is taken from the last. Raises ValueError where a file's figures must not join.
    """
    results = Results.load(output) if output.exists() else None
    for path in parts:
        part = Results.load(path)
        if results is None:
            results = Results(output, part.environment)
        wrong = results.disagreement(part.environment)
        if wrong:
            raise ValueError(f"{path}: {wrong}")
        for record in part.records.values():
            results.put(record)
    if results is None:
        raise ValueError("expected at least one result file")
    results.save()
    return results


def speedups(record: Record) -> dict[str, float]:
    """Each peer's time over kernelopt's, either under the same settings of torch."""
    usual = record["kernelopt_ms"]
    if not usual:
        return {}
    benchmarked = record.get(KERNELOPT_CUDNN_BENCHMARK_MS, usual)
    return {
        peer: time / (benchmarked if peer == CUDNN_BENCHMARK else usual)
        for peer, time in record["peers_ms"].items()
    }


def fastest_peer(record: Record) -> tuple[str, float] | None:
    """The peer that comes off best beside kernelopt, and its time."""
    times = record["peers_ms"]
    ratios = speedups(record) or times
    if not ratios:
        return None
    peer = min(ratios, key=lambda name: ratios[name])
    return peer, times[peer]


def speedup(record: Record) -> float | None:
    """The fastest peer's time over kernelopt's."""
    return min(speedups(record).values(), default=None)


def fraction_of_floor(record: Record) -> float | None:
    """The floor over kernelopt's time: 1 is the hardware's limit."""
    if record["floor_ms"] is None or not record["kernelopt_ms"]:
        return None
    return record["floor_ms"] / record["kernelopt_ms"]
