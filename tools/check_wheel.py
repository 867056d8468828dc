"""Checks that a wheel is what it says: one binary module for every Python and every torch.

usage: check_wheel.py WHEEL
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TAG = re.compile(r"-py3-none-(linux|manylinux_2_28)_(x86_64|aarch64)\.whl$")
# libtorch.so must be among them: it is what makes the weak symbols of a CUDA torch resolve.
REQUIRED_LIBRARY = "libtorch.so"
ALLOWED_LIBRARIES = {
    REQUIRED_LIBRARY,
    "libtorch_cpu.so",
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "librt.so.1",
    "libpthread.so.0",
    "libstdc++.so.6",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}
PYTHON_SYMBOL = re.compile(r"^_?Py[A-Z_]")
# Absolute names of source files and of folders where builds take place, this checkout among them.
CHECKOUT = re.escape(os.fsencode(Path(__file__).resolve().parents[1]))
BUILD_PATH = re.compile(
    rb"(?:/home|/root|/tmp|/opt|/usr/local|" + CHECKOUT + rb")/[\w.+/-]+"
    rb"|/[\w.+/-]+/site-packages"
)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed_libraries(module: Path) -> set[str]:
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", _output("readelf", "--dynamic", module)))


def run_paths(module: Path) -> list[str]:
    return re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.+)\]", _output("readelf", "--dynamic", module))


def undefined_symbols(module: Path) -> list[str]:
    lines = _output("nm", "--dynamic", "--undefined-only", module).splitlines()
    return [line.split()[-1].split("@")[0] for line in lines]


def build_paths(module: Path) -> list[str]:
    return sorted({match.decode() for match in BUILD_PATH.findall(module.read_bytes())})


def module_problems(module: Path) -> list[str]:
    """What is wrong with a binary module; empty where it may be shipped."""
    problems = []
    needed = needed_libraries(module)
    if needed - ALLOWED_LIBRARIES:
        problems.append(f"needs other libraries: {sorted(needed - ALLOWED_LIBRARIES)}")
    if REQUIRED_LIBRARY not in needed:
        problems.append(f"does not need {REQUIRED_LIBRARY}, so a CUDA torch's symbols stay unbound")
    python_symbols = [name for name in undefined_symbols(module) if PYTHON_SYMBOL.match(name)]
    if python_symbols:
        problems.append(f"uses Python's symbols: {python_symbols[:5]}")
    if run_paths(module):
        problems.append(f"has a run path: {run_paths(module)}")
    if build_paths(module):
        problems.append(f"names the build machine's paths: {build_paths(module)[:5]}")
    return problems


def wheel_problems(wheel: Path) -> list[str]:
    """What is wrong with a wheel; empty where it may be shipped."""
    problems = []
    if not TAG.search(wheel.name):
        problems.append("is not tagged py3-none for Linux")
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        strays = [name for name in names if not re.match(r"kernelopt(-[\w.]+\.dist-info)?/", name)]
        if strays:
            problems.append(f"holds files outside the package: {strays[:5]}")
        modules = [name for name in names if ".so" in Path(name).name]
        if modules != ["kernelopt/_C.so"]:
            problems.append(f"expected kernelopt/_C.so as its one binary module, got {modules}")
        problems += [
            f"{name} {problem}"
            for name in modules
            for problem in module_problems(Path(archive.extract(name, folder)))
        ]
    return problems


def build_info(wheel: Path) -> str:
    """What the wheel's module says it was built with; imports the unpacked wheel."""
    code = "import kernelopt; print(kernelopt.build_info())"
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        archive.extractall(folder)
        environment = {**os.environ, "PYTHONPATH": folder}
        return subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        ).stdout.strip()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    wheel = Path(arguments[0])
    problems = wheel_problems(wheel)
    for problem in problems:
        print(f"{wheel.name}: {problem}", file=sys.stderr)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if not problems:
        print(f"{wheel.name}: {build_info(wheel)}")
    print(f"{wheel.stat().st_size / 2**20:.2f} MiB, SHA-256 {digest}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
