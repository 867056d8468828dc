"""Lists the shapes of a result file where torch was faster, with what rules are made of.

usage: slow_shapes.py benchmarks/results/CARD.json [--below 0.95] [--peer eager] [--all]
                      [--only WORD ...]

Groups them by op, dtype, direction and path. A line: torch's time over kernelopt's; milliseconds of
both; kernelopt's part of the floor; M products, KiB moved, blocks that tiles of 128 channels by 128
positions make, channels of a group in and out, the shape. The peer is what a user had before
installing kernelopt, eager torch; "fastest" takes the fastest of all. --all shows the faster shapes
too, which a rule must not catch. Every group ends with its count and geometric mean, and with that
mean if every slow shape took torch's time.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from kernelopt.benchmarking import cases, floors
from kernelopt.benchmarking.records import speedups

_TILE = 128


def _features(case: cases.Case, record: dict[str, Any]) -> str:
    work = floors.work(case, record["dtype"], record["direction"])
    products = (work.tensor_flops + work.core_flops) / 2e6
    text = f"{products:10.2f} M {work.bytes / 1024:9.0f} KiB"
    if case.op in ("add", "gelu"):
        return text
    groups = case.shape[1] if case.op == "depthwise_conv2d" else case.groups
    inside, outside = case.shape[1] // groups, case.out_channels // groups
    # Every image has its own tiles; a transposed convolution has one set for each phase.
    batch, _, *spatial = case.shape if case.op == "conv_transpose1d" else case.output_shape
    phases = case.stride[0] if case.op == "conv_transpose1d" else 1
    tiles = phases * groups * math.ceil(outside / _TILE) * batch
    tiles *= math.ceil(math.prod(spatial) / _TILE)
    return f"{text} {tiles:6d} tiles {inside:5d} -> {outside:5d}"


def _geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--below", type=float, default=0.95)
    parser.add_argument("--peer", default="eager", help='a peer\'s name, or "fastest"')
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", nargs="*", default=())
    options = parser.parse_args()

    known = {
        (case.problem, case.op, case.describe()): case
        for family in cases.load(cases.find_directory())
        for case in family.seeds + family.grid
    }
    groups: defaultdict[tuple[str, ...], list[tuple[float, str]]] = defaultdict(list)
    for record in json.loads(options.results.read_text())["records"]:
        case = known.get((record["problem"], record["op"], record["shape"]))
        ratios = speedups(record)
        fastest = min(ratios, key=lambda name: ratios[name], default=None)
        peer = fastest if options.peer == "fastest" else options.peer
        if case is None or peer not in ratios:
            continue
        ratio, time = ratios[peer], record["peers_ms"][peer]
        group = tuple(str(record[name]) for name in ("op", "dtype", "direction", "path"))
        words = " ".join(group) + f" {record['problem']} {record['shape']}"
        if options.only and not any(word in words for word in options.only):
            continue
        line = (
            f"{ratio:6.2f} {record['kernelopt_ms']:9.4f} {time:9.4f} "
            f"{record['floor_ms'] / record['kernelopt_ms']:5.2f} {_features(case, record)}  "
            f"{record['problem']} {record['shape']}"
        )
        groups[group].append((ratio, line))
    for group, rows in sorted(groups.items()):
        slow = [ratio for ratio, _ in rows if ratio < options.below]
        if not slow and not options.all:
            continue
        print(f"\n{' '.join(group)}")
        for ratio, line in sorted(rows):
            if options.all or ratio < options.below:
                print(line)
        before = _geometric_mean([ratio for ratio, _ in rows])
        after = _geometric_mean([1.0 if ratio < options.below else ratio for ratio, _ in rows])
        print(f"{len(slow)} of {len(rows)} below {options.below}, mean {before:.2f} -> {after:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
