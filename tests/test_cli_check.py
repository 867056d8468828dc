"""How `kernelopt run` judges: the rule, the reference's places, the second look, timing, output."""

from __future__ import annotations

import builtins
import copy
import functools
import io
import itertools
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import torch
from torch import nn

import kernelopt
from kernelopt.cli import compare, info, main, reference, selftest
from kernelopt.cli.check import Checker
from kernelopt.cli.evaluate import evaluate
from kernelopt.cli.problem import Problem
from kernelopt.cli.render import Output, duration
from kernelopt.cli.report import _show_times, show_summary
from kernelopt.cli.timing import _timing, measure

CPU = torch.device("cpu")
NAN, INF = math.nan, math.inf


def checker(model: nn.Module, mapped: nn.Module, inputs) -> Checker:
    problem = Problem(None, model, inputs, lambda: copy.deepcopy(model))
    wide = reference.Reference(problem.duplicate, CPU, None)
    return Checker(problem, {"original": model, "kernelopt": mapped}, wide, CPU, None, True, False)


# The rule


@pytest.mark.parametrize(
    ("ours", "original", "exact", "expected"),
    [
        ([1.5, 2.0], [1.25, 2.0], [1.0, 2.0], (0.5, 0.25, 2.0)),
        ([NAN, 1.0], [NAN, 1.0], [NAN, 1.0], (0.0, 0.0, 1.0)),
        ([INF, 1.0], [NAN, 1.0], [NAN, 1.0], (INF, 0.0, 1.0)),
        ([-INF, 1.0], [INF, 1.0], [INF, 1.0], (INF, 0.0, 1.0)),
        # The original's may be the wrong one of the two.
        ([INF, 1.0], [NAN, 1.0], [INF, 1.0], (0.0, 0.0, 1.0)),
        ([NAN, 1.0], [INF, 1.0], [NAN, 1.0], (0.0, 0.0, 1.0)),
        ([NAN, 1.0], [NAN, 1.0], [INF, 1.0], (0.0, 0.0, 1.0)),
        ([-INF, 1.0], [NAN, 1.0], [INF, 1.0], (INF, 0.0, 1.0)),
        ([NAN, 1.0], [1.0, 1.0], [1.0, 1.0], (INF, 0.0, 1.0)),
        ([INF, 1.0], [2.0, 1.0], [2.0, 1.0], (INF, 0.0, 2.0)),
        # The original overflowed where the reference did not: nothing is asked of ours there.
        ([7.0, 1.0], [INF, 1.0], [9e5, 1.0], (0.0, 0.0, 1.0)),
        ([], [], [], (0.0, 0.0, 0.0)),
    ],
)
def test_largest_errors(ours, original, exact, expected):
    tensors = [torch.tensor(values, dtype=torch.float64) for values in (ours, original, exact)]
    assert compare.largest_errors(*tensors) == expected


def test_largest_errors_in_pieces(monkeypatch):
    monkeypatch.setattr(compare, "_CHUNK", 3)
    exact = torch.arange(10.0)
    ours = exact.clone()
    ours[9] += 0.5
    assert compare.largest_errors(ours, exact + 0.25, exact.double()) == (0.5, 0.25, 9.0)


def test_rounding_unit():
    cuda = torch.device("cuda")
    assert compare.rounding_unit(torch.float32, cuda, True) == 2.0**-15
    assert compare.rounding_unit(torch.float32, cuda, False) == 2.0**-21
    assert compare.rounding_unit(torch.float32, CPU, True) == 2.0**-21
    assert compare.rounding_unit(torch.float64, cuda, True) == 2.0**-50
    assert compare.rounding_unit(torch.float16, cuda, True) == 2.0**-10
    assert compare.rounding_unit(torch.bfloat16, cuda, True) == 2.0**-7


class Edge(nn.Module):
    """Its gradient at the inputs below hangs on the last bit."""

    def __init__(self, threshold: float = 1.0):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        return torch.relu(x - self.threshold)


@pytest.mark.parametrize(("x", "ok"), [(1.0, True), (1.5, False)])
def test_second_look(x, ok):
    """A gradient that turns over is accepted where rounding alone turns the original's over."""
    report = checker(Edge(), Edge(1 - 2**-24 if ok else 2.0), lambda: [torch.full((4,), x)]).run(
        seeds=1, seconds=100
    )
    rows = [row for row in report.comparisons if row.case == "seed 0"]
    assert [row.quantity for row in rows] == ["output", "gradient of input[0]"]
    assert rows[1].ok is ok
    assert ("original moves" in rows[1].note) is ok


def test_what_is_zero_but_for_rounding_is_measured_by_its_module():
    """A bias before a batch normalization has no gradient; normalized values have no mean."""

    class Normalized(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3))

        def forward(self, x):
            return self.body(x)

    model = Normalized()
    mapped = copy.deepcopy(model)
    mapped.body[0].bias.register_hook(lambda gradient: gradient + 1e-6)
    report = checker(model, mapped, lambda: [torch.randn(4, 2, 9)]).run(1, 100)
    assert report.ok
    scales = {row.quantity: row.scale for row in report.comparisons if row.case == "seed 0"}
    assert scales["gradient of body.0.bias"] == scales["gradient of body.0.weight"] > 0.1
    assert scales["buffer body.2.running_mean afterwards"] > 0.1


def test_evaluate_leaves_model_and_inputs_as_they_were():
    norm = nn.BatchNorm1d(3)
    norm.seen = torch.zeros(2)
    norm.register_forward_hook(lambda module, *_: setattr(module, "seen", torch.ones(5)))
    x = torch.randn(4, 3)
    before = x.clone()
    outcome = evaluate(norm, (x,), {}, seed=0, backward=True)
    assert torch.equal(x, before)
    assert not norm.running_mean.any()
    assert norm.seen.shape == (2,)
    assert outcome.results["buffer running_mean afterwards"].any()
    assert outcome.gradients.keys() == {
        "gradient of input[0]",
        "gradient of weight",
        "gradient of bias",
    }


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(3, 4, num_layers=2, dropout=0.5)
        self.second = nn.GRU(4, 4)

    def forward(self, x):
        return self.second(self.first(x)[0])[0]


def test_recurrent_layers_leave_train_mode_only_if_they_drop_out():
    model = Recurrent()
    mapped = copy.deepcopy(model)
    judge = checker(model, mapped, lambda: [torch.randn(5, 2, 3)])
    report = judge.run(1, 100)
    assert report.ok
    assert (report.mode, report.backward_skipped) == ("eval", "")
    for settled in (model, mapped):
        assert not settled.training
        assert not settled.first.training
        assert settled.second.training


# The reference


class Tiles(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 3)

    def forward(self, x, shift):
        return {"sum": self.conv(x) + shift, "rows": x.argmax(-1)}


def run_reference(model, args, monkeypatch, most_rows):
    """The reference at once, and where float64 runs out of memory above some rows."""

    def limited(called, call_args, *rest, **options):
        if call_args[0].dtype == torch.float64 and len(call_args[0]) > most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return evaluate(called, call_args, *rest, **options)

    outcome = evaluate(model, args, {}, seed=0, backward=True)
    plain, short = (reference.Reference(lambda: copy.deepcopy(model), CPU, None) for _ in range(2))
    whole = plain.evaluate(model, args, {}, outcome, 0)
    monkeypatch.setattr(reference, "evaluate", limited)
    return short, whole, short.evaluate(model, args, {}, outcome, 0), outcome


@pytest.mark.parametrize("most_rows", [3, 1])
def test_reference_in_chunks(monkeypatch, most_rows):
    args = (torch.randn(7, 2, 9), torch.randn(3, 1))
    wide, whole, chunked, _ = run_reference(Tiles(), args, monkeypatch, most_rows)
    assert wide.place == f"float64 in chunks of {most_rows} rows"
    assert chunked.gradients.keys() == whole.gradients.keys()
    for name, value in chunked.everything().items():
        torch.testing.assert_close(value, whole.everything()[name], rtol=1e-12, atol=1e-12)


class Mixing(nn.Module):
    """Batch normalization: a row's result depends on the other rows."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        return self.norm(x)


def test_no_chunks_where_rows_depend_on_each_other(monkeypatch):
    wide, _, result, outcome = run_reference(
        Mixing(), (torch.randn(6, 2, 5),), monkeypatch, most_rows=2
    )
    assert wide.place == "the original"
    assert "memory" in wide.reason
    assert result is outcome


def test_little_cpu_memory_means_chunks(monkeypatch):
    monkeypatch.setattr(reference, "available_cpu_memory", lambda: 8 * 8 * 1000)
    args = (torch.randn(7, 2, 9), torch.randn(3, 1))
    model = Tiles()
    outcome = evaluate(model, args, {}, seed=0, backward=False)
    wide = reference.Reference(Tiles, CPU, None)
    wide.evaluate(model, args, {}, outcome, 0)
    assert wide.place == "float64"
    monkeypatch.setattr(reference, "available_cpu_memory", lambda: 8 * 1200)
    wide = reference.Reference(Tiles, CPU, None)
    wide.evaluate(model, args, {}, outcome, 0)
    assert wide.place == "float64 in chunks of 3 rows"


def test_a_reference_that_fills_the_memory_is_moved():
    """A mapped model that runs out of memory beside the reference gets a second chance."""
    raised = []

    class Hungry(nn.Identity):
        def forward(self, x):
            if not raised:
                raised.append(True)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    report = checker(nn.Identity(), Hungry(), lambda: [torch.randn(4)]).run(1, 100)
    assert raised
    assert report.ok


# Timing and output


def test_measure(device):
    calls = []
    tensor = torch.ones(4, device=device)
    result = measure({"a": lambda: calls.append(tensor + 1)}, torch.device(device), 0.002)["a"]
    assert 0 < result.low <= result.median <= result.high
    assert len(calls) > result.measurements >= 3


def test_functions_take_many_short_turns():
    calls = []
    functions = {name: functools.partial(calls.append, name) for name in "ab"}
    result = measure(functions, CPU, 0.1)
    turns = sum(before != after for before, after in itertools.pairwise(calls))
    assert turns >= 20
    assert result["a"].measurements >= 10


def test_a_slow_function_is_called_few_times():
    calls = []
    measure({"a": lambda: (calls.append(1), time.sleep(0.02))}, CPU, 0.01)
    assert len(calls) <= 6


def test_unsteady_times_are_marked():
    steady, unsteady = _timing([1.0, 1.1] * 4 + [9.0]), _timing([1.0] * 6 + [2.0] * 6)
    assert (steady.unsteady, unsteady.unsteady) == (False, True)

    def result(timing):
        rows = {"original": steady, "kernelopt": timing, "torch.compile": None}
        times = [
            {"pass": "forward", "model": name, **(asdict(t) if t else {"error": "no"})}
            for name, t in rows.items()
        ]
        left_out = {"backward_skipped": "", "skipped": []}
        return {"file": "a.py", "status": "ok", "message": "", "times": times, **left_out}

    def printed(*results):
        stream = io.StringIO()
        for one in results:
            _show_times(Output(stream), one["times"])
        show_summary(Output(stream), list(results))
        return stream.getvalue()

    assert "(!)" not in printed(result(steady), result(steady))
    text = printed(result(steady), result(unsteady))
    assert text.count("(!)") == 3  # the row, the line below the table, the summary
    assert "(!) the quartiles are" in text


@pytest.mark.parametrize("with_rich", [True, False])
def test_tables(monkeypatch, with_rich):
    real = builtins.__import__

    def without_rich(name, *args, **kwargs):
        if name.partition(".")[0] == "rich":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    if not with_rich:
        monkeypatch.setattr(builtins, "__import__", without_rich)
    stream = io.StringIO()
    Output(stream).table(["name", "time"], [["a[0]", "1 ms"], ["bb", "12 ms"]], text_columns=1)
    lines = [line.split() for line in stream.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["name", "time"]
    assert lines[2:] == [["a[0]", "1", "ms"], ["bb", "12", "ms"]]


def test_duration():
    assert [duration(s) for s in (2.0, 0.0123, 4.5e-6)] == ["2 s", "12.3 ms", "4.5 us"]


# info and selftest


def test_info(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert torch.__version__ in text
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kernelopt"] == kernelopt.__version__
    ops = {entry["op"] for entry in facts["ops"]}
    assert ops == {
        schema.name.removeprefix("kernelopt::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("kernelopt::")
    }
    assert all(op in text for op in ops)
    paths = {entry["op"]: entry["cpu"] for entry in facts["ops"]}
    assert "ATen" in paths["conv1d"]
    assert "ATen" not in paths["gelu"]


@pytest.mark.parametrize(
    ("capability", "path"),
    [("7.5", "kernels, on CUDA"), ("8.0", "on tensor cores"), ("12.0", "on tensor cores")],
)
def test_info_tells_tensor_cores(capability, path):
    gpu = {"device": "cuda:0", "compute_capability": capability, "unavailable_reason": ""}
    paths = {entry["op"]: entry["cuda:0"] for entry in info._paths([gpu])}
    for op, text in paths.items():
        if "conv" in op:
            assert path in text, op
        else:
            assert text == "kernelopt's kernels", op


def test_selftest(device, capsys):
    assert main(["selftest", "--device", device]) == 0
    text = capsys.readouterr().out
    assert "FAILED" not in text
    for name in ("conv_transpose1d", "separable_conv2d", "torch.compile", "optimize"):
        assert f"ok      {name}" in text


def test_selftest_finds_a_wrong_op(monkeypatch, capsys):
    right = kernelopt.gelu
    monkeypatch.setattr(kernelopt, "gelu", lambda x, **kw: right(x, **kw) * 1.001)
    monkeypatch.setattr(selftest, "check_compile", lambda device: "")
    assert main(["selftest", "--device", "cpu"]) == 1
    text = capsys.readouterr().out
    assert "FAILED  gelu (2) float32 cpu: result is off by" in text
    assert "FAILED  conv1d" not in text


def test_python_m_kernelopt():
    words = [sys.executable, "-m", "kernelopt", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"kernelopt {kernelopt.__version__}"
