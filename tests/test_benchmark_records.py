"""The result file of ``kernelopt bench``: its form, and files that are joined."""

from __future__ import annotations

import json
from pathlib import Path

from kernelopt.benchmarking.records import (
    Results,
    fastest_peer,
    new_record,
    problems,
    speedup,
)
from kernelopt.cli import main

IDENTITY = ("seeds", "67", "conv1d", "1x1x1", "float32", "forward")
ENVIRONMENT = dict.fromkeys(
    ("device", "driver", "torch", "python", "commit", "csrc_sha256", "wheel_sha256"), "x"
) | dict.fromkeys(("copy_gbps", "tensor_tflops", "fp32_tflops"), 1.0)


def test_wrong_documents_are_told() -> None:
    record = new_record(IDENTITY, 1.0)
    assert problems({"environment": ENVIRONMENT, "records": [record]}) == []
    assert problems([])
    assert problems({"environment": {}, "records": []})
    for change in (
        {"suite": "other"},
        {"direction": "sideways"},
        {"peers_ms": {"eager": None}},
        {"peers_ms": {"other": 1.0}},
        {"kernelopt_ms": "fast"},
        {"error": 0.1},
        {"extra": 1},
    ):
        assert problems({"environment": ENVIRONMENT, "records": [{**record, **change}]}), change
    assert problems({"environment": ENVIRONMENT, "records": [record, record]})


def test_speedup_is_over_the_peer_that_comes_off_best() -> None:
    record = {**new_record(IDENTITY, 1.0), "kernelopt_ms": 2.0}
    assert speedup(record) is fastest_peer(record) is None
    record["peers_ms"] = {"eager": 4.0, "eager_cudnn_benchmark": 3.0}
    assert speedup(record) == 1.5
    assert fastest_peer(record) == ("eager_cudnn_benchmark", 3.0)
    # On ATen's path cudnn.benchmark serves kernelopt as it does the peer.
    record["kernelopt_cudnn_benchmark_ms"] = 1.0
    assert problems({"environment": ENVIRONMENT, "records": [record]}) == []
    assert speedup(record) == 2.0
    assert fastest_peer(record) == ("eager", 4.0)


def _write(path: Path, times: dict[str, float], **environment: object) -> Path:
    """A result file: a record of each problem, with its time."""
    results = Results(path, {**ENVIRONMENT, **environment})
    for problem, time in times.items():
        identity = (IDENTITY[0], problem, *IDENTITY[2:])
        results.put({**new_record(identity, 1.0), "kernelopt_ms": time})
    results.save()
    return path


def test_files_of_one_kind_of_card_are_joined(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.json", {"67": 1.0, "76": 2.0}, copy_gbps=3.0)
    second = _write(tmp_path / "b.json", {"76": 4.0, "64": 5.0}, copy_gbps=6.0)
    output = tmp_path / "all.json"
    assert main(["bench", "--join", str(first), str(second), "--output", str(output)]) == 0
    joined = Results.load(output)
    times = {record["problem"]: record["kernelopt_ms"] for record in joined.records.values()}
    assert times == {"67": 1.0, "76": 4.0, "64": 5.0}
    assert joined.environment["copy_gbps"] == 3.0


def test_what_must_not_join_is_told(tmp_path: Path, capsys) -> None:
    output = _write(tmp_path / "all.json", {"67": 1.0})
    before = output.read_text()
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"records": []}))
    for path, message in (
        (_write(tmp_path / "other.json", {"76": 2.0}, csrc_sha256="y"), "csrc_sha256 is y"),
        (broken, "expected an object"),
        (tmp_path / "absent.json", "absent.json"),
    ):
        assert main(["bench", "--join", str(path), "--output", str(output)]) == 2
        assert message in capsys.readouterr().err
    assert main(["bench", "--join", str(output)]) == 2
    assert "--output" in capsys.readouterr().err
    assert output.read_text() == before
