"""``./dev``, with stand-ins for what it calls."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernelopt.cli.run import add_parser

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
        program.write_text(f"#!/bin/sh\necho {name} $PWD $* [$CUDA_HOME] >>{tmp_path}/log\n")
        program.chmod(0o755)
    return root


def dev(
    tmp_path: Path, root: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Calls ``dev`` from a directory beside its own."""
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    environment = {**os.environ, "KERNELOPT_CUDA": "0", "CXX": "true", **variables}
    environment.pop("CUDA_HOME", None)
    command = ["bash", str(root / "dev"), *words]
    return subprocess.run(
        command,
        cwd=tmp_path / "elsewhere",
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )


def last_call(tmp_path: Path, root: Path, *words: str) -> list[str]:
    """The last program that ``dev`` calls: its name, directory, words."""
    dev(tmp_path, root, *words)
    return (tmp_path / "log").read_text().splitlines()[-1].split()[:-1]


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


def options_of_run() -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    (subparsers,) = parser._subparsers._group_actions
    return [action for action in subparsers.choices["run"]._actions if action.option_strings]


def test_options_of_run_alone_are_for_the_examples(checkout, tmp_path):
    example = str(checkout / "examples" / "problems" / "b.py")
    valued = [action for action in options_of_run() if action.nargs is None]
    assert len(valued) == 5
    for action in valued:
        option = action.option_strings[0]
        for words in ([option, "value"], [f"{option}=value"], ["--verbose", option, "value"]):
            call = last_call(tmp_path, checkout, "run", *words)
            assert call[2:] == ["run", *words, example]
            for file in ("net", "net.txt", "net.py"):
                call = last_call(tmp_path, checkout, "run", file, *words)
                assert call[2:] == ["run", file, *words]
                call = last_call(tmp_path, checkout, "run", *words, file)
                assert call[2:] == ["run", *words, file]


def test_standard_output_is_that_of_kernelopt_run(checkout, tmp_path):
    program = checkout / ".venv" / "bin" / "kernelopt"
    program.write_text("#!/bin/sh\necho $1\n")
    result = dev(tmp_path, checkout, "run", "net.py", "--json", "-")
    assert result.stdout == "run\n"
    assert "info\n" in result.stderr


def make_toolkit(home: Path, release: str) -> None:
    """A toolkit's header, and an nvcc that tells its version and nothing else."""
    nvcc, header = home / "bin" / "nvcc", home / "include" / "cuda_runtime.h"
    for path in (nvcc, header):
        path.parent.mkdir(parents=True)
        path.touch(0o755)
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V0'\n")


@pytest.mark.parametrize(
    ("on_path", "installed", "taken"),
    [
        ("13.2", None, "on_path"),
        (None, "14.0", "installed"),
        ("12.8", "13.0", "installed"),
        ("12.8", None, "pypi"),
        ("12.8", "the same", "pypi"),
        (None, None, "pypi"),
    ],
)
def test_an_old_toolkit_is_left_alone(checkout, tmp_path, on_path, installed, taken):
    """The machine's toolkit is taken where it is new enough, else PyPI's, and ``dev`` says so."""
    homes = {"on_path": tmp_path / "first", "installed": tmp_path / "second"}
    script = checkout / "dev"
    script.write_text(script.read_text().replace("/usr/local/cuda", str(homes["installed"])))
    for name, release in (("on_path", on_path), ("installed", installed)):
        if release == "the same":
            homes[name].symlink_to(homes["on_path"])
        elif release:
            make_toolkit(homes[name], release)
    # Without the machine's own nvcc.
    folders = [f for f in os.environ["PATH"].split(":") if not (Path(f) / "nvcc").exists()]
    links = tmp_path / "links"
    links.mkdir()
    programs = ("bash", "cut", "find", "nproc", "sha256sum", "sort", "xargs", "sed", "readlink")
    for program in programs:
        if found := shutil.which(program):
            (links / program).symlink_to(found)
    path = ":".join([str(homes["on_path"] / "bin"), *folders, str(links)])
    said = dev(tmp_path, checkout, "build", KERNELOPT_CUDA="1", PATH=path).stderr
    calls = (tmp_path / "log").read_text()
    pypi = "/nvidia/cu13"
    assert f"setup.py build_ext --inplace [{homes.get(taken, pypi)}]" in calls
    assert ("pip install -qq cuda-toolkit[nvcc" in calls) == (taken == "pypi")
    assert ("installing cuda-toolkit" in said) == (taken == "pypi")
    assert said.count("is of CUDA 12, and 13 or newer is needed") == (on_path == "12.8")


def test_setup_refuses_an_old_toolkit(tmp_path):
    make_toolkit(tmp_path, "12.8")
    environment = {**os.environ, "CUDA_HOME": str(tmp_path), "KERNELOPT_CUDA": "1"}
    command = [sys.executable, "setup.py", "--name"]
    result = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert result.returncode
    assert f"CUDA 12.8 in {tmp_path} is too old" in result.stderr
