"""Module of the depthwise family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .._enums import Activation
from ..ops.depthwise import depthwise_conv2d
from ._convolution import ActivatedConvolution, pad_by_mode


class DepthwiseConv2d(ActivatedConvolution, torch.nn.Conv2d):
    """:class:`torch.nn.Conv2d` with one group a channel, on :func:`kernelopt.depthwise_conv2d`.

    Takes the same arguments, and ``activation`` by keyword: None, "relu", "gelu", "gelu_tanh" or
    "silu", applied to the result. ``groups`` may be left out; another number than ``in_channels``
    raises ValueError.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int | None = None,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        activation: str | Activation | None = None,
    ) -> None:
        if groups not in (None, in_channels):
            raise ValueError(
                f"kernelopt.nn.DepthwiseConv2d: expected groups to be in_channels, {in_channels}, "
                f"got {groups}"
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            in_channels,
            bias,
            padding_mode,
            device,
            dtype,
            activation=activation,
        )

    def _conv_forward(
        self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        input, padding = pad_by_mode(self, input)
        return depthwise_conv2d(
            input,
            weight,
            bias,
            self.stride,
            padding,
            self.dilation,
            activation=self.activation,
        )
