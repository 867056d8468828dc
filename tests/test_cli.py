"""The kernelopt command: problem files of any kind, exit statuses, JSON, info and selftest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import kernelopt
from kernelopt.cli import compare, main, solve
from problem_files import BAD, CONV, GOOD, HEADER, problem_text

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
    status, result, _ = run(CONV, "--check-seconds", "0", seeds=2)
    assert status == 0
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


# Exit status 2


@pytest.mark.parametrize(("message", "text"), BAD.items(), ids=BAD)
def test_files_not_of_the_form(run, message, text):
    status, result, printed = run(text)
    assert (status, result["status"]) == (2, "error")
    assert message.lower() in printed.lower()
    assert "Traceback" not in printed


def test_the_dtype_is_named_where_one_was_asked_for(run):
    text = CONV.replace("(2, 3, 17)", "(2, 5, 17)")
    assert "(cpu, float64)" in run(text, "--dtype", "float64")[1]["message"]
    message = run(text)[1]["message"]
    assert "forward raised RuntimeError" in message
    assert "(cpu" not in message


def test_verbose_shows_the_traceback(run):
    assert "Traceback" in run("1 / 0\n", "--verbose")[2]
    assert "gradient of conv.weight" in run(CONV, "--verbose")[2]


@pytest.mark.parametrize("name", ["missing.py", "."])
def test_no_such_file(name, tmp_path, capsys):
    assert main(["run", str(tmp_path / name), "--device", "cpu"]) == 2
    assert "file" in capsys.readouterr().err


def test_a_file_that_is_no_text(tmp_path, capsys):
    for content in (b"\x00\xff\x00", b"x = 1\n\x00\n"):
        (tmp_path / "binary.py").write_bytes(content)
        assert main(["run", str(tmp_path / "binary.py"), "--device", "cpu"]) == 2
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        assert "None" not in printed


def test_one_bad_file_does_not_stop_the_others(tmp_path, capsys):
    (tmp_path / "good.py").write_text(HEADER + CONV)
    files = [str(tmp_path / "missing.py"), str(tmp_path / "good.py")]
    assert main(["run", *files, "--device", "cpu", "--seeds", "1"]) == 2
    assert "seed 0" in capsys.readouterr().out


def test_a_file_keeps_its_settings_to_itself(tmp_path, capsys):
    settings = """
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.set_default_device("meta")
torch.use_deterministic_algorithms(True)
torch.set_num_threads(torch.get_num_threads() + 1)
"""
    threads = torch.get_num_threads()
    (tmp_path / "a.py").write_text(HEADER + settings + CONV)
    (tmp_path / "b.py").write_text(HEADER + CONV)
    target = tmp_path / "out.json"
    files = [str(tmp_path / "a.py"), str(tmp_path / "b.py")]
    main(["run", *files, "--device", "cpu", "--seeds", "1", "--json", str(target)])
    assert json.loads(target.read_text())["results"][1]["status"] == "ok"
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_default_device() == torch.device("cpu")
    assert not torch.overrides._get_current_function_mode_stack()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads


def test_frozen_settings(run, monkeypatch):
    """torch.testing's internals freeze some; a file may import them."""
    names = torch.backends.ContextProp.__set__.__globals__  # the module itself is wrapped
    monkeypatch.setitem(names, "flags_frozen", lambda: True)
    status, _, printed = run(CONV)
    assert status == 0, printed


def test_an_unforeseen_error_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    def broken(self, seeds, seconds):
        if self.problem.path.name == "a.py":
            raise AssertionError("oops")
        return check(self, seeds, seconds)

    check = solve.Checker.run
    monkeypatch.setattr(solve.Checker, "run", broken)
    files = [str(tmp_path / "a.py"), str(tmp_path / "b.py")]
    for file in files:
        Path(file).write_text(HEADER + CONV)
    assert main(["run", *files, "--device", "cpu", "--seeds", "1"]) == 2
    captured = capsys.readouterr()
    assert "a.py: kernelopt run failed with AssertionError: oops" in captured.err
    assert "Traceback" in captured.err
    assert "seed 0" in captured.out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "x.py", "--seeds", "0"],
        ["run", "x.py", "--dtype", "int8"],
        ["run", "x.py", "--nonsense"],
    ],
)
def test_bad_usage(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--seeds", "x", "expected a whole number of at least 1, got 'x'"),
        ("--seeds", "0", "expected a whole number of at least 1, got '0'"),
        ("--seeds", "1.5", "expected a whole number of at least 1, got '1.5'"),
        ("--check-seconds", "-1", "expected a number of at least 0, got '-1'"),
        ("--check-seconds", "nan", "expected a number of at least 0, got 'nan'"),
        ("--check-seconds", "soon", "expected a number of at least 0, got 'soon'"),
    ],
)
def test_bad_values(option, value, expected, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", "x.py", option, value])
    assert f"{option}: {expected}" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99"])
def test_bad_devices(device, capsys):
    for command in (["run", str(PROBLEMS[0])], ["selftest"]):
        assert main([*command, "--device", device]) == 2
        assert "--device" in capsys.readouterr().err


def test_json_goes_to_standard_output_alone(tmp_path, capsys):
    path = tmp_path / "chatty.py"
    path.write_text(HEADER + "print('hello')\n" + CONV)
    assert main(["run", str(path), "--device", "cpu", "--seeds", "1", "--json", "-"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert {"kernelopt", "torch", "device", "device_name", "exit_status"} <= document.keys()
    row = document["results"][0]["comparisons"][0]
    assert row.keys() == compare.Comparison.__dataclass_fields__.keys()
    assert "hello" in captured.err


@pytest.mark.parametrize("name", ["nowhere/x.json", ".", "/proc/x.json"])
def test_a_path_that_cannot_be_written_is_told_before_the_work(name, tmp_path, capsys):
    words = ["run", str(PROBLEMS[0]), "--device", "cpu", "--json", str(tmp_path / name)]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert "cannot write" in captured.err
    assert not captured.out


def test_a_path_that_could_be_written_is_as_it_was(tmp_path, capsys):
    target = tmp_path / "out.json"
    words = ["run", str(PROBLEMS[0]), "--device", "none", "--json", str(target)]
    assert main(words) == 2
    assert not target.exists()
    target.write_text("before")
    assert main(words) == 2
    assert target.read_text() == "before"
