"""Loads the binary module, which registers ``torch.ops.kernelopt``."""

from __future__ import annotations

from pathlib import Path

import torch

LIBRARY = Path(__file__).with_name("_C.so")
OLDEST_TORCH = (2, 10)


def _load() -> None:
    version = torch.__version__
    needed = "torch {}.{} or newer".format(*OLDEST_TORCH)
    if tuple(map(int, version.split(".")[:2])) < OLDEST_TORCH:
        raise ImportError(f"kernelopt needs {needed}, got torch {version}")
    if not LIBRARY.exists():
        raise ImportError(
            f"kernelopt: the binary module {LIBRARY.name} is missing from {LIBRARY.parent}: "
            "install a wheel, or build the checkout with `./dev build`"
        )
    try:
        torch.ops.load_library(str(LIBRARY))
    except OSError as error:
        raise ImportError(
            f"kernelopt: the binary module cannot be loaded with torch {version}; it needs "
            f"{needed} and this machine's architecture: {error}"
        ) from error


_load()


def build_info() -> dict[str, str]:
    """What the binary module was built with.

    Keys: ``torch`` (headers), ``cuda`` (toolkit, "none" without a CUDA part) and ``archs`` (the GPU
    architectures in it, as in ``TORCH_CUDA_ARCH_LIST``, comma-separated).
    """
    words = torch.ops.kernelopt_runtime.build_info().split(" ")
    return dict(word.split("=", 1) for word in words)


def unavailable_reason(device: torch.device | str | int | None = None) -> str:
    """Why kernelopt's CUDA kernels cannot run on a device; empty where they can.

    Args:
        device: a CUDA device; default the current one.
    """
    if build_info()["cuda"] == "none":
        return "this build of kernelopt has no CUDA part"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if device is None:
        index = torch.cuda.current_device()
    elif isinstance(device, int):
        index = device
    else:
        device = torch.device(device)
        index = torch.cuda.current_device() if device.index is None else device.index
    return torch.ops.kernelopt_runtime.unavailable_reason(index)
