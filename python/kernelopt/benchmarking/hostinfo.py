"""What the figures were measured on: device, versions, and the hashes that name the code."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

UNKNOWN = "unknown"
_SOURCES = (".cpp", ".cu", ".cuh", ".h")


_COMMENTS_AND_SPACE = re.compile(rb"//[^\n]*|/\*.*?\*/|\s+", re.DOTALL)


def csrc_sha256(root: Path) -> str:
    """One hash over the names and the code of the C++ and CUDA sources under ``root/csrc``.

    Comments and white space do not count: figures stay those of the code when a comment changes.
    """
    paths = sorted(
        path for path in (root / "csrc").rglob("*") if path.suffix in _SOURCES and path.is_file()
    )
    if not paths:
        return UNKNOWN
    digest = hashlib.sha256()
    for path in paths:
        content = _COMMENTS_AND_SPACE.sub(b"", path.read_bytes())
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _output(*command: str, directory: Path | None = None) -> str:
    try:
        finished = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return finished.stdout.strip()


def source_facts(root: Path, commit: str | None, csrc: str | None, wheel: str | None) -> dict:
    """The names of the code: given values first, then the environment's, then the tree's.

    The variables are KERNELOPT_COMMIT, KERNELOPT_CSRC_SHA256 and KERNELOPT_WHEEL_SHA256.
    """
    return {
        "commit": commit
        or os.environ.get("KERNELOPT_COMMIT")
        or _output("git", "rev-parse", "HEAD", directory=root)
        or UNKNOWN,
        "csrc_sha256": csrc or os.environ.get("KERNELOPT_CSRC_SHA256") or csrc_sha256(root),
        "wheel_sha256": wheel or os.environ.get("KERNELOPT_WHEEL_SHA256") or UNKNOWN,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def environment(device: torch.device) -> dict[str, Any]:
    """Device, driver and versions, as the child that measures sees them."""
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        driver = (_output(*query).splitlines() or [UNKNOWN])[0]
    else:
        name, driver = f"CPU {_cpu_name()}", "none"
    return {
        "device": name,
        "driver": driver,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def device_stem(name: str) -> str:
    """The stem of a result file: "NVIDIA H200" gives "h200", a CPU "cpu"."""
    words = [word for word in name.lower().split() if word not in ("nvidia", "geforce", "tesla")]
    return "cpu" if words[:1] == ["cpu"] else "-".join(words) or UNKNOWN
