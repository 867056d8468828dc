"""separable_conv2d of images large enough for the kernels on tensor cores."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch

import kernelopt
from conformance.check import check
from conformance.launches import assert_launched, is_hopper
from conformance.ops import OPS, Case
from support import assert_finite_alike, randn_behind

pytestmark = pytest.mark.gpu


def _separable_case(x: torch.Tensor, outputs: int, options: dict) -> Case:
    """A call of separable_conv2d with 3x3 taps and both biases."""
    channels = x.shape[1]
    shapes = ((channels, 1, 3, 3), (outputs, channels, 1, 1), (channels,), (outputs,))
    others = (torch.randn(shape, device="cuda", dtype=x.dtype) for shape in shapes)
    return Case(OPS["separable_conv2d"], (x, *others), options)


def test_separable_of_few_pixels() -> None:
    """Two kernels, of which the second one's is that of few pixels."""
    case = _separable_case(torch.randn(1, 256, 14, 14, device="cuda"), 96, {"padding": 1})
    case = replace(case, precision=kernelopt.Precision.DEFAULT)
    check(case)
    assert_launched([case], "depthwise_small_kernel", "channel_warps_mma_kernel")


def _separable_calls(dtype: torch.dtype) -> list[Case]:
    """Calls with enough products for the tensor cores, in sizes that fill no tile evenly."""
    draw = Random(0).choice
    cases = []
    while len(cases) < 16:
        inputs, outputs, batch = draw((8, 19, 33, 64)), draw((9, 33, 65, 128)), draw((1, 3))
        height, width = draw((28, 61, 147)), draw((56, 112, 147, 301))
        taps = draw(((3, 3), (3, 3), (1, 1), (5, 5), (2, 7)))
        stride, dilation = draw((1, 1, 2)), draw((1, 1, 2))
        if batch * inputs * outputs * height * width < 2**26:
            continue
        offset = draw((0, 1))
        x = randn_behind(offset, (batch, inputs, height, width), dtype)
        tensors = (
            x,
            torch.randn(inputs, 1, *taps, device="cuda", dtype=dtype),
            torch.randn(outputs, inputs, 1, 1, device="cuda", dtype=dtype),
            draw((None, torch.randn(inputs, device="cuda", dtype=dtype))),
            draw((None, torch.randn(outputs, device="cuda", dtype=dtype))),
        )
        options = {"stride": stride, "padding": draw((0, 1, (2, 3))), "dilation": dilation}
        case = Case(
            OPS["separable_conv2d"], tensors, options, precision=kernelopt.Precision.DEFAULT
        )
        activations = {
            "depthwise_activation": draw((None, "relu", "silu")),
            "activation": draw((None, "relu", "gelu")),
        }
        cases.append(case.with_options(**activations))
    return cases


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_separable_on_tensor_cores(dtype: torch.dtype) -> None:
    cases = _separable_calls(dtype)
    for case in cases:
        check(case)
    assert_launched(cases, "separable_wgmma_kernel" if is_hopper() else "correlation_mma_kernel")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_separable_gradient_of_a_relu_between(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    """Planes and channels on and off 16 bytes, in one share of the pixels and in many."""
    cases = []
    for batch, channels, size in (
        (3, 40, (37, 41)),
        (70, 24, (7, 7)),
        (2, 9, (128, 128)),
        (1, 300, (2, 3)),
        (9, 33, (60, 50)),
    ):
        tensors = (
            torch.randn(batch, channels, *size, device="cuda", dtype=dtype),
            torch.randn(channels, 1, 3, 3, device="cuda", dtype=dtype),
            torch.randn(16, channels, 1, 1, device="cuda", dtype=dtype),
            torch.randn(channels, device="cuda", dtype=dtype),
            None,
        )
        tensors = (tensors[0].contiguous(memory_format=memory_format), *tensors[1:])
        options = {"padding": 1, "depthwise_activation": "relu"}
        # Sums of whole numbers are exact: near 0 the gradient of ReLU were a matter of luck.
        cases.append(Case(OPS["separable_conv2d"], tensors, options).map(torch.round))
    for case in cases:
        check(case)
    layout = "rows" if memory_format == torch.channels_last else "planes"
    assert_launched(cases, f"relu_gradient_{layout}_kernel", backward=True)


def _check_wide(case: Case, activations: tuple[str | None, str | None], kernel: str) -> None:
    """Checks a call with activations after either half, on Hopper by that kernel."""
    inner, outer = activations
    case = case.with_options(depthwise_activation=inner, activation=outer)
    # Sums of whole numbers are exact: near 0 the gradient of ReLU were a matter of luck.
    check(case.map(torch.round) if "relu" in case.options.values() else case)
    if is_hopper():
        assert_launched([case], kernel)


def test_separable_of_wide_images() -> None:
    """Rows that fill no block evenly, heights that no group of rows divides, few channels; then
    rows that tiles of one width fill, which leave as boxes."""
    for shape, outputs, padding, activations in (
        ((2, 64, 37, 516), 128, 1, (None, None)),
        ((3, 35, 130, 300), 65, (0, 1), ("relu", None)),
        ((2, 40, 97, 388), 63, (3, 1), (None, "relu")),
        ((1, 8, 200, 1028), 120, 1, ("relu", "relu")),
        ((140, 19, 9, 100), 128, 1, (None, None)),
        ((2, 64, 37, 512), 128, 1, (None, None)),
        ((5, 33, 70, 192), 77, (2, 1), ("relu", None)),
        ((3, 50, 41, 112), 63, 1, (None, "relu")),
        ((140, 35, 9, 128), 60, 1, (None, None)),
    ):
        case = _separable_case(torch.randn(shape, device="cuda"), outputs, {"padding": padding})
        case = replace(case, precision=kernelopt.Precision.DEFAULT)
        _check_wide(case, activations, "separable_wgmma_rows_kernel")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_separable_of_wide_images_in_16_bit(dtype: torch.dtype) -> None:
    """Rows of 128 columns and of fewer, odd heights, images shorter than a block's rows, few
    channels; values and taps that are not finite, which must not spread along a row."""
    for shape, outputs, padding, activations in (
        ((2, 64, 41, 512), 128, 1, (None, None)),
        ((3, 35, 130, 248), 65, (0, 1), ("relu", None)),
        ((2, 40, 97, 376), 63, (3, 1), (None, "relu")),
        ((1, 8, 200, 1024), 120, 1, ("relu", "relu")),
        ((140, 19, 9, 120), 128, 1, (None, None)),
    ):
        x = torch.randn(shape, device="cuda", dtype=dtype)
        case = _separable_case(x, outputs, {"padding": padding})
        _check_wide(case, activations, "separable_bands_kernel")


def test_bands_keep_what_is_not_finite_apart() -> None:
    image = torch.zeros(2, 16, 80, 256, device="cuda", dtype=torch.bfloat16)
    image[0, 3, 11, 60] = float("inf")
    image[0, 5, 0, 0] = float("nan")
    depthwise = torch.ones(16, 1, 3, 3, device="cuda", dtype=torch.bfloat16)
    pointwise = torch.ones(64, 16, 1, 1, device="cuda", dtype=torch.bfloat16)
    result = kernelopt.separable_conv2d(image, depthwise, pointwise, padding=1)[0]
    expected = torch.zeros(80, 256, device="cuda")
    expected[10:13, 59:62] = float("inf")
    expected[:2, :2] = float("nan")
    for channel in result.float():
        torch.testing.assert_close(channel, expected, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_separable_over_padded_columns(dtype: torch.dtype) -> None:
    """Planes on no 16 bytes, and few on 16: several planes in a block and several blocks a plane,
    one column a thread and two, tiles across images, sums of one block and in shares, results that
    leave beside the next products, weights on and off 16 bytes."""
    for batch, channels, outputs, size, options, offset in (
        (3, 200, 300, (19, 19), {"padding": 1}, 0),
        (1, 520, 1032, (19, 19), {"padding": 1}, 1),
        (1, 1700, 130, (11, 11), {"padding": 1}, 0),
        (33, 70, 136, (9, 9), {"padding": (0, 2)}, 0),
        (2, 130, 260, (37, 35), {"padding": 2, "dilation": 2}, 1),
        (2, 65, 264, (59, 53), {"stride": 2}, 0),
        (1, 24, 136, (23, 901), {"padding": 1}, 0),
        (1, 64, 128, (56, 56), {"padding": 1}, 0),
        (3, 200, 136, (61, 67), {"padding": 1}, 0),
        (2, 200, 136, (61, 61), {"padding": 1}, 0),
        (9, 300, 136, (27, 29), {"padding": 1}, 0),
        (1, 4100, 16, (9, 9), {"padding": 1}, 0),
        (70, 72, 264, (19, 19), {"padding": 1}, 0),
        (150, 45, 264, (11, 13), {"padding": 1}, 1),
        (4, 1024, 1032, (10, 10), {"padding": 1}, 0),
        (96, 546, 546, (5, 13), {"padding": 1}, 0),  # tiles of 160 columns of four images
        (256, 138, 136, (6, 11), {"padding": 1}, 0),
        (31, 1001, 1397, (9, 11), {"padding": 1}, 0),  # 208 columns and 192 channels a tile
    ):
        x = randn_behind(offset, (batch, channels, *size), dtype)
        case = _separable_case(x, outputs, options)
        case = replace(case, precision=kernelopt.Precision.DEFAULT)
        for inner, outer in ((None, None), ("silu", "gelu")):
            check(case.with_options(depthwise_activation=inner, activation=outer))
        # Sums of whole numbers are exact: near 0 the gradient of ReLU were a matter of luck.
        check(case.with_options(activation="relu").map(torch.round))
        if is_hopper():
            names = ("separable_columns_depthwise_kernel", "separable_columns_wgmma_kernel")
            assert_launched([case], *names)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_separable_of_even_rows_over_padded_columns(dtype: torch.dtype) -> None:
    """The depthwise half is on tensor cores too, and writes columns."""
    for batch, channels, outputs, size, offset in (
        (9, 296, 264, (27, 46), 0),
        (32, 136, 136, (38, 38), 1),
    ):
        x = randn_behind(offset, (batch, channels, *size), dtype)
        case = _separable_case(x, outputs, {"padding": 1, "activation": "gelu"})
        check(replace(case, precision=kernelopt.Precision.DEFAULT))
        if is_hopper():
            assert_launched([case], "depthwise_banded_kernel", "separable_columns_wgmma_kernel")


# Tiles of pixels, padded columns of few tiles and of many, rows.
@pytest.mark.parametrize(("width", "outputs"), [(64, 128), (67, 128), (67, 264), (388, 128)])
def test_separable_keeps_inf_and_nan(width: int, outputs: int) -> None:
    """Inf meets parts of a split float32 that are 0, and zeros outside the image infinite taps."""
    x = torch.randn(2, 64, 150, width, device="cuda")
    depthwise_weight = torch.randn(64, 1, 3, 3, device="cuda")
    weight = torch.randn(outputs, 64, 1, 1, device="cuda").bfloat16().float()
    x[0, 3, 0, 0], x[0, 2, 40, 60], x[1, 7, 149, -1] = torch.inf, torch.nan, -torch.inf
    for infinite in (False, True):
        if infinite:
            depthwise_weight[5, 0, 0, 1] = torch.inf
        hidden = kernelopt.depthwise_conv2d(x, depthwise_weight, padding=1).double()
        expected = torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0].double(), hidden).float()
        output = kernelopt.separable_conv2d(x, depthwise_weight, weight, padding=1)
        assert_finite_alike(output, expected.double(), rtol=1e-3, atol=1e-2)
