"""1-D convolutions whose input is packed for the tensor cores first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import kernelopt
from conformance.check import check
from conformance.launches import assert_launched, is_hopper
from conformance.ops import OPS, Case

pytestmark = pytest.mark.gpu

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
    *(  # residues
        (False, 48, 1, 256, 512, 131, 8, 4, 2, 1),
        (False, 64, 1, 256, 512, 131, 3, 2, 1, 1),
        (False, 64, 1, 512, 512, 100, 2, 3, 0, 1),  # one without a tap
    ),
    *(
        (True, 64, 1, 512, 256, 61, 8, 4, 0, 1),
        (True, 64, 1, 512, 256, 32, 16, 8, 4, 1),
        (True, 128, 1, 512, 256, 63, 2, 2, 0, 1),
        (True, 64, 1, 512, 200, 40, 7, 3, 2, 1),  # columns of a pass that are empty
        (True, 64, 1, 256, 256, 77, 5, 1, 2, 1),
    ),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_packed_rows(dtype: torch.dtype) -> None:
    """Inputs and outputs at any place in 16 bytes, as large as the kernel's policy asks for."""
    for transposed, batch, groups, inputs, outputs, length, taps, stride, padding, step in PACKED:
        for offset, activation in ((0, None), (1, "gelu")):
            count = batch * groups * inputs * length + offset
            flat = torch.randn(count, device="cuda", dtype=dtype)
            x = flat[offset:].view(batch, groups * inputs, length)
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


@pytest.mark.parametrize("transposed", [False, True])
def test_packed_rows_keep_inf_and_nan(transposed: bool) -> None:
    """Neither a tile's other entries nor the parts of a split float32 see what is not finite."""
    x = torch.randn(128, 256, 63, device="cuda")
    shape = (256, 512) if transposed else (512, 256)
    weight = torch.randn(*shape, 4, device="cuda")
    x[0, 3, 62], x[1, 2, 0], x[5, 7, 12] = torch.inf, torch.nan, -torch.inf
    weight[9, 8, 1] = torch.inf
    name = "conv_transpose1d" if transposed else "conv1d"
    options = {"stride": 2 if transposed else 1, "padding": 1}
    reference = getattr(torch.nn.functional, name)(x.double(), weight.double(), **options)
    output = getattr(kernelopt, name)(x, weight, **options)
    assert torch.equal(output.isnan(), reference.isnan())
    assert torch.equal(output.isinf(), reference.isinf())
    finite = reference.isfinite()
    torch.testing.assert_close(output[finite].double(), reference[finite], rtol=1e-3, atol=1e-2)
