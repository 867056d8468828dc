"""Ahead-of-time compiled GPU kernels for PyTorch.

Importing kernelopt registers ``torch.ops.kernelopt.*`` from one prebuilt module; nothing is
compiled on the user's machine.
"""

from __future__ import annotations

from . import _flops, nn
from ._enums import Activation, Approximate, Precision
from ._extension import build_info, unavailable_reason
from ._registration import decompositions
from .mapping import optimize, report, restore
from .ops.conv1d import conv1d
from .ops.conv_transpose1d import conv_transpose1d
from .ops.depthwise import depthwise_conv2d
from .ops.elementwise import add, gelu
from .ops.separable import pointwise_conv2d, separable_conv2d

_flops.watch()

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Approximate",
    "Precision",
    "add",
    "build_info",
    "conv1d",
    "conv_transpose1d",
    "decompositions",
    "depthwise_conv2d",
    "gelu",
    "nn",
    "optimize",
    "pointwise_conv2d",
    "report",
    "restore",
    "separable_conv2d",
    "unavailable_reason",
]
