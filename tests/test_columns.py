"""Transposed convolutions as one product with the weights as they lie in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import kernelopt
from conformance.check import check, float32_precision
from conformance.launches import assert_launched
from conformance.ops import OPS, Case
from support import assert_finite_alike, randn_behind

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]

# batch, groups, channels, output channels, length, taps, stride, padding, output padding
CASES = (
    (1, 1, 200, 40, 8, 31, 2, 15, 1),  # few rows
    (3, 2, 129, 33, 9, 7, 3, 1, 0),  # nothing on 16 bytes
    (2, 1, 96, 56, 64, 16, 8, 4, 0),
    (5, 3, 40, 70, 25, 2, 2, 0, 1),  # outputs that no tap reaches
    (1, 1, 1000, 64, 40, 4, 2, 1, 0),  # splits
    (3, 1, 64, 1, 5001, 8, 4, 0, 0),  # to few channels
    (2, 2, 130, 2, 301, 5, 2, 2, 1),
    (1, 1, 512, 1, 2000, 21, 10, 10, 9),
    (2, 1, 24, 9, 33, 50, 20, 7, 3),  # strides beyond those of the other kernels
    (1, 2, 32, 16, 64, 64, 32, 16, 0),
    (3, 1, 17, 5, 30, 19, 24, 0, 5),  # fewer taps than residues
)


def _case(sizes: tuple[int, ...], dtype: torch.dtype, offset: int = 0) -> Case:
    """A convolution of such sizes, whose input begins ``offset`` elements behind 16 bytes."""
    batch, groups, channels, outputs, length, taps, stride, padding, more = sizes
    x = randn_behind(offset, (batch, groups * channels, length), dtype)
    weight = torch.randn(groups * channels, outputs, taps, device="cuda", dtype=dtype)
    bias = torch.randn(groups * outputs, device="cuda", dtype=dtype)
    options = {"stride": stride, "padding": padding, "groups": groups, "output_padding": more}
    # The other gradients may go to ATen in float32, which has TF32's accuracy and no fixed order.
    wanted = (False, False, True) if dtype == torch.float32 else (True, True, True)
    case = Case(OPS["conv_transpose1d"], (x, weight, bias), options, wanted=wanted)
    return replace(case, precision=kernelopt.Precision.DEFAULT)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", CASES)
def test_columns(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    case = _case(sizes, dtype)
    assert_launched([case], "conv1d_columns_kernel", "conv1d_columns_sum_kernel")
    check(case)
    check(_case(sizes, dtype, offset=1).with_options(activation="gelu"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("taps", "stride"), [(7, 3), (50, 20)])
def test_inf_and_nan(taps: int, stride: int, dtype: torch.dtype) -> None:
    """They must not meet the zeros of taps and of positions that are not there, nor the parts of a
    split float32."""
    x = torch.randn(2, 40, 30, device="cuda", dtype=dtype)
    weight = torch.randn(40, 12, taps, device="cuda", dtype=dtype)
    x[0, 1, 0], x[0, 2, 20], x[1, 0, 29] = torch.inf, torch.nan, -torch.inf
    weight[7, 3, 0], weight[8, 5, taps - 1] = torch.inf, -torch.inf
    expected = torch.nn.functional.conv_transpose1d(x.double(), weight.double(), stride=stride)
    with float32_precision(kernelopt.Precision.DEFAULT):
        output = kernelopt.conv_transpose1d(x, weight, stride=stride)
    assert_finite_alike(output, expected.to(dtype).double(), rtol=1e-2, atol=1e-2)
