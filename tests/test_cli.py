"""The kernelopt command: problem files of any kind, and what is checked about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import kernelopt
from kernelopt.cli import main, solve
from problem_files import CONV, GOOD, HEADER, problem_text

PROBLEMS = sorted((Path(__file__).parents[1] / "examples" / "problems").glob("*.py"))


pytestmark = pytest.mark.usefixtures("short_times")


def plant(monkeypatch, change):
    """Makes ``kernelopt run`` use an optimizer that does something wrong after the right one."""

    def wrong(model):
        change(kernelopt.optimize(model))
        return model

    monkeypatch.setattr(solve, "optimize", wrong)


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_files_of_many_kinds_run(run, text):
    status, result, printed = run(text)
    assert status == 0, printed
    assert result["status"] == "ok"
    assert result["comparisons"]
    for row in result["comparisons"]:  # else the reference is of another call than the results
        if row["error_original"] is not None:
            assert row["error_original"] <= 1e-3 * row["scale"], row
    assert all("error" not in row for row in result["times"])


def test_examples(device, tmp_path):
    target = tmp_path / "out.json"
    words = [*map(str, PROBLEMS), "--device", device, "--seeds", "1", "--json", str(target)]
    assert main(["run", *words]) == 0
    for result in json.loads(target.read_text())["results"]:
        mapped = result["mapping"]["replaced"] + result["mapping"]["fused"]
        assert bool(mapped) == (Path(result["file"]).stem != "recurrent_tagger")
        assert {row["case"] for row in result["comparisons"]} >= {"seed 0", "seed 0, no_grad"}
        assert not result["backward_skipped"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(run, device, dtype):
    status, result, printed = run(CONV, "--dtype", dtype, "--require-replaced", device=device)
    assert status == 0, printed
    assert result["dtype"] == dtype


def test_random_modules_are_compared_in_eval_mode(run):
    text = problem_text(
        "x: return self.drop(F.gelu(x))", "[torch.randn(5, 6)]", "self.drop = nn.Dropout(0.5)"
    )
    status, result, _ = run(text)
    assert (status, result["mode"], result["reference"]) == (0, "eval", "float64")
    assert "random" in result["mode_reason"]


def test_models_random_in_eval_mode_are_compared_with_the_original(run):
    status, result, _ = run(problem_text("x: return x + torch.rand_like(x)", "[torch.randn(5)]"))
    assert (status, result["reference"]) == (0, "the original")
    assert "random" in result["reference_reason"]


def test_models_that_do_not_run_in_float64_are_compared_with_the_original(run):
    text = problem_text(
        "x: return F.gelu(x) @ torch.ones(4, 2, dtype=torch.float32)", "[torch.randn(3, 4)]"
    )
    status, result, _ = run(text)
    assert (status, result["reference"]) == (0, "the original")
    assert "float64" in result["reference_reason"]


def test_the_verdict_tells_what_is_left_out(run):
    assert "\n  ok\n" in run(CONV)[2]
    assert "\n  ok\n" in run(CONV, "--no-backward")[2]
    printed = run(problem_text("x: return x + 1, 'text', print", "[torch.arange(3)]"))[2]
    assert "\n  ok (gradients and 1 left out)\n" in printed


def test_gradients_are_skipped_where_there_are_none(run):
    cases = {
        "no output depends": "x: return x.argmax(-1)",
        "backward raised": "x: return torch.from_numpy((x + 1).numpy())",
    }
    for reason, forward in cases.items():
        status, result, _ = run(problem_text(forward, "[torch.randn(3, 4)]"))
        assert status == 0
        assert reason in result["backward_skipped"]
        assert {row["pass"] for row in result["times"]} == {"forward"}
    _, result, _ = run(CONV, "--no-backward")
    assert result["backward_skipped"] == "not asked for"


def test_variants_that_the_original_cannot_take_are_left_out(run):
    text = problem_text(
        "x: assert x.max() < 50, 'too large'\nreturn torch.log(x) + 1", "[torch.rand(9) + 0.1]"
    )
    status, result, _ = run(text)
    assert status == 0
    reasons = {row["case"]: row["reason"] for row in result["skipped"]}
    assert "too large" in reasons["x 100"]
    assert "not finite" in reasons["negated"]
    assert "x 0.01" in {row["case"] for row in result["comparisons"]}


def test_inputs_for_which_the_original_is_far_from_its_reference_are_marked(run):
    """The sum keeps few digits of small inputs, and more of large ones."""
    text = problem_text("x: return (x + 2e4) - 2e4", "[torch.rand(3, 8)]")
    status, result, printed = run(text)
    assert status == 0, printed
    doubtful = {row["case"] for row in result["comparisons"] if row["doubtful"]}
    assert doubtful == {"x 0.01"}
    lines = printed.splitlines()
    assert ["ok (!)" in line for line in lines if line.startswith((" x 0.01", " x 100"))] == [
        True,
        False,
    ]
    assert sum("(output: 0." in line and "x 0.01" in line for line in lines) == 1


def test_cases_after_the_time_limit_are_listed(run):
    status, result, printed = run(CONV, "--check-seconds", "0", seeds=2)
    assert status == 0
    assert f"ok ({len(result['skipped'])} left out)" in printed
    assert {row["case"] for row in result["comparisons"]} == {"seed 0"}
    assert "seed 1" in {row["case"] for row in result["skipped"]}


def test_file_names_and_neighbours(run, tmp_path, capsys):
    for folder, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "neighbour.py").write_text(f"VALUE = {value}\n")
        (tmp_path / folder / "my net.v2.py").write_text(
            HEADER
            + "import neighbour\nfrom .neighbour import VALUE\n"
            + problem_text(
                f"x: assert neighbour.VALUE == VALUE == {value}\nreturn F.gelu(x)",
                "[torch.randn(3)]",
            )
        )
    files = [str(tmp_path / folder / "my net.v2.py") for folder in "ab"]
    assert main(["run", *files, "--device", "cpu", "--seeds", "1"]) == 0
    assert "summary" in capsys.readouterr().out
    assert not list(tmp_path.glob("*/__pycache__/my*"))


def test_compile(run, monkeypatch):
    from torch._dynamo.backends.debugging import aot_eager

    # Inductor is not what is tested, and takes a C++ compiler and half a minute.
    monkeypatch.setattr(
        "torch._inductor.compile_fx.compile_fx", lambda graph, inputs, **_: aot_eager(graph, inputs)
    )
    status, result, printed = run(CONV, "--compile")
    assert status == 0, printed
    assert {row["path"] for row in result["comparisons"]} == {
        "kernelopt",
        "torch.compile, kernelopt",
    }
    models = {row["model"] for row in result["times"]}
    assert models == {"original", "kernelopt", "torch.compile", "torch.compile, kernelopt"}
    assert all("error" not in row for row in result["times"])


# Exit status 1


def scale_output(model):
    model.register_forward_hook(lambda module, inputs, output: output * 1.00001)


def scale_gradient(model):
    model.conv.weight.register_hook(lambda gradient: gradient * 1.00001)


def wrong_below_zero(model):
    model.register_forward_pre_hook(
        lambda module, inputs: tuple(torch.where(x < 0, x + 1e-3, x) for x in inputs)
    )


def wrong_dtype(model):
    model.register_forward_hook(lambda module, inputs, output: output.double())


def raising(model):
    def hook(module, inputs):
        raise RuntimeError("no such kernel")

    model.register_forward_pre_hook(hook)


def not_a_number(model):
    model.register_forward_hook(lambda module, inputs, output: output + 0 * torch.inf)


def renamed(model):
    model.register_buffer("extra", torch.zeros(()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scale_output, "output: error"),
        (scale_gradient, "gradient of conv.weight: error"),
        (wrong_dtype, "float64"),
        (raising, "no such kernel"),
        (not_a_number, "not finite"),
        (renamed, "state_dict keys"),
    ],
)
def test_a_wrong_mapping_is_found(run, monkeypatch, change, message):
    plant(monkeypatch, change)
    status, result, printed = run(CONV)
    assert (status, result["status"]) == (1, "differs")
    assert message in printed


def test_what_is_wrong_for_some_inputs_alone_is_found(run, monkeypatch):
    plant(monkeypatch, wrong_below_zero)
    status, result, _ = run(CONV)
    assert status == 1
    wrong = {row["case"] for row in result["comparisons"] if not row["ok"]}
    assert wrong == {"negated", "centered"}


@pytest.mark.filterwarnings("ignore:Warning only once for all operators")
def test_a_wrong_op_is_found(run, monkeypatch):
    wrong = torch.library.Library("kernelopt", "IMPL")
    wrong.impl(
        "gelu_backward",
        lambda grad, x, form=0: torch.ops.aten.gelu_backward(grad, x) * 0.999,
        "CPU",
        allow_override=True,
    )
    try:
        status, result, _ = run(problem_text("x: return F.gelu(x)", "[torch.randn(64)]"))
    finally:
        wrong._destroy()
    assert status == 1
    assert {row["quantity"] for row in result["comparisons"] if not row["ok"]} == {
        "gradient of input[0]"
    }


def test_optimize_that_raises_is_a_difference(run, monkeypatch):
    def broken(model):
        raise KeyError("conv")

    monkeypatch.setattr(solve, "optimize", broken)
    status, result, printed = run(CONV)
    assert status == 1
    assert "optimize raised KeyError" in result["message"]
    assert "optimize raised KeyError" in printed


def test_require_replaced(run):
    text = problem_text("x: return self.l(x)", "[torch.randn(2, 3)]", "self.l = nn.Linear(3, 2)")
    assert run(text)[0] == 0
    status, result, printed = run(text, "--require-replaced")
    assert (status, result["status"]) == (1, "not_replaced")
    assert "nothing was replaced" in printed
