"""``./dev``, with stand-ins for what it calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path):
    """A directory that ``./dev`` takes for its repository; its programs log their calls."""
    root = tmp_path / "checkout"
    for name in (".venv/bin", "csrc", "examples/problems", "dist"):
        (root / name).mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "examples/problems/b.py", "dist/a.whl"):
        (root / name).touch()
    shutil.copy(REPOSITORY / "dev", root)
    for name in ("python", "kernelopt"):
        program = root / ".venv" / "bin" / name
        program.write_text(f"#!/bin/sh\necho {name} $PWD $* >>{tmp_path}/log\n")
        program.chmod(0o755)
    return root


def last_call(tmp_path: Path, root: Path, *words: str) -> list[str]:
    """Calls ``dev`` from a directory beside its own: the last program's name, directory, words."""
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    environment = {**os.environ, "KERNELOPT_CUDA": "0", "CXX": "true"}
    command = ["bash", str(root / "dev"), *words]
    subprocess.run(
        command, cwd=tmp_path / "elsewhere", env=environment, check=True, capture_output=True
    )
    return (tmp_path / "log").read_text().splitlines()[-1].split()


def test_files_are_named_from_where_dev_is_called(checkout, tmp_path):
    here = str(tmp_path / "elsewhere")
    call = last_call(tmp_path, checkout, "run", "../x.py", "--json", "out.json")
    assert call == ["kernelopt", here, "run", "../x.py", "--json", "out.json"]
    call = last_call(tmp_path, checkout, "run", "--device", "cpu")
    example = str(checkout / "examples" / "problems" / "b.py")
    assert call == ["kernelopt", here, "run", "--device", "cpu", example]
    (tmp_path / "elsewhere" / "c.whl").touch()
    call = last_call(tmp_path, checkout, "wheel-check", "c.whl")
    assert call[:2] == ["python", here]
    assert call[3:] == ["c.whl"]
