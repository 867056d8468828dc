"""Module of the element-wise family."""

from __future__ import annotations

import torch

from ..ops.elementwise import gelu


class GELU(torch.nn.GELU):
    """:class:`torch.nn.GELU` on :func:`kernelopt.gelu`, with the same arguments."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return gelu(input, approximate=self.approximate)
