"""Module of the conv1d family."""

from __future__ import annotations

import torch

from ..ops.conv1d import conv1d
from ._convolution import ActivatedConvolution, pad_by_mode


class Conv1d(ActivatedConvolution, torch.nn.Conv1d):
    """:class:`torch.nn.Conv1d` on :func:`kernelopt.conv1d`.

    Takes the same arguments, and ``activation`` by keyword: None, "relu", "gelu", "gelu_tanh" or
    "silu", applied to the result.
    """

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
