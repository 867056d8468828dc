"""The memory format of a 2-D convolution's output is torch's, whatever its tensors' formats."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import kernelopt

LAST = torch.channels_last
FORMATS = (torch.contiguous_format, LAST)

LAYOUTS: dict[str, Callable[[int, int, int, int], torch.Tensor]] = {
    "contiguous": torch.randn,
    "channels_last": lambda n, c, h, w: torch.randn(n, c, h, w).to(memory_format=LAST),
    "slice of channels": lambda n, c, h, w: torch.randn(n, 2 * c, h, w).to(memory_format=LAST)[
        :, :c
    ],
    "permuted": lambda n, c, h, w: torch.randn(n, h, w, c).permute(0, 3, 1, 2),
    "every second column": lambda n, c, h, w: torch.randn(n, c, h, 2 * w)[..., ::2],
    "transposed": lambda n, c, h, w: torch.randn(n, c, w, h).transpose(2, 3),
    "expanded": lambda n, c, h, w: torch.randn(n, 1, h, w).expand(n, c, h, w),
}


def _formats(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_contiguous(), tensor.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_has_torchs_format(
    layout: str, weight_format: torch.memory_format, device: str
) -> None:
    for sizes in ((2, 4, 5, 6), (1, 4, 5, 6), (2, 1, 5, 6), (2, 4, 1, 1), (2, 4, 1, 6)):
        channels = sizes[1]
        x = LAYOUTS[layout](*sizes)
        pointwise = torch.randn(3, channels, 1, 1).to(memory_format=weight_format)
        expected = F.conv2d(x, pointwise)
        moved = [tensor.to(device) for tensor in (x, pointwise)]
        assert _formats(kernelopt.pointwise_conv2d(*moved)) == _formats(expected), sizes
        for kernel, multiplier in ((3, 1), (1, 1), (3, 2)):
            weight = torch.randn(channels * multiplier, 1, kernel, kernel)
            weight = weight.to(memory_format=weight_format)
            expected = F.conv2d(x, weight, padding=kernel // 2, groups=channels)
            output = kernelopt.depthwise_conv2d(
                x.to(device), weight.to(device), padding=kernel // 2
            )
            assert _formats(output) == _formats(expected), (sizes, kernel, multiplier)
            if multiplier == 1:
                output = kernelopt.separable_conv2d(
                    x.to(device), weight.to(device), pointwise.to(device), padding=kernel // 2
                )
                assert _formats(output) == _formats(F.conv2d(expected, pointwise)), (sizes, kernel)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_moved_to_channels_last_takes_contiguous_inputs(compiled: bool) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.pointwise = torch.nn.Conv2d(8, 6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.pointwise(F.relu(self.depthwise(x)))
            return y.permute(0, 2, 3, 1).view(-1, 6)  # a view of channels_last outputs alone

    model = Model().to(memory_format=LAST)
    x = torch.randn(2, 8, 7, 9)
    expected = model(x)
    mapped = torch.compile(model, backend="kernelopt") if compiled else kernelopt.optimize(model)
    torch.testing.assert_close(mapped(x), expected)
