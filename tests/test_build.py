"""The binary module runs under every Python and every torch: what it links, what it carries."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy
import numpy.linalg._umath_linalg
import pytest

import check_wheel
import kernelopt
from kernelopt._extension import LIBRARY


def test_module_may_be_shipped():
    assert check_wheel.module_problems(LIBRARY) == []


def test_module_uses_no_symbol_of_cuda_torch():
    """Only libtorch's stable C interface: torch's C++ symbols change with every release."""
    mangled = [name for name in check_wheel.undefined_symbols(LIBRARY) if name.startswith("_Z")]
    assert [name for name in mangled if "c10" in name or "torch" in name or "2at" in name] == []


def test_build_info_names_toolkit_and_architectures():
    info = kernelopt.build_info()
    assert set(info) == {"torch", "cuda", "archs"}
    assert (info["cuda"] == "none") == (info["archs"] == "none")


def test_a_module_that_links_python_is_refused():
    module = Path(numpy.linalg._umath_linalg.__file__)
    problems = "\n".join(check_wheel.module_problems(module))
    assert "uses Python's symbols" in problems
    assert "libtorch.so" in problems


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("kernelopt-1.0-cp311-cp311-linux_x86_64.whl", "kernelopt/a.py", "not tagged py3-none"),
        ("kernelopt-1.0-py3-none-any.whl", "kernelopt/a.py", "not tagged py3-none"),
        ("kernelopt-1.0-py3-none-linux_x86_64.whl", "kernelopt/a.py", "one binary module"),
        ("kernelopt-1.0-py3-none-linux_x86_64.whl", "tests/a.py", "outside the package"),
    ],
)
def test_a_wheel_of_another_form_is_refused(tmp_path, name, content, problem):
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr(content, "")
    assert problem in "\n".join(check_wheel.wheel_problems(tmp_path / name))
