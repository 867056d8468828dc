"""What ``import kernelopt`` costs on top of ``import torch``.

Usage: ``python benchmarks/bench_import.py [--runs N] [--output FILE]``. Each run is a fresh process
that imports torch, then times the import of kernelopt. The file, by default
``results/import_time/torch-<version>.json`` beside this script, holds every run, the median, and
the machine's load before. ``kernelopt bench --render`` shows it in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

MEASUREMENT = """
import json, time
start = time.perf_counter()
import torch
middle = time.perf_counter()
import kernelopt
end = time.perf_counter()
print(json.dumps({
    "kernelopt": kernelopt.__version__, "torch": torch.__version__,
    "torch_ms": 1e3 * (middle - start), "kernelopt_ms": 1e3 * (end - middle),
}))
"""


def measure_once() -> dict:
    # With bytecode, as pip installs a package.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    output = subprocess.run(
        [sys.executable, "-c", MEASUREMENT],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    load = os.getloadavg()[0]
    first = measure_once()  # not counted: it fills the file cache and writes the bytecode
    runs = [measure_once() for _ in range(options.runs)]
    result = {
        "kernelopt": first["kernelopt"],
        "torch": first["torch"],
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(load, 2),
        **{
            name: {
                "median": round(statistics.median(run[name] for run in runs), 2),
                "runs": [round(run[name], 2) for run in runs],
            }
            for name in ("torch_ms", "kernelopt_ms")
        },
    }
    folder = Path(__file__).parent / "results" / "import_time"
    path = options.output or folder / f"torch-{first['torch']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"import torch: {result['torch_ms']['median']:.0f} ms")
    print(f"import kernelopt after it: {result['kernelopt_ms']['median']:.1f} ms")
    print(f"medians of {options.runs} runs, written to {path}")


if __name__ == "__main__":
    main()
