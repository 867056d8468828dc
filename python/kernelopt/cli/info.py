"""``kernelopt info``: what is installed, and which path each op takes on this machine."""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

# Ops whose CPU implementation is kernelopt's own C++; the others call ATen's operator from C++.
_OWN_CPU_OPS = ("add", "gelu")
# Ops with tensor-core kernels.
_TENSOR_CORE_OPS = (
    "conv1d",
    "conv_transpose1d",
    "depthwise_conv2d",
    "pointwise_conv2d",
    "separable_conv2d",
)
# Ops whose csrc/<family>/<op>_aten_policy.h leaves some problems to ATen, and where.
_SHARED_OPS = (
    "conv1d",
    "conv1d_backward",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "depthwise_conv2d",
    "depthwise_conv2d_backward",
    "pointwise_conv2d",
)
_SHARED_ON = "9.0"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "info",
        help="versions, GPUs, and which path each op takes on this machine",
        description="Prints versions, GPUs, and which path each op takes on this machine and why.",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(run=run)


def _gpus() -> list[dict[str, Any]]:
    import torch

    from .. import unavailable_reason

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        gpus.append(
            {
                "device": f"cuda:{index}",
                "name": properties.name,
                "compute_capability": f"{properties.major}.{properties.minor}",
                "memory_bytes": properties.total_memory,
                "unavailable_reason": unavailable_reason(index),
            }
        )
    return gpus


def _paths(gpus: list[dict[str, Any]]) -> list[dict[str, str]]:
    """One entry an op: the path it takes on the CPU and on each GPU."""
    from .._registration import decompositions

    entries = []
    for op in sorted(op._schema.name.split("::")[1] for op in decompositions()):
        own = op.removesuffix("_backward") in _OWN_CPU_OPS
        entry = {
            "op": op,
            "cpu": "kernelopt's C++ loop" if own else "ATen's operator, called from C++",
        }
        for gpu in gpus:
            reason = gpu["unavailable_reason"]
            entry[gpu["device"]] = f"ATen, because {reason}" if reason else _kernels(op, gpu)
        entries.append(entry)
    return entries


def _kernels(op: str, gpu: dict[str, Any]) -> str:
    shared = op in _SHARED_OPS and gpu["compute_capability"] == _SHARED_ON
    aten = "; in default precision ATen's operators for the shapes they compute faster"
    return _own_kernels(op, gpu) + (aten if shared else "")


def _own_kernels(op: str, gpu: dict[str, Any]) -> str:
    if op.removesuffix("_backward") not in _TENSOR_CORE_OPS:
        return "kernelopt's kernels"
    if int(gpu["compute_capability"].split(".")[0]) < 8:
        return "kernelopt's kernels, on CUDA cores (tensor cores from compute capability 8.0)"
    return (
        "kernelopt's kernels, on tensor cores where those are faster and the dtype is float16, "
        "bfloat16 or, in default precision, float32, else on CUDA cores"
    )


def collect() -> dict[str, Any]:
    """Everything ``kernelopt info`` shows."""
    import torch

    from .. import __version__, build_info, unavailable_reason

    build = build_info()
    gpus = _gpus()
    return {
        "kernelopt": __version__,
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda or "none",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "build": {
            "torch": build["torch"],
            "cuda": build["cuda"],
            "archs": [] if build["archs"] == "none" else build["archs"].split(","),
        },
        "cuda_unavailable_reason": unavailable_reason(),
        "gpus": gpus,
        "ops": _paths(gpus),
    }


def run(options: argparse.Namespace) -> int:
    facts = collect()
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    build = facts["build"]
    print(f"kernelopt  {facts['kernelopt']}")
    print(f"built with torch {build['torch']} headers, CUDA toolkit {build['cuda']}")
    print(f"GPU code   {' '.join(build['archs']) or 'none'}")
    print(f"torch      {facts['torch']} (CUDA {facts['torch_cuda']})")
    print(f"python     {facts['python']}")
    print(f"platform   {facts['platform']}")
    for gpu in facts["gpus"]:
        print(
            f"{gpu['device']:10} {gpu['name']}, compute capability {gpu['compute_capability']}, "
            f"{gpu['memory_bytes'] / 2**30:.0f} GiB"
        )
    if facts["cuda_unavailable_reason"]:
        print(f"CUDA       kernels not used: {facts['cuda_unavailable_reason']}")
    print("\nwhich path each op takes here (what no op covers goes to torch's own function):")
    width = max(len(entry["op"]) for entry in facts["ops"])
    for entry in facts["ops"]:
        paths = [f"{device}: {path}" for device, path in entry.items() if device != "op"]
        print(f"  {entry['op']:{width}}  {'; '.join(paths)}")
    return 0
