"""Module of the conv1d family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .._enums import Activation
from ..ops.conv1d import conv1d
from ._convolution import ActivatedConvolution, pad_by_mode


class Conv1d(ActivatedConvolution, torch.nn.Conv1d):
    """:class:`torch.nn.Conv1d` on :func:`kernelopt.conv1d`.

    Takes the same arguments, and ``activation`` by keyword: None, "relu", "gelu", "gelu_tanh" or
    "silu", applied to the result.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        activation: str | Activation | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
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
        return conv1d(
            input,
            weight,
            bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            activation=self.activation,
        )
