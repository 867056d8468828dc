"""Module of the conv_transpose1d family."""

from __future__ import annotations

import torch

from ..ops.conv_transpose1d import conv_transpose1d
from ._convolution import ActivatedConvolution


class ConvTranspose1d(ActivatedConvolution, torch.nn.ConvTranspose1d):
    """:class:`torch.nn.ConvTranspose1d` on :func:`kernelopt.conv_transpose1d`.

    Takes the same arguments, and ``activation`` by keyword: None, "relu", "gelu", "gelu_tanh" or
    "silu", applied to the result.
    """

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        if self.padding_mode != "zeros":
            raise ValueError("Only `zeros` padding mode is supported for ConvTranspose1d")
        output_padding = self._output_padding(
            input,
            output_size,
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.kernel_size,  # type: ignore[arg-type]
            1,
            self.dilation,  # type: ignore[arg-type]
        )
        return conv_transpose1d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            output_padding,
            self.groups,
            self.dilation,
            activation=self.activation,
        )
