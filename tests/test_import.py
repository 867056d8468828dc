"""What ``import kernelopt`` does not do, and how it fails where it must."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kernelopt

# Audit events by which a process starts another one or reaches the network.
WATCHED = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.", "socket.")

# Prints, as JSON, the watched events during an import (and a first call) and the modules that came.
RECORDER = """
import json, sys
import torch

events, recording = [], True
watched = tuple(json.loads(sys.argv[1]))

def hook(event, args):
    if recording and event.startswith(watched):
        events.append(f"{event} {args}")

before = set(sys.modules)
sys.addaudithook(hook)
import kernelopt
modules = sorted(set(sys.modules) - before)
kernelopt.gelu(torch.ones(3))
recording = False
print(json.dumps({"events": events, "modules": modules}))
"""


def run_python(code: str, *args: str, path: Path | None = None) -> subprocess.CompletedProcess:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=environment
    )


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[str]]:
    result = run_python(RECORDER, json.dumps(WATCHED))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_import_starts_no_process_and_touches_no_network(recorded):
    assert recorded["events"] == []


def test_recorder_sees_a_process():
    code = RECORDER.replace("import kernelopt\n", "import kernelopt, os\nos.system('true')\n")
    result = run_python(code, json.dumps(WATCHED))
    assert "os.system" in json.loads(result.stdout.splitlines()[-1])["events"][0]


def test_import_loads_nothing_but_torch_and_itself(recorded):
    foreign = [
        name
        for name in recorded["modules"]
        if name.split(".")[0] not in sys.stdlib_module_names | {"kernelopt"}
    ]
    assert foreign == []


@pytest.mark.parametrize("heavy", ["torch._dynamo", "torch._inductor", "triton", "rich"])
def test_import_loads_nothing_heavy(recorded, heavy):
    assert not [name for name in recorded["modules"] if (name + ".").startswith(heavy + ".")]


@pytest.fixture
def copied_package(tmp_path: Path) -> Path:
    """A folder with the package's Python files and no binary module."""
    source = Path(kernelopt.__file__).parent
    shutil.copytree(source, tmp_path / "kernelopt", ignore=shutil.ignore_patterns("_C.so"))
    return tmp_path


def import_error(code: str, path: Path) -> str:
    result = run_python(code, path=path)
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: kernelopt")
    return message


def test_old_torch_is_named(copied_package):
    code = "import torch; torch.__version__ = '2.9.1+cpu'; import kernelopt"
    message = import_error(code, copied_package)
    assert message.endswith("needs torch 2.10 or newer, got torch 2.9.1+cpu")


def test_missing_module_is_named(copied_package):
    message = import_error("import kernelopt", copied_package)
    assert "_C.so is missing" in message
    assert "./dev build" in message


def test_module_that_cannot_be_loaded_is_named(copied_package):
    (copied_package / "kernelopt" / "_C.so").write_bytes(b"\x7fELF of another machine")
    message = import_error("import kernelopt", copied_package)
    assert "torch 2.10 or newer" in message


def test_version_is_that_of_the_metadata():
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("kernelopt")
    except PackageNotFoundError:
        pytest.skip("run from a source tree that is not installed")
    assert kernelopt.__version__ == installed
