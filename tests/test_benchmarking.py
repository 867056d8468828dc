"""``kernelopt bench``: floors, cases, records, what a run survives, and the generated tables."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernelopt.benchmarking import plots, session
from kernelopt.benchmarking.calls import torch_call
from kernelopt.benchmarking.cases import FAMILIES, Case, find_directory, load
from kernelopt.benchmarking.floors import Rates, input_shapes, valid_taps, work
from kernelopt.benchmarking.hostinfo import csrc_sha256
from kernelopt.benchmarking.overhead import measure_overhead
from kernelopt.benchmarking.paths import kernel_path
from kernelopt.benchmarking.plan import Selection, plan_overhead
from kernelopt.benchmarking.records import Results, new_record, problems, record_key
from kernelopt.benchmarking.render import check, render
from kernelopt.benchmarking.runner import WorkerUnusableError
from kernelopt.benchmarking.session import BenchmarkError, Options, measure
from kernelopt.benchmarking.tables import grid_table, seeds_table
from kernelopt.benchmarking.timing import CpuTimer
from kernelopt.cli import main

BENCHMARKS = find_directory(str(Path(__file__).parents[1] / "benchmarks"))
H200 = Rates(copy_gbps=4280, tensor_tflops=790, fp32_tflops=52)
CASE_LISTS = load(BENCHMARKS)
SEEDS = {case.problem: case for family in CASE_LISTS for case in family.seeds}

# A worker that measures nothing: each step takes 1 ms, unless its behaviour is given on the command
# line as "step=fail", "step=crash" or "step=hang". It notes each of its starts in a file.
FAKE_WORKER = """
import json, os, sys, time
behaviour = dict(word.split("=") for word in sys.argv[2:])
open(sys.argv[1], "a").write("start\\n")
def send(**message):
    print(json.dumps(message), flush=True)
send(ready=True)
for line in sys.stdin:
    job = json.loads(line)
    for step in job["steps"]:
        send(begin=step)
        how = behaviour.get(step)
        if how == "hang":
            time.sleep(600)
        if how == "crash":
            os.abort()
        if step == "environment":
            send(step=step, value={
                "device": "Fake 1", "driver": "1", "torch": "2", "python": "3",
                "copy_gbps": 4280.0, "tensor_tflops": 790.0, "fp32_tflops": 52.0})
        elif how == "fail":
            send(step=step, failure="RuntimeError: no such kernel")
        elif step in ("error", "eager_error"):
            send(step=step, value={"max": 1e-6, "relative_rms": 1e-7})
        else:
            send(step=step, value=behaviour.get("path", "a_kernel") if step == "path" else 1.0)
    send(done=True)
"""


@pytest.mark.parametrize(
    ("problem", "float32", "bfloat16"),
    [
        ("67", 0.7829, 0.3763),
        ("76", 3.3449, 1.6725),
        ("64", 1.5658, 0.5219),
        ("74", 0.3763, 0.1882),
        ("79", 0.3136, 0.1568),
        ("26", 3.0105, 1.5052),
        ("88", 0.1254, 0.0627),
        ("82", 0.4998, 0.2499),
        ("83", 0.2504, 0.1252),
        ("84", 1.9953, 0.9976),
        ("85", 0.2460, 0.1230),
        ("86", 0.7526, 0.3763),
        ("87", 3.0105, 1.5052),
        ("add 2^28", 0.7526, 0.3763),
    ],
)
def test_floor_of_known_shapes(problem: str, float32: float, bfloat16: float) -> None:
    for dtype, expected in (("float32", float32), ("bfloat16", bfloat16), ("float16", bfloat16)):
        floor_ms = work(SEEDS[problem], dtype, "forward").floor_ms(dtype, H200)
        assert floor_ms == pytest.approx(expected, abs=6e-5)


def test_flops_of_known_shapes() -> None:
    assert work(SEEDS["67"], "float32", "forward").tensor_flops == 206155284480
    assert work(SEEDS["64"], "float32", "forward").tensor_flops == 412316860416
    assert work(SEEDS["82"], "float32", "forward").core_flops == 4794163200
    assert work(SEEDS["67"], "float32", "backward").tensor_flops == 2 * 206155284480


def test_backward_bytes() -> None:
    # GELU reads the input and the output's gradient, and writes the input's.
    assert work(SEEDS["88"], "float32", "backward").bytes == 3 * 4 * 8192**2
    # Of a broadcast sum only the smaller operand's gradient is computed.
    assert work(SEEDS["add 2^20 broadcast"], "float32", "backward").bytes == 4 * (1024**2 + 1024)
    assert not SEEDS["add 2^20"].backward


def test_valid_taps_counts_pairs_inside() -> None:
    arguments = itertools.product((1, 4, 7), (5, 9), (1, 3), (1, 2), (0, 2), (1, 3))
    for few, many, taps, stride, padding, dilation in arguments:
        expected = sum(
            0 <= i * stride - padding + tap * dilation < many
            for i in range(few)
            for tap in range(taps)
        )
        assert valid_taps(few, many, taps, stride, padding, dilation) == expected


def test_grid_covers_each_family() -> None:
    assert [family.family for family in CASE_LISTS] == list(FAMILIES)
    for family in CASE_LISTS:
        assert len(family.grid) >= 200
        assert all("/" in case.problem for case in family.grid)
        batches = {case.shape[0] for case in family.grid if case.problem.count("/")}
        assert 1 in batches
        assert max(batches) >= 64
    assert sum(len(family.compiled) for family in CASE_LISTS) == 16


@pytest.mark.parametrize("family", CASE_LISTS, ids=lambda family: family.family)
def test_cases_have_torchs_output_shape(family) -> None:
    for case in (*family.seeds, *family.grid):
        tensors = [torch.empty(shape, device="meta") for shape in input_shapes(case)]
        assert torch_call(case)(*tensors).shape == case.output_shape, case


def test_path_is_the_longest_kernel() -> None:
    own = "void kernelopt::(anonymous namespace)::conv1d_implicit_gemm_kernel<float, 3>(Params)"
    assert kernel_path({own: 9.0, "Memset (Device)": 20.0}) == "conv1d_implicit_gemm_kernel"
    assert kernel_path({"void kernelopt::gelu_kernel<kernelopt::F>(int)": 1.0}) == "gelu_kernel"
    assert kernel_path({own: 1.0, "void cutlass::Kernel2<kernelopt::X>(int)": 2.0}) == "aten"
    assert kernel_path({}) == "aten"


def fake_options(tmp_path: Path, *behaviour: str, **changes) -> Options:
    worker = tmp_path / "worker.py"
    worker.write_text(FAKE_WORKER)
    selection = Selection("seeds", only=("67", "88"), dtypes=("float32",), directions=("forward",))
    values = {
        "selection": selection,
        "output": tmp_path / "results.json",
        "benchmarks": str(BENCHMARKS),
        "command": [sys.executable, str(worker), str(tmp_path / "starts"), *behaviour],
        **changes,
    }
    return Options(**values)


def starts(tmp_path: Path) -> int:
    return len((tmp_path / "starts").read_text().splitlines())


def by_problem(outcome) -> dict:
    return {record["problem"]: record for record in outcome.results.records.values()}


def test_records_have_the_documented_form(tmp_path: Path) -> None:
    outcome = measure(fake_options(tmp_path))
    document = json.loads((tmp_path / "results.json").read_text())
    assert problems(document) == []
    assert outcome.failed == outcome.left_over == 0
    record = by_problem(outcome)["67"]
    assert record["op"] == "conv1d"
    assert record["shape"] == "32x64x131072 -> 128, k3"
    assert record["floor_ms"] == pytest.approx(0.7829, abs=1e-4)
    assert set(record["peers_ms"]) == {
        "eager",
        "eager_cudnn_benchmark",
        "compile",
        "compile_max_autotune",
    }
    assert record["path"] == "a_kernel"
    assert set(by_problem(outcome)["88"]["peers_ms"]) == {
        "eager",
        "compile",
        "compile_max_autotune",
    }


def test_atens_path_is_compared_under_the_peers_setting(tmp_path: Path) -> None:
    own = by_problem(measure(fake_options(tmp_path)))["67"]
    assert "kernelopt_cudnn_benchmark_ms" not in own
    aten = by_problem(measure(fake_options(tmp_path, "path=aten", fresh=True)))
    assert aten["67"]["kernelopt_cudnn_benchmark_ms"] == 1.0
    assert "kernelopt_cudnn_benchmark_ms" not in aten["88"]  # no convolution
    assert problems(json.loads((tmp_path / "results.json").read_text())) == []
    count = starts(tmp_path)
    measure(fake_options(tmp_path, "path=aten"))
    assert starts(tmp_path) == count + 1  # nothing was missing


def test_a_failing_peer_costs_only_its_own_figure(tmp_path: Path) -> None:
    outcome = measure(fake_options(tmp_path, "eager=fail"))
    assert outcome.failed == 2
    record = by_problem(outcome)["67"]
    assert "eager" not in record["peers_ms"]
    assert record["peers_ms"]["compile"] == 1.0
    assert record["kernelopt_ms"] == 1.0
    assert outcome.results.failures[record_key(record), "eager"] == "RuntimeError: no such kernel"


def test_a_crashing_peer_is_replaced(tmp_path: Path) -> None:
    outcome = measure(fake_options(tmp_path, "eager=crash"))
    record = by_problem(outcome)["67"]
    assert "eager" not in record["peers_ms"]
    assert record["path"] == "a_kernel"
    assert "SIGABRT" in outcome.results.failures[record_key(record), "eager"]


def test_a_hanging_peer_is_killed(tmp_path: Path) -> None:
    outcome = measure(fake_options(tmp_path, "compile=hang", step_limit=0.5))
    record = by_problem(outcome)["67"]
    assert "compile" not in record["peers_ms"]
    assert record["peers_ms"]["compile_max_autotune"] == 1.0
    assert "no answer" in outcome.results.failures[record_key(record), "compile"]


def test_a_run_resumes(tmp_path: Path) -> None:
    measure(fake_options(tmp_path, "compile=fail"))
    before = (tmp_path / "results.json").read_text()
    count = starts(tmp_path)

    again = measure(fake_options(tmp_path))
    assert starts(tmp_path) == count + 1  # one worker for the environment: nothing was missing
    assert (tmp_path / "results.json").read_text() == before
    assert all("compile" not in record["peers_ms"] for record in again.results.records.values())

    repaired = measure(fake_options(tmp_path, retry_failed=True))
    assert all(record["peers_ms"]["compile"] == 1.0 for record in repaired.results.records.values())


def test_figures_of_two_trees_do_not_mix(tmp_path: Path) -> None:
    measure(fake_options(tmp_path, csrc_sha256="one"))
    with pytest.raises(BenchmarkError, match="csrc_sha256"):
        measure(fake_options(tmp_path, csrc_sha256="two"))
    fresh = measure(fake_options(tmp_path, csrc_sha256="two", fresh=True))
    assert fresh.results.environment["csrc_sha256"] == "two"


def test_the_hash_of_the_sources_is_that_of_their_code(tmp_path: Path) -> None:
    source = tmp_path / "csrc" / "add" / "add.cu"
    source.parent.mkdir(parents=True)
    hashes = []
    for text in ("int a = 1;\n", "// One.\nint a =\n    1; /* of\ntwo lines */\n", "int a = 2;\n"):
        source.write_text(text)
        hashes.append(csrc_sha256(tmp_path))
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_time_budget_ends_a_run(tmp_path: Path) -> None:
    outcome = measure(fake_options(tmp_path, "compile=hang", time_budget=5.0))
    assert outcome.left_over > 0
    assert by_problem(outcome)["67"]["kernelopt_ms"] == 1.0
    assert not outcome.results.failures


def test_a_worker_that_does_not_start_is_told(tmp_path: Path) -> None:
    options = fake_options(tmp_path, command=[sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(WorkerUnusableError, match=r"does not start .*status 3"):
        measure(options)


def test_bench_measures_on_a_cpu(tmp_path: Path, capsys) -> None:
    path = tmp_path / "cpu.json"
    words = ["bench", "--device", "cpu", "--quick", "--output", str(path)]
    words += ["--benchmarks", str(BENCHMARKS), "--dtypes", "float32"]
    assert main([*words, "--suite", "grid", "--only", "diffuser/up64"]) == 0
    grid = list(Results.load(path).records.values())
    assert {record["direction"] for record in grid} == {"forward", "backward"}
    for record in grid:
        assert record["path"] == "aten"
        assert record["kernelopt_ms"] > 0
        assert record["error"]["relative_rms"] < 1e-5
    assert "diffuser/up64" in capsys.readouterr().out


def test_overhead_on_a_cpu() -> None:
    timer = CpuTimer(torch.device("cpu"))
    for job in plan_overhead(Selection("overhead", device="cpu", quick=True)):
        message = job.message
        if message["op"] == "gelu":
            times = measure_overhead("gelu", message["requires_grad"], timer, quick=True)
            assert set(times) == {"kernelopt", "eager"}
            assert min(times.values()) > 0


def test_of_the_passes_over_host_times_the_least_disturbed_counts(tmp_path: Path) -> None:
    passes = iter([(30.0, 20.0), (40.0, 10.0), (20.0, 15.0)])

    class FakeRunner:
        def run_steps(self, message, steps, answered) -> None:
            ours, eager = next(passes)
            answered(steps[0], {"kernelopt": ours, "eager": eager}, None)

    jobs = [
        job
        for job in plan_overhead(Selection("overhead", only=("gelu",)))
        if not job.message["requires_grad"]
    ]
    results = Results(tmp_path / "card.json", {})
    for job in jobs:
        session._run_job(job, list(job.steps), results, FakeRunner(), print)
    record = results.records[jobs[0].key]
    assert (record["kernelopt_ms"], record["peers_ms"]) == (40.0, {"eager": 10.0})
    assert next(passes, None) is None


def test_slow_shapes_of_a_result_file() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "tools/slow_shapes.py", "benchmarks/results/h200.json", "--all"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert "conv1d float32 forward conv1d_wgmma_kernel" in listed
    assert "tiles" in listed


def test_bench_refuses_unknown_words(capsys) -> None:
    assert main(["bench", "--dtypes", "int8"]) == 2
    assert "float32, bfloat16, float16" in capsys.readouterr().err


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout: sources, the case lists, Markdown with blocks, and a result file."""
    root = tmp_path / "checkout"
    for folder in ("csrc", "docs", "benchmarks"):
        (root / folder).mkdir(parents=True)
    (root / "csrc" / "op.cpp").write_text("int one;\n")
    for path in BENCHMARKS.glob("bench_*.py"):
        (root / "benchmarks" / path.name).write_text(path.read_text())
    kinds = ("environment", "headline", "seeds op=conv1d", "grid", "overhead", "plots")
    blocks = [f"<!-- benchmark: {kind} -->\n<!-- /benchmark -->\n" for kind in kinds]
    (root / "README.md").write_text("# Title\n\n" + "\nbetween\n\n".join(blocks) + "end\n")
    (root / "docs" / "page.md").write_text("no blocks\n")
    return root


def measure_into(checkout: Path, tmp_path: Path, name: str = "h100") -> None:
    output = checkout / "benchmarks" / "results" / f"{name}.json"
    measure(fake_options(tmp_path, output=output, benchmarks=str(checkout / "benchmarks")))


def test_blocks_without_results_say_so(checkout: Path) -> None:
    directory = str(checkout / "benchmarks")
    assert check(directory) == 1
    assert render(directory) == 0
    assert check(directory) == 0
    assert (checkout / "README.md").read_text().count("Not measured yet") == 6


def test_render_and_check(checkout: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    directory = str(checkout / "benchmarks")
    measure_into(checkout, tmp_path)
    assert render(directory) == 0
    assert check(directory) == 0
    text = (checkout / "README.md").read_text()
    assert "| 67 | conv1d | 32x64x131072 -> 128, k3 | float32 | forward |" in text
    assert "| 88 | gelu | 8192x8192 tanh | 1 | 0.13 | 1.00 | - | - | - |" in text
    assert "| 88 | gelu | 8192x8192 tanh | float32 |" not in text
    assert "Stale" not in text
    assert text.startswith("# Title\n")
    assert text.endswith("end\n")
    for ending in plots.ENDINGS:
        assert (checkout / "docs" / "figures" / f"h100_seeds{ending}").stat().st_size > 1000

    (checkout / "README.md").write_text(text.replace("| 67 |", "| 66 |"))
    assert check(directory) == 1
    assert render(directory) == 0

    output = checkout / "benchmarks" / "results" / "h100.json"
    output.write_text(output.read_text().replace('"kernelopt_ms": 1.0', '"kernelopt_ms": 2.0'))
    assert check(directory) == 1
    assert "h100_seeds.svg" in capsys.readouterr().out


def test_a_block_names_one_of_several_files(checkout: Path, tmp_path: Path) -> None:
    measure_into(checkout, tmp_path, "h100")
    measure_into(checkout, tmp_path, "h200")
    with pytest.raises(ValueError, match="expected results=h100 or h200"):
        render(str(checkout / "benchmarks"))


def test_figures_of_other_sources_must_be_marked(checkout: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    directory = str(checkout / "benchmarks")
    measure_into(checkout, tmp_path)
    assert render(directory) == 0
    (checkout / "csrc" / "op.cpp").write_text("int two;\n")
    assert check(directory) == 1
    assert render(directory) == 0
    assert check(directory) == 0
    assert (checkout / "README.md").read_text().count("**Stale**") == 6


def test_import_time_is_shown(checkout: Path) -> None:
    directory = checkout / "benchmarks"
    (checkout / "docs" / "page.md").write_text(
        "<!-- benchmark: import_time -->\n<!-- /benchmark -->\n"
    )
    assert render(str(directory)) == 0
    assert "Not measured yet" in (checkout / "docs" / "page.md").read_text()
    result = {
        "torch": "2.13.0",
        "python": "3.11.7",
        "cores": 2,
        "load": 0.25,
        "torch_ms": {"median": 1400.4, "runs": [1400.4]},
        "kernelopt_ms": {"median": 12.34, "runs": [12.34, 15.0]},
    }
    (directory / "results" / "import_time").mkdir(parents=True)
    (directory / "results" / "import_time" / "torch.json").write_text(json.dumps(result))
    assert check(str(directory)) == 1
    assert render(str(directory)) == 0
    row = "| 2.13.0 | 3.11.7 | 1400 | 12.3 | 15.0 | 0.2 on 2 cores |"
    assert row in (checkout / "docs" / "page.md").read_text()


def test_aten_never_counts_as_faster() -> None:
    identity = ("grid", "net/layer", "conv1d", "1x1x1", "float32", "forward")
    record = {**new_record(identity, 1.0), "kernelopt_ms": 2.0, "peers_ms": {"eager": 4.0}}
    row = grid_table([{**record, "path": "a_kernel"}]).rows[0]
    assert row[4:7] == ("100%", "2.00", "2.00")
    assert grid_table([{**record, "path": "aten"}]).rows[0][4] == "0%"
    assert "0.50" in seeds_table([{**record, "path": "a_kernel"}]).rows[0]


def test_case_survives_json() -> None:
    from dataclasses import asdict

    case = SEEDS["76"]
    assert Case.from_json(json.loads(json.dumps(asdict(case)))) == case
