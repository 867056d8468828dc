"""1-D convolutions whose input is packed for the tensor cores first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import kernelopt
from conformance.check import check, float32_precision
from conformance.in_range import InRangeProducts
from conformance.launches import assert_launched, is_hopper
from conformance.ops import OPS, Case
from support import assert_finite_alike, randn_behind

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]

# transposed, batch, groups, channels, output channels, length, taps, stride, padding, dilation
PACKED = (
    *(  # rows of all batch entries in a tile, of odd lengths and of even ones
        (False, 256, 1, 256, 256, 16, 5, 1, 2, 1),
        (False, 64, 1, 256, 300, 133, 3, 1, 1, 1),
        (False, 48, 1, 300, 260, 163, 5, 1, 0, 1),  # channels that fill no block
        (False, 40, 2, 200, 260, 101, 7, 1, 2, 1),
        (False, 64, 1, 256, 512, 65, 4, 1, 5, 2),  # zeros on one side that the other has not
    ),
    *(  # taps too far apart for one window
        (False, 64, 1, 512, 512, 261, 3, 1, 80, 80),
    ),
    *(  # sums that are split
        (True, 1, 1, 2048, 256, 900, 6, 3, 1, 1),
    ),
    *(  # residues
        (False, 48, 1, 256, 512, 131, 8, 4, 2, 1),
        (False, 64, 1, 256, 512, 131, 3, 2, 1, 1),
        (False, 64, 1, 512, 512, 100, 2, 3, 0, 1),  # one without a tap
        (False, 64, 1, 256, 512, 131, 7, 4, 2, 2),  # two without one
        (False, 64, 1, 256, 512, 131, 5, 3, 2, 2),  # taps of the residues in turn
        (False, 48, 1, 256, 512, 131, 5, 6, 4, 4),
    ),
    *(
        (True, 64, 1, 512, 256, 61, 8, 4, 0, 1),
        (True, 64, 1, 512, 256, 32, 16, 8, 4, 1),
        (True, 128, 1, 512, 256, 63, 2, 2, 0, 1),
        (True, 64, 1, 512, 200, 40, 7, 3, 2, 1),  # columns of a pass that are empty
        (True, 64, 1, 256, 256, 77, 5, 1, 2, 1),
    ),
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_rows(dtype: torch.dtype) -> None:
    """Inputs and outputs at any place in 16 bytes, as large as the kernel's policy asks for."""
    for transposed, batch, groups, inputs, outputs, length, taps, stride, padding, step in PACKED:
        for offset, activation in ((0, None), (1, "gelu")):
            x = randn_behind(offset, (batch, groups * inputs, length), dtype)
            shape = (groups * inputs, outputs) if transposed else (groups * outputs, inputs)
            weight = torch.randn(*shape, taps, device="cuda", dtype=dtype)
            bias = torch.randn(groups * outputs, device="cuda", dtype=dtype)
            options = {"stride": stride, "padding": padding, "dilation": step, "groups": groups}
            op = OPS["conv_transpose1d" if transposed else "conv1d"]
            case = Case(op, (x, weight, bias), options, precision=kernelopt.Precision.DEFAULT)
            case = replace(case, wanted=(False, False, True))
            case = case.with_options(activation=activation)
            check(case)
            if is_hopper():
                assert_launched([case], "conv1d_wgmma_packed_kernel")


# transposed, batch, channels, output channels, length, taps, stride
NOT_FINITE = (
    (False, 128, 256, 512, 63, 4, 1),
    (True, 128, 256, 512, 63, 4, 2),
    (False, 48, 256, 512, 131, 8, 4),  # sums that are split
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NOT_FINITE)
def test_packed_rows_keep_inf_and_nan(sizes: tuple, dtype: torch.dtype) -> None:
    """Neither a tile's other entries, nor zeros between them, nor the parts of a split float32 see
    what is not finite."""
    transposed, batch, inputs, outputs, length, taps, stride = sizes
    x = torch.randn(batch, inputs, length, device="cuda", dtype=dtype)
    shape = (inputs, outputs) if transposed else (outputs, inputs)
    weight = torch.randn(*shape, taps, device="cuda", dtype=dtype)
    x[0, 3, length - 1], x[1, 2, 0], x[5, 7, 12] = torch.inf, torch.nan, -torch.inf
    weight[9, 8, 1], weight[11, 3, 0] = torch.inf, torch.inf
    options = {"stride": stride, "padding": 1}
    case = Case(OPS["conv_transpose1d" if transposed else "conv1d"], (x, weight, None), options)
    case = replace(case, precision=kernelopt.Precision.DEFAULT)
    if is_hopper():
        assert_launched([case], "conv1d_wgmma_packed_kernel")
    with InRangeProducts():
        reference = case.op.reference(x.double(), weight.double(), **options)
    with float32_precision(case.precision):
        output = case.op.ours(x, weight, **options)
    assert_finite_alike(output, reference.to(dtype).double(), rtol=1e-2, atol=2e-2)
