"""1-D transposed convolution, with groups and output padding."""

from __future__ import annotations

import torch
from torch import nn

import kernelopt


class Model(nn.Module):
    """One :class:`torch.nn.ConvTranspose1d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv1d_transpose = nn.ConvTranspose1d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1d_transpose(x)


class ModelNew(nn.Module):
    """The same convolution on :class:`kernelopt.nn.ConvTranspose1d`.

    The outputs of each residue of the stride are one ordinary correlation with the taps that reach
    them: no zeros are inserted between the inputs, nothing is scattered with atomics. Large ones
    run on tensor cores, which fetch a window of the input once for all taps of the residue.
    Float32 is split in two bfloat16 parts, whose three products have at most a tenth of the error
    of TF32, torch's default on a GPU. The backward pass gives the same bits in every run; shapes
    that ATen's operators compute faster are left to those.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv1d_transpose = kernelopt.nn.ConvTranspose1d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1d_transpose(x.to(self.conv1d_transpose.weight.device) if x.is_cpu else x)


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(3, 8, 201)]


def get_init_inputs() -> list:
    return [8, 6, 5, 3, 1, 2, 2, True]
