"""One run of ``kernelopt bench``: plan, measure what the result file lacks, write, report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import peers
from .cases import find_directory
from .child import worker_command
from .floors import Rates
from .hostinfo import UNKNOWN, device_stem, source_facts
from .plan import Job, Selection, plan_cases, plan_overhead
from .progress import Progress
from .records import KERNELOPT_CUDNN_BENCHMARK_MS, Record, Results, new_record
from .runner import BudgetSpentError, Runner


class BenchmarkError(Exception):
    """What was asked for cannot be measured: a one-line message."""


@dataclass(frozen=True)
class Options:
    """Where results go and within what limits they are measured."""

    selection: Selection
    output: Path | None = None
    benchmarks: str | None = None
    time_budget: float | None = None
    step_limit: float | None = None
    fresh: bool = False
    retry_failed: bool = False
    commit: str | None = None
    csrc_sha256: str | None = None
    wheel_sha256: str | None = None
    command: Sequence[str] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    results: Results
    left_over: int
    failed: int


def _load(options: Options, path: Path) -> Results | None:
    if options.fresh or not path.exists():
        path.with_suffix(".failures.jsonl").unlink(missing_ok=True)
        return None
    try:
        return Results.load(path)
    except (ValueError, KeyError) as error:
        raise BenchmarkError(f"cannot resume: {error}; --fresh starts again") from None


def _ask_environment(runner: Runner, rates: dict[str, float] | None) -> dict[str, Any]:
    values: dict[str, Any] = {}

    def answered(step: str, value: Any, failure: str | None) -> None:
        if failure is not None:
            raise BenchmarkError(f"the rates of the card could not be measured: {failure}")
        values.update(value)

    message = {"kind": "environment", "rates": rates}
    runner.run_steps(message, ["environment"], answered)
    return values


def _rates(environment: dict[str, Any]) -> dict[str, float]:
    names = ("copy_gbps", "tensor_tflops", "fp32_tflops")
    return {name: environment[name] for name in names}


def _open_results(options: Options, directory: Path, runner: Runner) -> Results:
    """The result file to continue, or a new one. A continued one keeps its rates."""
    existing = _load(options, options.output) if options.output else None
    facts = source_facts(
        directory.parent, options.commit, options.csrc_sha256, options.wheel_sha256
    )
    measured = _ask_environment(runner, _rates(existing.environment) if existing else None)
    environment = {
        **{name: measured[name] for name in ("device", "driver", "torch", "python")},
        **facts,
        **_rates(measured),
    }
    path = options.output or directory / "results" / f"{device_stem(environment['device'])}.json"
    if existing is None and options.output is None:
        existing = _load(options, path)
        if existing is not None:
            environment.update(_rates(existing.environment))
    if existing is None:
        return Results(path, environment)
    disagreement = existing.disagreement(environment)
    if disagreement:
        raise BenchmarkError(
            f"{path} cannot be continued: {disagreement}; choose another --output, or start it "
            "again with --fresh"
        )
    # What this run was not told stays as an earlier one was: the kernel sources are the same.
    told = {name: value for name, value in environment.items() if value != UNKNOWN}
    existing.environment = {**existing.environment, **told}
    return existing


def _missing_steps(job: Job, results: Results, retry_failed: bool) -> list[str]:
    record = results.records.get(job.key)
    return [
        step
        for step in job.steps
        if (record is None or not _has(record, step))
        and (retry_failed or (job.key, step) not in results.failures)
    ]


def _has(record: Record, step: str) -> bool:
    if step in peers.PEERS:
        return step in record["peers_ms"]
    if step in (peers.KERNELOPT, peers.OVERHEAD):
        return record["kernelopt_ms"] is not None
    if step == peers.KERNELOPT_CUDNN_BENCHMARK:
        # Kernels of kernelopt's own are the same under either setting.
        return record["path"] not in (None, peers.ATEN) or KERNELOPT_CUDNN_BENCHMARK_MS in record
    return record[step] is not None


def _round(milliseconds: float) -> float:
    return float(f"{milliseconds:.5g}")


def _apply(record: Record, step: str, value: Any) -> None:
    """Writes a step's value into its record."""
    if step == peers.OVERHEAD:
        if value[peers.EAGER] >= record["peers_ms"].get(peers.EAGER, math.inf):
            return  # an earlier pass found the host less disturbed
        record["kernelopt_ms"] = _round(value[peers.KERNELOPT])
        record["peers_ms"][peers.EAGER] = _round(value[peers.EAGER])
    elif step == peers.KERNELOPT:
        record["kernelopt_ms"] = _round(value)
    elif step == peers.KERNELOPT_CUDNN_BENCHMARK:
        record[KERNELOPT_CUDNN_BENCHMARK_MS] = _round(value)
    elif step in peers.PEERS:
        record["peers_ms"][step] = _round(value)
    else:
        record[step] = value


def _run_job(
    job: Job, steps: list[str], results: Results, runner: Runner, note: Callable[[str], None]
) -> int:
    """Measures one job and writes the file after each step; the number of failed steps."""
    record = results.records.get(job.key) or new_record(job.key, job.floor_ms)
    failed = 0

    def answered(step: str, value: Any, failure: str | None) -> None:
        nonlocal failed
        if failure is None:
            _apply(record, step, value)
        else:
            failed += 1
            results.add_failure(job.key, step, failure)
            note(f"{' '.join(job.key[1:])}: {step} failed: {failure}")
        results.put(record)
        results.save()

    runner.run_steps(job.message, steps, answered)
    return failed


def measure(options: Options) -> Outcome:
    """Measures what the result file lacks.

    Raises:
        BenchmarkError: the file cannot be continued, or nothing is chosen.
        WorkerUnusableError: the worker does not start.
        FileNotFoundError: there are no case lists.
    """
    selection = options.selection
    directory = find_directory(options.benchmarks)
    log_path = (options.output or directory / "results" / "bench.json").with_suffix(".log")
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("a") as log:
        runner = Runner(
            options.command or worker_command(selection.device),
            log,
            options.step_limit,
            options.time_budget,
        )
        try:
            try:
                results = _open_results(options, directory, runner)
            except BudgetSpentError:
                raise BenchmarkError("the time budget ended before the card was known") from None
            jobs = (
                plan_overhead(selection)
                if selection.suite == "overhead"
                else plan_cases(directory, selection, Rates(**_rates(results.environment)))
            )
            if not jobs:
                raise BenchmarkError("no case is chosen by these options")
            return _measure_jobs(jobs, results, runner, options)
        finally:
            runner.close()


def _measure_jobs(jobs: list[Job], results: Results, runner: Runner, options: Options) -> Outcome:
    todo = [
        (job, steps)
        for job in jobs
        if (steps := _missing_steps(job, results, options.retry_failed))
    ]
    results.save()
    failed = 0
    done = 0
    with Progress(len(todo), len(jobs) - len(todo), options.time_budget) as progress:
        try:
            for job, steps in todo:
                # An earlier round has shown the path by now.
                path = results.records[job.key]["path"] if job.key in results.records else None
                if path != peers.ATEN:
                    steps = [s for s in steps if s != peers.KERNELOPT_CUDNN_BENCHMARK]
                runner.enter_round(job.round)
                progress.begin(" ".join(job.key[1:]))
                failed += _run_job(job, steps, results, runner, progress.note)
                done += 1
                progress.finish(results.records[job.key])
        except BudgetSpentError:
            progress.note(f"time budget spent: {len(todo) - done} of {len(jobs)} jobs left over")
    return Outcome(results, len(todo) - done, failed)
