"""Ahead-of-time compiled GPU kernels for PyTorch.

Importing kernelopt registers ``torch.ops.kernelopt.*`` from one prebuilt module; nothing is compiled
on the user's machine.
"""

from __future__ import annotations

from ._extension import build_info, unavailable_reason
from ._enums import Activation, Approximate, Precision
from ._registration import decompositions
from .ops.elementwise import add, gelu

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Approximate",
    "Precision",
    "add",
    "build_info",
    "decompositions",
    "gelu",
    "unavailable_reason",
]
