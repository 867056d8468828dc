"""``kernelopt run``: maps the model of a problem file, checks it, times it and the original."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import UsageError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float16", "bfloat16", "float64")
_STATUS_EXIT = {"ok": 0, "differs": 1, "not_replaced": 1, "error": 2}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "run",
        help="map the model of a problem file, check it against the original, time both",
        description=(
            "Maps the models of Python files that define Model, get_inputs() and "
            "get_init_inputs(), checks each against the original, and times both. Exit status: 0 "
            "all right, 1 a result differs, 2 bad usage or a file not of this form."
        ),
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a Python file")
    parser.add_argument(
        "--device", help="cpu, cuda or cuda:N (default: cuda where kernelopt's kernels can run)"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="of parameters and inputs (default: as the file has them)"
    )
    parser.add_argument(
        "--no-backward", action="store_true", help="neither check nor time gradients"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help='also check and time torch.compile(backend="kernelopt"), and time torch.compile',
    )
    parser.add_argument(
        "--require-replaced", action="store_true", help="exit with 1 where nothing was replaced"
    )
    parser.add_argument(
        "--json", metavar="PATH", help="write the results there as JSON (- for standard output)"
    )
    parser.add_argument(
        "--seeds", type=_count, default=3, metavar="N", help="seeds to check (default: 3)"
    )
    parser.add_argument(
        "--check-seconds",
        type=_seconds,
        default=300,
        metavar="S",
        help="begin no further check of a file after this time (default: 300)",
    )
    parser.add_argument("--verbose", action="store_true", help="show tracebacks and every tensor")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if float(text) >= 0:  # which no NaN is
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")


def pick_device(name: str | None) -> torch.device:
    """The device a user named, or the default one.

    Raises:
        UsageError: there is no such device.
    """
    import torch

    from .. import unavailable_reason

    if name is None:
        usable = torch.cuda.is_available() and not unavailable_reason()
        name = "cuda" if usable else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device: expected cpu, cuda or cuda:N, got {name}") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device: expected cpu, cuda or cuda:N, got {name}")
    if device.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError(f"--device: {name} was asked for, but torch sees no CUDA device")
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise UsageError(f"--device: there is no {name}, torch sees {torch.cuda.device_count()}")
    return torch.device("cuda", index)


def _strict_json(value: Any) -> Any:
    """JSON has no infinity and no NaN: null stands for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _strict_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict_json(item) for item in value]
    return value


def _forget(device: torch.device) -> None:
    """Frees one file's memory, and its graphs, which would count against the next one's."""
    from .reference import release

    release(device)
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


def run(options: argparse.Namespace) -> int:
    import torch

    from .. import __version__
    from .problem import ProblemError, one_line
    from .render import Output
    from .report import show_result, show_summary
    from .solve import solve

    if options.json:
        _check_writable(options.json)
    device = pick_device(options.device)
    name = "CPU"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        name = torch.cuda.get_device_name(device)
    # With JSON on standard output, everything else goes to standard error.
    output = Output(sys.stderr if options.json == "-" else sys.stdout)
    output.line(f"kernelopt {__version__}, torch {torch.__version__}, {device} ({name})")
    if device.type == "cpu":
        output.line("On a CPU the convolution ops call ATen's: times show the cost of a call.")
    results = []
    for path in options.files:
        output.line(f"\n{path}")
        with contextlib.redirect_stdout(sys.stderr if options.json == "-" else sys.stdout):
            try:
                result = solve(path, device, options)
            except ProblemError as error:
                result = {"file": path, "status": "error", "message": str(error)}
                if options.verbose:
                    traceback.print_exception(error.__cause__ or error)
                print(f"kernelopt run: {path}: {error}", file=sys.stderr)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                # A fault of this command's, or what a model raises to end the program: neither
                # shall take the other files with it.
                fault = isinstance(error, Exception)
                what = "kernelopt run failed with" if fault else "its own code raised"
                message = f"{what} {one_line(error)}"
                if fault or options.verbose:
                    traceback.print_exc()
                result = {"file": path, "status": "error", "message": message}
                print(f"kernelopt run: {path}: {message}", file=sys.stderr)
            else:
                show_result(output, result, options.verbose)
        results.append(result)
        _forget(device)
    show_summary(output, results)
    status = max(_STATUS_EXIT[result["status"]] for result in results)
    document = {
        "kernelopt": __version__,
        "torch": torch.__version__,
        "device": str(device),
        "device_name": name,
        "exit_status": status,
        "results": results,
    }
    if options.json:
        text = json.dumps(_strict_json(document), indent=2, allow_nan=False)
        _write(options.json, text)
    return status


def _check_writable(path: str) -> None:
    """Before the work rather than after it.

    Raises:
        UsageError: nothing can be written there.
    """
    target = Path(path)
    if path == "-":
        return
    if target.is_dir():
        raise UsageError(f"--json: cannot write {path}: Is a directory")
    if not target.parent.is_dir():
        raise UsageError(f"--json: cannot write {path}: No such directory: {target.parent}")
    if target.exists() and not target.is_file():
        return  # to open and close a pipe would end it
    existed = target.exists()
    try:
        with open(target, "a"):
            pass
        if not existed:
            target.resolve().unlink()
    except OSError as error:
        raise UsageError(f"--json: cannot write {path}: {error.strerror}") from None


def _write(path: str, text: str) -> None:
    if path == "-":
        print(text)
        return
    try:
        with open(path, "w") as file:
            file.write(text + "\n")
    except OSError as error:
        raise UsageError(f"--json: cannot write {path}: {error.strerror}") from None
