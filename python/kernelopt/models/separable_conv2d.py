"""Depthwise-separable 2-D convolution."""

from __future__ import annotations

import torch
from torch import nn

import kernelopt


class Model(nn.Module):
    """A depthwise :class:`torch.nn.Conv2d` followed by one with a 1x1 kernel."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            bias=bias,
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(x))


class ModelNew(kernelopt.nn.SeparableConv2d):
    """The same two convolutions as one op, on :class:`kernelopt.nn.SeparableConv2d`.

    The depthwise result is as large as the input and is used once, so writing and reading it costs
    more than computing it. Here each tile of it is computed on the chip, as the operand of the
    pointwise product that uses it, and is not written to memory, wherever that is faster than two
    kernels. Both biases and activations are part of the kernels. Only the inputs are kept for the
    backward pass, which computes the depthwise result again.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.to(self.pointwise.weight.device) if x.is_cpu else x)


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(3, 7, 45, 37)]


def get_init_inputs() -> list:
    return [7, 11, 3, 2, 1, 1]
