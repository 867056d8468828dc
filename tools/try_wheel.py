"""Installs one wheel file beside several releases of torch and Python and self-tests each.

usage: try_wheel.py WHEEL

The oldest Python found gets the oldest supported torch, the newest the newest release of torch, and
those between the torch that kernelopt is developed with, the first of them its CPU build. Every
environment is made afresh and removed afterwards. Needs at least three Python versions.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OLDEST_TORCH = ("torch==2.10.*",)
DEVELOPMENT_TORCH = (os.environ.get("KERNELOPT_TORCH", "torch==2.13.0"),)
# The index is asked where the usual one has CUDA builds alone.
CPU_TORCH = (
    "torch==2.13.0+cpu",
    "--retries=0",
    "--extra-index-url=https://download.pytorch.org/whl/cpu",
)
NEWEST_TORCH = ("torch",)
OLDEST_PYTHON = (3, 10)

_SHOW_TORCH = "import torch; print('torch', torch.__version__, 'with CUDA', torch.version.cuda)"


def _version(python: Path) -> tuple[int, int] | None:
    """The interpreter's version; None where it does not run or cannot make environments."""
    code = "import ensurepip, sys, venv; print(*sys.version_info[:2])"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError:
        return None
    return tuple(map(int, result.stdout.split())) if result.returncode == 0 else None


def interpreters() -> dict[tuple[int, int], Path]:
    """One interpreter for each version of CPython, from PATH and from pyenv's folder."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders += sorted(root.glob("versions/*/bin"))
    found: dict[tuple[int, int], Path] = {}
    for folder in folders:
        for candidate in sorted(folder.glob("python3.*")):
            if re.fullmatch(r"python3\.\d+", candidate.name):
                version = _version(candidate)
                if version and version >= OLDEST_PYTHON:
                    found.setdefault(version, candidate)
    return dict(sorted(found.items()))


def cases(pythons: list[Path]) -> list[tuple[Path, tuple[str, ...]]]:
    """Each Python with what pip is told to install as its torch."""
    first, second, *others, last = pythons
    between = [(python, DEVELOPMENT_TORCH) for python in others]
    return [(first, OLDEST_TORCH), (second, CPU_TORCH), *between, (last, NEWEST_TORCH)]


def try_wheel(wheel: Path, python: Path, torch: tuple[str, ...]) -> str:
    """Installs and self-tests; returns what went wrong, empty where nothing did."""
    with tempfile.TemporaryDirectory(prefix="kernelopt-wheel-") as folder:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        }
        inside = str(Path(folder, "venv", "bin", "python"))
        steps = [
            [str(python), "-m", "venv", f"{folder}/venv"],
            # --no-cache-dir: the CUDA builds of torch would fill the cache with gigabytes.
            [inside, "-m", "pip", "install", "-qq", "--no-cache-dir", *torch, "numpy", str(wheel)],
            [inside, "-c", _SHOW_TORCH],
            [inside, "-m", "kernelopt", "selftest"],
        ]
        for step in steps:
            result = subprocess.run(
                step,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            # Of a step that went well, the last line tells enough.
            lines = result.stdout.splitlines()
            for line in lines if result.returncode else lines[-1:]:
                print(f"    {line}", flush=True)
            if result.returncode != 0:
                return f"{' '.join(step[1:3])} ended with status {result.returncode}"
    return ""


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    wheel = Path(arguments[0]).resolve()
    print(f"{wheel.name}, SHA-256 {hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    found = interpreters()
    print("Python versions found: " + ", ".join(f"{major}.{minor}" for major, minor in found))
    if len(found) < 3:
        print("expected at least three Python versions from 3.10 on, on PATH or in pyenv")
        return 2
    failures = 0
    for python, torch in cases(list(found.values())):
        start = time.monotonic()
        print(f"{python.name}, {torch[0]}", flush=True)
        problem = try_wheel(wheel, python, torch)
        failures += bool(problem)
        seconds = time.monotonic() - start
        print(f"  {'FAILED: ' + problem if problem else 'passed'} ({seconds:.0f} s)", flush=True)
    print(f"{len(cases(list(found.values()))) - failures} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
