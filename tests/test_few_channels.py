"""1-D convolutions from few channels, whose sums run over channels and taps alike, and to few."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import kernelopt
from conformance.check import check, float32_precision
from conformance.launches import assert_launched, is_hopper
from conformance.ops import OPS, Case
from kernelopt.benchmarking.paths import find_path
from support import assert_same_places, randn_behind

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]

# batch, groups, channels, output channels, length, taps, stride, dilation, padding
CASES = (
    (8, 1, 1, 80, 3200, 251, 1, 1, 125),  # whole rows of four outputs
    (8, 1, 1, 33, 3201, 130, 1, 1, 7),  # rows at any place of four outputs
    (4, 1, 1, 100, 4001, 80, 4, 1, 0),
    (16, 1, 1, 48, 32001, 40, 16, 1, 0),
    (4, 1, 4, 300, 601, 19, 1, 1, 9),
    (4, 1, 7, 48, 9001, 10, 5, 1, 3),
    (4, 1, 3, 20, 9001, 9, 1, 3, 12),
    (8, 3, 2, 18, 7001, 7, 2, 2, 5),
    (4, 8, 4, 16, 2049, 41, 4, 1, 20),
    (300, 1, 4, 130, 41, 12, 1, 1, 3),  # rows shorter than a tile
    (1, 1, 5, 600, 2001, 33, 1, 1, 16),  # several blocks of channels
    (1, 1, 4, 300, 600, 19, 1, 1, 9),  # so few positions that channels make the blocks
    (41, 20, 4, 5, 128, 41, 4, 1, 20),  # short rows of several batch entries in a tile
    (37, 1, 3, 64, 1023, 1, 1, 1, 0),  # three products an output
)


def _case(sizes: tuple[int, ...], dtype: torch.dtype, offset: int = 0) -> Case:
    batch, groups, channels, outputs, length, taps, stride, dilation, padding = sizes
    x = randn_behind(offset, (batch, groups * channels, length), dtype)
    weight = torch.randn(groups * outputs, channels, taps, device="cuda", dtype=dtype)
    bias = torch.randn(groups * outputs, device="cuda", dtype=dtype)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    # That gradient goes to ATen in float32, which does not give the same bits in every run.
    to_aten = dtype == torch.float32 and channels == stride == 1 and taps >= 16
    case = Case(OPS["conv1d"], (x, weight, bias), options, wanted=(not to_aten, True, True))
    return replace(case, precision=kernelopt.Precision.DEFAULT)


def _path(case: Case) -> str:
    with float32_precision(case.precision):
        return find_path(lambda: case.op.ours(*case.tensors, **case.options), case.input.device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", CASES)
def test_few_channels(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    case = _case(sizes, dtype)
    assert _path(case) == "conv1d_toeplitz_kernel"
    check(case)
    for offset, activation in ((0, "gelu"), (3, "silu")):
        check(_case(sizes, dtype, offset).with_options(activation=activation))
    # Sums of whole numbers are exact: near 0 the gradient of ReLU were a matter of luck.
    check(_case(sizes, dtype, 1).map(torch.round).with_options(activation="relu"))


def test_ieee_precision_stays_on_cuda_cores() -> None:
    case = replace(_case(CASES[0], torch.float32), precision=kernelopt.Precision.IEEE)
    assert _path(case) == "conv1d_implicit_gemm_kernel"


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_another_layout(dtype: torch.dtype) -> None:
    """Input rows whose elements do not lie side by side."""
    case = _case(CASES[5], dtype)
    x = case.input.transpose(1, 2).contiguous().transpose(1, 2)
    case = case.with_tensors(x, *case.tensors[1:])
    assert _path(case) == "conv1d_toeplitz_kernel"
    check(case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("taps", [251, 256])
def test_inf_and_nan(taps: int, dtype: torch.dtype) -> None:
    """They must not meet the zeros beyond the last tap, nor the parts of a split float32."""
    x = torch.randn(4, 3, 4001, device="cuda", dtype=dtype)
    weight = torch.randn(40, 3, taps, device="cuda", dtype=dtype)
    x[0, 1, 300], x[1, 2, 1000], x[2, 0, 4000] = torch.inf, torch.nan, -torch.inf
    x[3, 1, 123] = torch.finfo(dtype).max
    weight[:, 1] /= 1024  # so that no product with it overflows
    weight[7, 0, 3] = torch.inf
    expected = torch.nn.functional.conv1d(x.double(), weight.double()).to(dtype)
    with float32_precision(kernelopt.Precision.DEFAULT):
        output = kernelopt.conv1d(x, weight)
    assert_same_places(output, expected)


# op, batch, groups, channels, output channels, length, taps, stride
FEW_OUTPUTS = (
    ("conv1d", 4, 1, 32, 1, 9001, 7, 1),
    ("conv1d", 2, 2, 70, 3, 3000, 3, 2),
    ("conv1d", 16, 1, 256, 1, 128, 3, 1),
    ("conv1d", 3, 1, 200, 7, 501, 1, 1),
    ("conv_transpose1d", 2, 1, 300, 4, 600, 19, 1),
    ("conv_transpose1d", 2, 2, 140, 2, 3000, 35, 3),
)


def _case_of_op(sizes: tuple, dtype: torch.dtype, offset: int = 0) -> Case:
    """A convolution of such sizes, whose input begins ``offset`` elements behind 16 bytes."""
    name, batch, groups, channels, outputs, length, taps, stride = sizes
    x = randn_behind(offset, (batch, groups * channels, length), dtype)
    shape = (channels, outputs) if name == "conv_transpose1d" else (outputs, channels)
    weight = torch.randn(groups * shape[0], shape[1], taps, device="cuda", dtype=dtype)
    bias = torch.randn(groups * outputs, device="cuda", dtype=dtype)
    options = {"stride": stride, "padding": taps // 2, "groups": groups}
    case = Case(OPS[name], (x, weight, bias), options)
    return replace(case, precision=kernelopt.Precision.DEFAULT)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", FEW_OUTPUTS)
def test_few_outputs(sizes: tuple, dtype: torch.dtype) -> None:
    case = _case_of_op(sizes, dtype)
    if is_hopper():
        assert_launched([case], "conv1d_wgmma")
    check(case)
    check(case.with_options(activation="gelu"))


# Taps become channels of their own: op and sizes as above.
UNFOLDED = (
    ("conv1d", 8, 1, 1, 64, 16757, 7, 1),
    ("conv1d", 8, 1, 1, 48, 6383, 8, 4),
    ("conv1d", 20, 1, 4, 300, 601, 19, 1),
    ("conv1d", 3, 2, 2, 18, 7001, 7, 2),
    ("conv1d", 3, 1, 3, 64, 5000, 1, 1),
    ("conv_transpose1d", 2, 1, 64, 1, 31999, 2, 1),
    ("conv_transpose1d", 3, 1, 48, 1, 5002, 8, 4),
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_gradients(dtype: torch.dtype) -> None:
    cases = []
    for index, sizes in enumerate(UNFOLDED):
        case = _case_of_op(sizes, dtype, offset=index % 2)
        # Some input gradients go to ATen in float32, which has no fixed order.
        case = replace(case, tensors=(*case.tensors[:2], None), wanted=(False, True, True))
        if case.tensors[1].shape[2] > 1:
            assert_launched([case], "unfold_taps_kernel", backward=True)
        check(case)
        cases.append(case)
    assert_launched(cases, "conv1d_weight_gradient_mma_kernel", backward=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 3])
def test_weight_gradient_keeps_inf_and_nan(dtype: torch.dtype, stride: int) -> None:
    """Inf meets the zeros of positions outside, which are not part of the sums."""
    x = torch.randn(3, 1, 9001, device="cuda").bfloat16().to(dtype)
    x[0, 0, 300] = torch.inf
    weight = torch.zeros(40, 1, 9, device="cuda", dtype=dtype, requires_grad=True)
    options = {"stride": stride, "padding": 4}
    output = kernelopt.conv1d(x, weight, **options)
    grad = torch.randn_like(output).bfloat16().to(dtype)
    grad[1, 2, 0], grad[2, 9, -1], grad[1, 5, 700] = torch.inf, -torch.inf, torch.nan
    (found,) = torch.autograd.grad(output, weight, grad)
    double = torch.zeros_like(weight, dtype=torch.double, requires_grad=True)
    reference = torch.nn.functional.conv1d(x.double(), double, **options)
    (expected,) = torch.autograd.grad(reference, double, grad.double())
    assert_same_places(found, expected)
