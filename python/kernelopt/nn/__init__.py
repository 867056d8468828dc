"""torch's modules on kernelopt's ops: the same constructors, parameters and state_dict."""

from .conv1d import Conv1d
from .conv_transpose1d import ConvTranspose1d
from .depthwise import DepthwiseConv2d
from .elementwise import GELU
from .separable import PointwiseConv2d, SeparableConv2d

__all__ = [
    "GELU",
    "Conv1d",
    "ConvTranspose1d",
    "DepthwiseConv2d",
    "PointwiseConv2d",
    "SeparableConv2d",
]
