"""The kernelopt command: files, arguments and outputs that something is wrong with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kernelopt.cli import compare, main, problem, solve
from problem_files import BAD, CONV, HEADER

PROBLEMS = sorted((Path(__file__).parents[1] / "examples" / "problems").glob("*.py"))

pytestmark = pytest.mark.usefixtures("short_times")


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


def test_what_ends_the_program_ends_its_own_file_alone(tmp_path, capsys):
    stop = "class Stop(BaseException): pass\n"
    texts = {
        "a": stop + "raise Stop\n",
        "b": CONV.replace("return self.activation(self.conv(x))", "raise SystemExit"),
        "c": stop + CONV.replace("return [torch", "raise Stop"),
        "d": CONV,
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(HEADER + text)
    files = [str(tmp_path / f"{name}.py") for name in texts]
    target = tmp_path / "out.json"
    options = ["--device", "cpu", "--seeds", "1", "--json", str(target)]
    assert main(["run", *files, *options]) == 2
    statuses = [result["status"] for result in json.loads(target.read_text())["results"]]
    assert statuses == ["error", "error", "error", "ok"]
    for place in ("return self.activation", "super().__init__()", "return []"):
        (tmp_path / "a.py").write_text(HEADER + CONV.replace(place, "raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            main(["run", *files, "--device", "cpu"])


def test_a_file_keeps_its_settings_to_itself(tmp_path, capsys):
    settings = """
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.set_default_device("meta")
torch.use_deterministic_algorithms(True)
torch.set_num_threads(torch.get_num_threads() + 1)
torch.set_float32_matmul_precision("medium")
torch.backends.cudnn.allow_tf32 = False
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
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.allow_tf32
    settings = """
torch.backends.fp32_precision = "ieee"
torch.backends.mkldnn.conv.fp32_precision = "bf16"
torch.backends.cudnn.rnn.fp32_precision = "ieee"
"""
    (tmp_path / "a.py").write_text(HEADER + settings + CONV)
    before = problem.float32_precisions()
    main(["run", str(tmp_path / "a.py"), "--device", "cpu", "--seeds", "1"])
    assert problem.float32_precisions() == before


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
