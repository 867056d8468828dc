"""``kernelopt bench``: measures the ops against PyTorch's, and shows the figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..benchmarking.plan import Selection

_FAMILIES = ("elementwise", "conv1d", "conv_transpose1d", "depthwise", "separable")
_DTYPES = ("float32", "bfloat16", "float16")
_DIRECTIONS = ("forward", "backward")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _variable(name: str) -> str:
    return "KERNELOPT_" + name.upper().replace("-", "_")


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--suite",
        choices=("seeds", "grid", "overhead"),
        default="seeds",
        help="seeds: the reference problems; grid: shapes of real nets; overhead: host time a call",
    )
    parser.add_argument("--family", type=_words, help=f"of {','.join(_FAMILIES)}; default all")
    parser.add_argument(
        "--only",
        type=_words,
        default=[],
        metavar="WORDS",
        help="cases whose family, op, problem or shape holds one of these words; a number is a "
        "problem's number",
    )
    parser.add_argument("--dtypes", type=_words, help=f"default {','.join(_DTYPES)}")
    parser.add_argument("--directions", type=_words, help=f"default {','.join(_DIRECTIONS)}")
    parser.add_argument("--peers", type=_words, help="default all; with --quick the eager ones")
    parser.add_argument("--quick", action="store_true", help="fewer trials, cases and peers")
    parser.add_argument(
        "--time-budget", type=float, metavar="SECONDS", help="stop then; a later run goes on"
    )
    parser.add_argument(
        "--step-limit", type=float, metavar="SECONDS", help="the most one peer may take"
    )
    parser.add_argument("--device", default=None, help="default cuda where there is one, or cpu")
    parser.add_argument(
        "--output", type=Path, help="default benchmarks/results/<device>.json; resumed if it exists"
    )
    parser.add_argument("--benchmarks", metavar="DIR", help="the folder of bench_<family>.py")
    parser.add_argument("--fresh", action="store_true", help="start the output file again")
    parser.add_argument("--retry-failed", action="store_true", help="repeat what failed before")
    for name in ("commit", "csrc-sha256", "wheel-sha256"):
        parser.add_argument(f"--{name}", help=f"for the record; also {_variable(name)}")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "bench",
        help="measure the ops against PyTorch's, and show the figures",
        description="Measures the ops against PyTorch's. Every figure is written as soon as it is "
        "measured; the same command again measures what is missing.",
    )
    _add_measuring(parser)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--list", action="store_true", help="list the chosen cases")
    shown.add_argument("--show", action="store_true", help="print the tables of the output file")
    shown.add_argument(
        "--render", action="store_true", help="write tables and plots into README and docs"
    )
    shown.add_argument(
        "--check",
        action="store_true",
        help="exit 1 where README, docs or plots differ from the result files",
    )
    shown.add_argument(
        "--join",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="add the records of these files, measured on cards of one kind, to --output",
    )
    parser.set_defaults(run=run)


def _chosen(name: str, given: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    from . import UsageError

    for word in given or ():
        if word not in known:
            raise UsageError(f"{name}: expected one of {', '.join(known)}, got {word!r}")
    return tuple(given) if given else known


def _selection(options: argparse.Namespace) -> Selection:
    import torch

    from ..benchmarking import peers
    from ..benchmarking.plan import Selection
    from . import UsageError

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device: expected cpu or cuda, got {device!r}")
    if device == "cuda" and not (torch.cuda.is_available() or options.list):
        raise UsageError("--device cuda: torch sees no CUDA device")
    return Selection(
        options.suite,
        _chosen("--family", options.family, _FAMILIES),
        tuple(options.only),
        _chosen("--dtypes", options.dtypes, _DTYPES),
        _chosen("--directions", options.directions, _DIRECTIONS),
        _chosen("--peers", options.peers, peers.PEERS)
        if options.peers or not options.quick
        else peers.EAGER_PEERS,
        options.quick,
        device,
    )


def _measure(options: argparse.Namespace, selection: Selection) -> int:
    from ..benchmarking.runner import WorkerUnusableError
    from ..benchmarking.session import BenchmarkError, Options, measure
    from ..benchmarking.tables import show
    from . import UsageError

    try:
        outcome = measure(
            Options(
                selection,
                options.output,
                options.benchmarks,
                options.time_budget,
                options.step_limit,
                options.fresh,
                options.retry_failed,
                options.commit,
                options.csrc_sha256,
                options.wheel_sha256,
            )
        )
    except (BenchmarkError, WorkerUnusableError, FileNotFoundError) as error:
        raise UsageError(str(error)) from None
    show(outcome.results, selection.suite)
    print(
        f"{outcome.results.path}: {len(outcome.results.records)} records, "
        f"{outcome.failed} steps failed, {outcome.left_over} jobs left over"
    )
    return 0


def _list(options: argparse.Namespace, selection: Selection) -> int:
    from ..benchmarking.cases import find_directory
    from ..benchmarking.plan import select_cases

    chosen = select_cases(find_directory(options.benchmarks), selection)
    for case, compiled in chosen:
        print(f"{case.problem:40} {case.op:18} {case.describe()}{' (compiled too)' * compiled}")
    print(f"{len(chosen)} cases")
    return 0


def _join(options: argparse.Namespace) -> int:
    from ..benchmarking.records import join
    from . import UsageError

    if options.output is None:
        raise UsageError("--join needs the file to add to in --output")
    try:
        results = join(options.output, options.join)
    except (OSError, ValueError) as error:
        raise UsageError(f"--join: {error}") from None
    print(f"{results.path}: {len(results.records)} records")
    return 0


def run(options: argparse.Namespace) -> int:
    from . import UsageError

    if options.render or options.check:
        from ..benchmarking.render import check, render

        return (render if options.render else check)(options.benchmarks)
    if options.join:
        return _join(options)
    if options.show:
        from ..benchmarking.records import Results
        from ..benchmarking.tables import show

        if options.output is None:
            raise UsageError("--show needs the file in --output")
        show(Results.load(options.output), options.suite)
        return 0
    selection = _selection(options)
    return _list(options, selection) if options.list else _measure(options, selection)
