"""`kernelopt run` on models that are hard to make twice, and on results and inputs of any kind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from problem_files import HEADER, problem_text

CONV = "self.conv = nn.Conv1d(3, 3, 3, padding=1)"
X = "[torch.randn(2, 3, 9)]"


def text(forward: str, init: str = "", inputs: str = X) -> str:
    return "import numpy as np\n" + problem_text(f"x: {forward}", inputs, f"{CONV}\n{init}")


def errors(result: dict) -> list[float]:
    return [row["error_original"] / row["scale"] for row in result["comparisons"] if row["scale"]]


# Random numbers that no seed reaches


UNSEEDED = {
    "tensor": "self.m = torch.from_numpy(rng.random((3, 1)).astype('float32'))",
    "number": "self.m = rng.random()",
    "array": "self.m = rng.random((3, 1)).astype('float32')",
    "nested": "self.m, self.all = 1, {'m': [rng.random()]}",
    "shared": "self.all = self.conv.all = {'m': [rng.random()]}\nself.m = self.conv.all['m'][0]",
    "of a layer": "self.m = 1\nself.conv.scale = rng.random()",
    "differentiable": "self.m = self.conv.weight[:, :1, 0] * rng.random()",
}


@pytest.mark.parametrize("init", UNSEEDED.values(), ids=UNSEEDED)
def test_unseeded_numbers_in_attributes(run, init):
    forward = """
    assert getattr(self.conv, 'all', 0) is getattr(self, 'all', 0) or not hasattr(self.conv, 'all')
    m = torch.as_tensor(self.m, dtype=x.dtype) * getattr(self.conv, 'scale', 1)
    return self.conv(x) * (m * getattr(self, 'all', {'m': [1]})['m'][0]) + x"""
    status, result, printed = run(text(forward, f"rng = np.random.default_rng()\n{init}"))
    assert status == 0, printed
    assert result["reference"] == "float64"
    assert max(errors(result)) < 1e-5


def test_attributes_that_are_parameters_stay_those(run):
    """Every instance's attributes belong to its own parameters, which differ from what a seed
    gives."""
    init = """
    scale = torch.from_numpy(np.random.default_rng().random(3).astype('float32'))
    self.conv.bias = nn.Parameter(scale)
    self.names = {'bias': self.conv.bias}
    self.part = self.conv.bias.detach()[:1]"""
    forward = """
    assert self.names['bias'].data_ptr() == self.conv.bias.data_ptr() == self.part.data_ptr()
    return self.conv(x) + self.part"""
    status, _, printed = run(text(forward, init.replace("\n    ", "\n")))
    assert status == 0, printed


# Layers that the first call builds


BUILT = {
    "where there is none": (
        "self.late = None",
        "if self.late is None: self.late = nn.Conv1d(3, 3, 3, padding=1)",
    ),
    "by a flag": (
        "self.built = False",
        "if not self.built: self.late, self.built = nn.Conv1d(3, 3, 3, padding=1), True",
    ),
}


@pytest.mark.parametrize(("init", "build"), BUILT.values(), ids=BUILT)
def test_layers_built_by_the_first_call(run, init, build):
    status, result, printed = run(text(f"\n{build}\nreturn self.late(self.conv(x)) + x", init))
    assert status == 0, printed
    assert (result["mode"], result["reference"]) == ("train", "float64")
    assert {entry["name"] for entry in result["mapping"]["entries"]} >= {"conv", "late"}
    assert "gradient of late.weight" in {row["quantity"] for row in result["comparisons"]}


def test_layers_built_by_every_call_are_compared_with_the_original(run):
    forward = "\nself.late = nn.Conv1d(3, 3, 3, padding=1)\nreturn self.late(self.conv(x)) + x"
    status, result, printed = run(text(forward))
    assert status == 0, printed
    assert result["reference"] == "the original"
    assert "random numbers" in result["reference_reason"]


# Models that change from call to call


def test_a_model_that_cannot_be_timed_keeps_its_checks(run):
    """Its second backward pass goes through the first one's graph, which is gone."""
    forward = """
    y = self.conv(x)
    self.sum = y if self.sum is None else self.sum + y
    return self.sum"""
    status, result, printed = run(text(forward, "self.sum = None"))
    assert status == 0, printed
    assert all(row["ok"] for row in result["comparisons"])
    times = {(row["pass"], row["model"]): row for row in result["times"]}
    for model in ("original", "kernelopt"):
        assert times["forward", model]["median"] > 0
        assert "a second time" in times["forward+backward", model]["error"]
        assert f"forward+backward, {model}: not timed" in printed


def test_what_raises_for_one_model_is_timed_for_the_other(run):
    forward = """
    self.calls += not torch.is_grad_enabled() and type(self.conv) is not nn.Conv1d
    if self.calls > 3: raise RuntimeError('enough')
    return self.conv(x)"""
    status, result, printed = run(text(forward, "self.calls = 0"))
    assert status == 0, printed
    times = {(row["pass"], row["model"]): row for row in result["times"]}
    assert times["forward", "original"]["median"] > 0
    assert "enough" in times["forward", "kernelopt"]["error"]


# Results and inputs of any kind


# 1 in the original and 2 in the mapped model
WHICH = "which = 1 if type(self.conv) is nn.Conv1d else 2"


@pytest.mark.parametrize(
    "value",
    ["np.full(3, float(which))", "np.float32(which)", "complex(which)", "np.bool_(which - 1)"],
)
def test_arrays_and_numbers_are_compared(run, value):
    status, result, _ = run(text(f"\n{WHICH}\nreturn self.conv(x), {value}"))
    assert status == 1
    wrong = {row["quantity"] for row in result["comparisons"] if not row["ok"]}
    assert wrong == {"output[1]"}


def test_an_array_is_enough_of_a_result(run):
    status, result, printed = run(text("return self.conv(x).detach().numpy()[:, ::-1]"))
    assert status == 0, printed
    assert {row["quantity"] for row in result["comparisons"]} == {"output"}
    assert max(errors(result)) > 0  # measured, in float64


def test_what_is_not_compared_is_listed(run):
    status, result, printed = run(text("return self.conv(x), {1}, [np.array(['a'])]"))
    assert status == 0
    assert result["skipped"] == [
        {"case": "output[1]", "reason": "a set is not compared"},
        {"case": "output[2][0]", "reason": "a ndarray is not compared"},
    ]
    assert "left out: output[1]: a set is not compared" in printed


def test_float8_inputs(run):
    inputs = "[torch.randn(2, 3, 30).to(torch.float8_e4m3fn)]"
    status, result, printed = run(text("return self.conv(x.float())", inputs=inputs))
    assert status == 0, printed
    assert {row["case"] for row in result["comparisons"]} >= {"x 0.01", "x 100", "negated"}
    outputs = [row for row in result["comparisons"] if row["quantity"] == "output"]
    assert max(row["bound"] / row["scale"] for row in outputs) < 1e-5


def test_inputs_that_are_arrays(run):
    inputs = "[np.random.randn(2, 3, 9).astype('float32')]"
    status, result, printed = run(text("return self.conv(torch.as_tensor(x))", inputs=inputs))
    assert status == 0, printed
    assert result["reference"] == "the original"
    assert {row["case"] for row in result["comparisons"]} == {"seed 0", "seed 0, no_grad"}


def test_inputs_that_cannot_be_changed(run, monkeypatch):
    from kernelopt.cli import check

    monkeypatch.setitem(check.VARIANTS, "x 100", lambda x: x.no_such_thing)
    status, result, _ = run(text("return self.conv(x)"))
    assert status == 0
    assert [row["case"] for row in result["skipped"]] == ["x 100"]
    assert "the change raised AttributeError" in result["skipped"][0]["reason"]


# What Dynamo says


def test_dynamo_is_heard_where_it_is_asked_for(tmp_path):
    """In processes of their own: the tests' own keep Dynamo's messages apart."""
    forward = "\nimport time\ntime.sleep(0)\nif x.max().item() > 99: x = x + 1\nreturn self.conv(x)"
    path = tmp_path / "noisy.py"
    path.write_text(HEADER + text(forward))
    words = [
        sys.executable,
        "-m",
        "kernelopt",
        "run",
        str(path),
        "--device",
        "cpu",
        "--no-backward",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "TORCH_LOGS"}
    for options, heard in (([], False), (["--verbose"], True)):
        done = subprocess.run([*words, *options], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert ("Graph break from `Tensor.item()`" in done.stderr) == heard
        assert ("Dynamo does not know how to trace" in done.stderr) == heard
        assert heard or not done.stderr
