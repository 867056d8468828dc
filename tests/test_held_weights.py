"""1-D convolutions with few products an output: a kernel holds their weights in registers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import kernelopt
from conformance.check import check
from conformance.launches import assert_launched, is_hopper
from conformance.ops import OPS, Case
from support import assert_finite_alike

pytestmark = pytest.mark.gpu

# op; batch, groups, channels, output channels of a group, length; taps, stride, padding, dilation
HELD = (
    ("conv1d", (2, 1, 64, 128, 16384), (3, 1, 0, 1)),  # output rows on 4 bytes
    ("conv1d", (2, 1, 64, 128, 16384), (3, 1, 1, 1)),  # on sectors
    ("conv1d", (3, 1, 33, 100, 12008), (2, 1, 0, 1)),  # on no 4 bytes; channels left over
    ("conv1d", (2, 2, 40, 70, 9000), (2, 1, 5, 16)),
    ("conv1d", (70, 1, 16, 40, 136), (5, 1, 2, 2)),  # rows of one tile
    ("conv1d", (3, 1, 64, 128, 16384), (3, 3, 0, 4)),
    ("conv1d", (2, 1, 24, 48, 40000), (4, 2, 1, 1)),
    ("conv1d", (2, 1, 40, 65, 50000), (3, 4, 3, 3)),
    ("conv1d", (2, 1, 48, 300, 9600), (4, 1, 64, 40)),  # several blocks of slots
    ("conv_transpose1d", (2, 1, 32, 64, 16384), (5, 1, 0, 3)),
    ("conv_transpose1d", (2, 1, 32, 64, 16384), (3, 2, 1, 2)),  # only odd outputs have products
    ("conv_transpose1d", (2, 1, 20, 72, 16384), (3, 2, 2, 4)),  # only even ones
    ("conv1d", (4, 1, 64, 64, 65536), (3, 3, 0, 1)),  # a tile's stages fill the ring
    ("conv1d", (40, 1, 64, 128, 600), (3, 1, 1024, 1)),  # windows before the input and behind it
)
# In 16 bits: weights of which a part is in shared memory, and rows with places of their own.
MORE_HELD = (
    ("conv1d", (2, 1, 128, 128, 16384), (3, 1, 1, 1)),
    ("conv1d", (2, 1, 60, 64, 20008), (11, 1, 5, 5)),
    ("conv_transpose1d", (2, 1, 130, 66, 16384), (5, 1, 0, 1)),
    ("conv1d", (2, 1, 64, 128, 30001), (3, 1, 1, 8)),
    ("conv1d", (4, 1, 160, 64, 16384), (3, 1, 1, 1)),  # a tile's stages fill the ring
    ("conv1d", (4, 1, 192, 64, 16384), (3, 1, 1, 1)),
    ("conv1d", (4, 1, 384, 64, 16384), (2, 1, 1, 1)),
    ("conv1d", (4, 1, 64, 64, 65536), (3, 4, 1, 1)),
)


def _calls(dtype: torch.dtype) -> tuple:
    return HELD if dtype == torch.float32 else HELD + MORE_HELD


def _case(name: str, sizes: tuple[int, ...], options: tuple[int, ...], dtype: torch.dtype) -> Case:
    batch, groups, inputs, outputs, length = sizes
    taps, stride, padding, dilation = options
    x = torch.randn(batch, groups * inputs, length, device="cuda", dtype=dtype)
    shape = (inputs, outputs) if name == "conv_transpose1d" else (outputs, inputs)
    weight = torch.randn(groups * shape[0], shape[1], taps, device="cuda", dtype=dtype)
    bias = torch.randn(groups * outputs, device="cuda", dtype=dtype)
    case = Case(
        OPS[name],
        (x, weight, bias),
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
        precision=kernelopt.Precision.DEFAULT,
    )
    return replace(case, wanted=(False, False, True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_held_weights(dtype: torch.dtype) -> None:
    for number, (name, sizes, options) in enumerate(_calls(dtype)):
        case = _case(name, sizes, options, dtype)
        check(case.with_options(activation=(None, "relu", "gelu", "silu")[number % 4]))
        if is_hopper():
            assert_launched([case], "conv1d_wgmma_held_kernel")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_held_weights_of_views(dtype: torch.dtype) -> None:
    """Inputs off 16 bytes, with rows longer than the input, of one entry for all, without bias."""
    case = _case("conv1d", (4, 1, 64, 128, 16384), (3, 1, 1, 1), dtype)
    whole, weight, _ = case.tensors
    for x in (
        whole[..., 1:],
        whole[:, :, : 16384 - 6],
        whole[:1].expand(4, -1, -1),
        whole[::2],
    ):
        check(replace(case.with_tensors(x, weight, None), wanted=(False, True, False)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_held_weights_repeat(dtype: torch.dtype) -> None:
    """The same bits in every call, whichever warpgroup is the first to finish."""
    for name, sizes, options in _calls(dtype):
        case = _case(name, sizes, options, dtype)
        first = case.op.ours(*case.tensors, **case.options)
        for _ in range(3):
            assert torch.equal(case.op.ours(*case.tensors, **case.options), first)


@pytest.mark.parametrize("activation", [None, "relu", "gelu", "silu"])
def test_held_weights_keep_inf_and_nan(activation: str | None) -> None:
    """Of both outputs that share a run too, of which one has no products."""
    for name, sizes, options in (HELD[0], HELD[5], HELD[10]):
        case = _case(name, sizes, options, torch.float32).with_options(activation=activation)
        x, weight, bias = case.tensors
        x[0, 3, 300], x[1, 2, 10], x[1, 7, 5000] = torch.inf, torch.nan, -torch.inf
        x[0, 5, 9000] = torch.finfo(torch.float32).max  # rounded to bfloat16 it would be Inf
        weight /= 64  # so that no product with it overflows
        output = case.op.ours(x, weight, bias, **case.options)
        reference = case.op.reference(x.double(), weight.double(), bias.double(), **case.options)
        assert_finite_alike(output, reference.float().double())
