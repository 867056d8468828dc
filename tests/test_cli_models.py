"""`kernelopt run` on models that are hard to make twice, and on results and inputs of any kind."""

from __future__ import annotations

import pytest

from problem_files import problem_text

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
    "of a layer": "self.m = 1\nself.conv.scale = rng.random()",
    "differentiable": "self.m = self.conv.weight[:, :1, 0] * rng.random()",
}


@pytest.mark.parametrize("init", UNSEEDED.values(), ids=UNSEEDED)
def test_unseeded_numbers_in_attributes(run, init):
    forward = """
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
