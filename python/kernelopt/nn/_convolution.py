"""What the convolution modules share."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .._arguments import activation_code
from .._enums import Activation


class ActivatedConvolution(torch.nn.Module):
    """Beside one of torch's convolution modules: the same constructor and ``activation``, which is
    applied to the result."""

    # On the class as well, so that modules torch made (before a swap, or in an old pickle) have it.
    activation: str | Activation | None = None

    def __init__(
        self, *args: Any, activation: str | Activation | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        activation_code(f"nn.{type(self).__name__}", "activation", activation)
        self.activation = activation

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.activation is None else f"{text}, activation={self.activation!r}"


def pad_by_mode(module: Any, input: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """The input of a torch convolution module, padded where its ``padding_mode`` asks for other
    values than zeros, and the padding that is left to the convolution."""
    if module.padding_mode == "zeros":
        return input, module.padding
    return F.pad(input, module._reversed_padding_repeated_twice, mode=module.padding_mode), 0
