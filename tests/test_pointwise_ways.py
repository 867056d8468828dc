"""Pointwise products by the kernels of few channels of the result and of long sums, and
one-dimensional convolutions with one tap, which are such products."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import kernelopt
from conformance.check import check
from conformance.launches import assert_launched, is_hopper
from conformance.ops import OPS, Case
from support import assert_finite_alike, randn_behind

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def _case(name: str, sizes: tuple[int, ...], dtype: torch.dtype, offset: int = 0) -> Case:
    """A convolution with one tap whose input begins ``offset`` elements behind 16 bytes.

    sizes: batch, channels, channels of the result, then height and width, or the length
    """
    batch, channels, outputs, *pixels = sizes
    x = randn_behind(offset, (batch, channels, *pixels), dtype)
    shape = (channels, outputs) if name == "conv_transpose1d" else (outputs, channels)
    weight = torch.randn(*shape, *(1 for _ in pixels), device="cuda", dtype=dtype)
    bias = torch.randn(outputs, device="cuda", dtype=dtype)
    return replace(Case(OPS[name], (x, weight, bias)), precision=kernelopt.Precision.DEFAULT)


# Planes on 16 bytes and off them; pixels for many blocks, for some and for less than one.
FEW_CHANNELS = (
    (4, 32, 1, 320, 320),
    (2, 19, 2, 257, 255),
    (2, 300, 3, 28, 28),
    (1, 530, 5, 31, 33),
    (3, 40, 7, 64, 64),
    (5, 9, 4, 5, 4),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", FEW_CHANNELS)
def test_few_channels_of_the_result(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    assert_launched([_case("pointwise_conv2d", sizes, dtype)], "channel_sums_kernel")
    for offset, activation in ((0, None), (1, "silu")):
        check(_case("pointwise_conv2d", sizes, dtype, offset).with_options(activation=activation))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_few_channels(dtype: torch.dtype) -> None:
    case = _case("pointwise_conv2d", (3, 3, 40, 33, 37), dtype)
    assert_launched([case], "channel_sums_kernel", backward=True)
    check(case)


# Few tiles with long sums, and planes off 16 bytes: tiles, chunks and shares that are not filled.
LONG_SUMS = (
    (1, 1700, 200, 7, 7),
    (1, 2050, 130, 9, 9),
    (2, 1600, 600, 7, 6),
    (1, 200, 300, 45, 45),
    (1, 2048, 100, 8, 8),  # planes on 16 bytes; weights as they lie
    (1, 1700, 100, 8, 8),  # weights that are packed
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", LONG_SUMS)
def test_long_sums(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    if is_hopper():
        case = _case("pointwise_conv2d", sizes, dtype)
        assert_launched([case], "channel_cluster_wgmma_kernel")
    for offset, activation in ((0, None), (3, "silu")):
        check(_case("pointwise_conv2d", sizes, dtype, offset).with_options(activation=activation))


@pytest.mark.parametrize("dtype", DTYPES)
def test_short_sums_of_planes(dtype: torch.dtype) -> None:
    """Few pixels, but rows of the weight on no 16 bytes: planes serve them, and not warps."""
    for sizes in ((1, 58, 54, 28, 28), (2, 37, 50, 24, 28)):
        case = _case("pointwise_conv2d", sizes, dtype)
        if is_hopper():
            assert_launched([case], "channel_planes_wgmma_kernel")
        for activation in (None, "silu"):
            check(case.with_options(activation=activation))


# Images written as columns: tiles across images, chunks and tiles that are not filled, half as many
# channels a block, planes of an odd and of an even number of pixels, weights on and off 16 bytes.
IMAGE_COLUMNS = (
    (8, 1024, 512, 7, 7),
    (1, 300, 1000, 19, 19),
    (3, 200, 1030, 13, 11),
    (1, 392, 1544, 14, 14),
    (1, 40, 90, 28, 28),
    (2, 40, 130, 13, 29),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", IMAGE_COLUMNS)
def test_images_as_columns(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    if is_hopper():
        names = ("separable_columns_pack_kernel", "separable_columns_wgmma_kernel")
        assert_launched([_case("pointwise_conv2d", sizes, dtype)], *names)
    for offset, activation in ((0, None), (0, "relu"), (3, "silu")):
        check(_case("pointwise_conv2d", sizes, dtype, offset).with_options(activation=activation))


# Sizes, and the kernel in float32 and in 16 bit.
ONE_TAP = (
    ((1, 256, 512, 251), "channel_warps_mma_kernel"),
    ((64, 200, 136, 242), "channel_images_wgmma_kernel"),
    ((3, 448, 200, 1999), "channel_cluster_wgmma_kernel"),
    ((2, 100, 256, 2400), "channel_planes_wgmma_kernel"),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "kernel"), ONE_TAP)
@pytest.mark.parametrize("name", ["conv1d", "conv_transpose1d"])
def test_convolutions_with_one_tap(
    name: str, sizes: tuple[int, ...], kernel: str, dtype: torch.dtype
) -> None:
    if is_hopper():
        assert_launched([_case(name, sizes, dtype)], kernel)
    for offset, activation in ((0, None), (1, "gelu")):
        case = _case(name, sizes, dtype, offset).with_options(activation=activation)
        # In float32 ATen may compute the other gradients, in TF32 and in no fixed order.
        wanted = (False, False, True) if dtype == torch.float32 else (True, True, True)
        check(replace(case, wanted=wanted))


@pytest.mark.parametrize(
    "sizes",
    [(1, 1700, 200, 7, 7), (2, 64, 3, 30, 30), (2, 64, 5, 31, 31), (1, 384, 1540, 14, 14)],
)
def test_inf_and_nan(sizes: tuple[int, ...]) -> None:
    """They must not meet the zeros beyond the last channel or pixel, nor the parts of a split."""
    batch, channels, outputs, *size = sizes
    x = torch.randn(batch, channels, *size, device="cuda")
    weight = torch.randn(outputs, channels, 1, 1, device="cuda").bfloat16().float()
    x[0, 3, 5, 6], x[0, 2, 0, 0], x[-1, 7, -1, -1] = torch.inf, torch.nan, -torch.inf
    x[0, 5, 3, 4] = torch.finfo(torch.float32).max
    weight[:, 5] /= 64
    weight[2, 6] = torch.inf
    output = kernelopt.pointwise_conv2d(x, weight)
    expected = torch.nn.functional.conv2d(x.double(), weight.double()).float()
    assert_finite_alike(output, expected.double(), rtol=1e-3, atol=1e-2)
