"""Modules of the separable family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .._enums import Activation
from ..ops.separable import pointwise_conv2d, separable_conv2d
from ._convolution import ActivatedConvolution, pad_by_mode
from .depthwise import DepthwiseConv2d


class PointwiseConv2d(ActivatedConvolution, torch.nn.Conv2d):
    """:class:`torch.nn.Conv2d` with a 1x1 kernel, on :func:`kernelopt.pointwise_conv2d`.

    Takes the same arguments, and ``activation`` by keyword: None, "relu", "gelu", "gelu_tanh" or
    "silu", applied to the result. ``kernel_size`` may be left out; ``kernel_size``, ``stride`` and
    ``groups`` must be 1 and ``padding`` 0, else ValueError.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int] = 1,
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
        for name, value, allowed in (
            ("kernel_size", kernel_size, (1, (1, 1), [1, 1])),
            ("stride", stride, (1, (1, 1), [1, 1])),
            ("padding", padding, (0, (0, 0), [0, 0], "same", "valid")),
            ("groups", groups, (1,)),
        ):
            if value not in allowed:
                raise ValueError(
                    f"kernelopt.nn.PointwiseConv2d: expected {name} to be {allowed[0]}, got "
                    f"{value!r}"
                )
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
        return pointwise_conv2d(input, weight, bias, activation=self.activation)


class SeparableConv2d(torch.nn.Module):
    """Depthwise-separable 2-D convolution on :func:`kernelopt.separable_conv2d`.

    Computes ``pointwise(depthwise(input))`` as one op. Its state_dict is that of a module with two
    :class:`torch.nn.Conv2d` named ``depthwise`` and ``pointwise``. The op reads the parameters of
    both; hooks on the two are not called.

    Args:
        in_channels: channels of the input; the depthwise convolution keeps their number.
        out_channels: channels of the output.
        kernel_size: of the depthwise convolution, as are ``stride``, ``padding``, ``dilation`` and
            ``padding_mode``, all as in :class:`torch.nn.Conv2d`.
        bias: whether both convolutions have a bias.
        depthwise_activation: applied between the two: None, "relu", "gelu", "gelu_tanh", "silu".
        activation: applied to the result, in the same form.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        depthwise_activation: str | Activation | None = None,
        activation: str | Activation | None = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        self.depthwise = DepthwiseConv2d(
            in_channels,
            in_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            padding_mode=padding_mode,
            activation=depthwise_activation,
            **options,
        )
        self.pointwise = PointwiseConv2d(
            in_channels, out_channels, activation=activation, **options
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        depthwise, pointwise = self.depthwise, self.pointwise
        input, padding = pad_by_mode(depthwise, input)
        return separable_conv2d(
            input,
            depthwise.weight,
            pointwise.weight,
            depthwise.bias,
            pointwise.bias,
            depthwise.stride,
            padding,
            depthwise.dilation,
            depthwise_activation=depthwise.activation,
            activation=pointwise.activation,
        )
