"""1-D convolutions large enough for the kernels on tensor cores, which take no small sample."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch

import kernelopt
from conformance.check import check, float32_precision
from conformance.launches import assert_launched, is_hopper
from conformance.ops import OPS, Case
from support import ACTIVATIONS, assert_finite_alike, assert_same_places, randn_behind

pytestmark = pytest.mark.gpu


def _round_to_tf32(tensor: torch.Tensor) -> torch.Tensor:
    """float32 with TF32's 10 bits of mantissa: what the tensor cores read of it."""
    bits = tensor.view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def test_default_float32_is_ten_times_as_accurate_as_tf32() -> None:
    """On sums long enough that the errors are not a matter of luck. The error of TF32 is that of
    its operands' rounding alone: cuDNN need not use it, and adds errors of its own."""
    for name, shape, weights in (
        ("conv1d", (4, 64, 1000), ((64, 64, 3),)),
        ("conv_transpose1d", (4, 64, 1000), ((64, 64, 3),)),
        ("pointwise_conv2d", (4, 128, 31, 33), ((64, 128, 1, 1),)),
    ):
        tensors = [torch.randn(size, device="cuda") for size in (shape, *weights)]
        case = Case(OPS[name], tuple(tensors), precision=kernelopt.Precision.DEFAULT)
        reference = case.op.reference(*(tensor.double() for tensor in tensors))
        by_tf32 = case.op.reference(*(_round_to_tf32(tensor).double() for tensor in tensors))
        with float32_precision(case.precision):
            ours = case.op.ours(*tensors)
        error, tf32_error = ((result - reference).abs().max() for result in (ours, by_tf32))
        assert error <= tf32_error / 10, name
        check(replace(case, label="long sums"))


# Channels, lengths, batches.
Sizes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
MANY_POSITIONS: Sizes = ((8, 19, 33, 64), (1021, 4097), (1, 3))
MANY_CHANNELS: Sizes = ((130, 257, 400), (61, 100, 301), (1, 3))  # few blocks, which split the sums
SHORT_ROWS: Sizes = ((19, 64, 96), (16, 33, 67), (40, 101))  # several in a tile


def _tensor_core_calls(name: str, dtype: torch.dtype, sizes: Sizes) -> list[Case]:
    """Calls with enough products for the tensor cores, in sizes that fill no tile evenly."""
    draw = Random(0).choice
    cases = []
    while len(cases) < 16:
        groups, inputs, outputs = draw((1, 2, 3)), draw(sizes[0]), draw((9, 40, 65, 130))
        taps, length, batch = draw((1, 2, 3, 7)), draw(sizes[1]), draw(sizes[2])
        stride, dilation, padding = draw((1, 2, 3)), draw((1, 2, 3)), draw((0, 1, 4))
        if batch * groups * inputs * outputs * length * taps < 2**24 * stride:
            continue
        offset = draw((0, 1))
        x = randn_behind(offset, (batch, groups * inputs, length), dtype)
        shape = (inputs, outputs) if name == "conv_transpose1d" else (outputs, inputs)
        weight = torch.randn(groups * shape[0], shape[1], taps, device="cuda", dtype=dtype)
        bias = draw((None, torch.randn(groups * outputs, device="cuda", dtype=dtype)))
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        case = Case(OPS[name], (x, weight, bias), options, precision=kernelopt.Precision.DEFAULT)
        cases.append(case.with_options(activation=draw((None, "gelu"))))
    return cases


@pytest.mark.parametrize("sizes", [MANY_POSITIONS, MANY_CHANNELS, SHORT_ROWS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["conv1d", "conv_transpose1d"])
def test_tensor_cores(name: str, dtype: torch.dtype, sizes: Sizes) -> None:
    cases = _tensor_core_calls(name, dtype, sizes)
    for case in cases:
        check(case)
    if not is_hopper():
        assert_launched(cases, "correlation_mma_kernel")
    elif sizes is SHORT_ROWS:
        transposed = name == "conv_transpose1d"
        kernel = "conv1d_columns_kernel" if transposed else "conv1d_wgmma_packed_kernel"
        assert_launched(cases, kernel)
    elif sizes is MANY_POSITIONS:
        assert_launched(cases, "conv1d_wgmma_kernel")
    else:
        assert_launched(cases, "conv1d_wgmma_kernel", "sum_conv1d_splits_kernel")


@pytest.mark.parametrize(("length", "channels"), [(2000, 64), (400, 512)])  # whole and split sums
def test_tensor_cores_keep_inf_and_nan(length: int, channels: int) -> None:
    """Inf meets parts of a split float32 that are 0; it must not become NaN."""
    x = torch.randn(4, channels, length, device="cuda")
    weight = torch.randn(64, channels, 3, device="cuda").bfloat16().float()
    x[0, 3, 300], x[1, 2, 10], x[2, 7, 77] = torch.inf, torch.nan, -torch.inf
    x[3, 5, 123] = torch.finfo(torch.float32).max  # rounded to bfloat16 it would be Inf
    weight[:, 5] /= 64  # so that no product with it overflows
    weight[5, 6, 1] = torch.inf
    # The product is just below the largest float32, that of the rounded high parts above it.
    edge = 2.0**64 * (1 - 2.0**-12)
    last = length - 2
    x[3, :, last], weight[9, :, 2], weight[9, 8, 2], x[3, 8, last] = 0, 0, edge, edge
    reference = torch.nn.functional.conv1d(x.double(), weight.double())
    output = kernelopt.conv1d(x, weight)
    expected = reference.float()
    assert_same_places(output, expected)


# stride, dilation, taps, padding, output channels, length
TRANSPOSED = (
    *(
        (2, 2, 3, 1, 64, 9001),
        (2, 2, 3, 0, 33, 9000),
        (2, 4, 2, 3, 20, 9001),
        (2, 3, 1, 0, 40, 9000),
    ),
    *(
        (2, 1, 4, 1, 64, 8001),
        (2, 1, 3, 0, 19, 9003),
        (2, 3, 5, 2, 40, 8000),
        (2, 2, 5, 4, 130, 300),
    ),
    *(
        (4, 1, 8, 2, 40, 4001),
        (8, 1, 16, 4, 16, 2500),
        (6, 1, 7, 1, 24, 2001),
        (3, 3, 2, 1, 24, 5001),
    ),
    # residues whose taps lie apart
    *(
        (3, 4, 3, 0, 40, 5003),
        (2, 3, 3, 3, 64, 9001),
        (5, 7, 4, 9, 33, 3001),
        (6, 4, 5, 2, 20, 3000),
        (4, 7, 2, 1, 24, 4001),
        (8, 11, 9, 3, 16, 2001),
    ),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_transposed_with_strides(dtype: torch.dtype) -> None:
    """Tiles enough for every multiprocessor: residues with and without taps, rows that begin at
    any place in 16 bytes, and at the same."""
    for stride, dilation, taps, padding, channels, length in TRANSPOSED:
        x = torch.randn(8, 24, length, device="cuda", dtype=dtype)
        weight = torch.randn(24, channels, taps, device="cuda", dtype=dtype)
        bias = torch.randn(channels, device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        case = Case(OPS["conv_transpose1d"], (x, weight, bias), options)
        case = replace(case, precision=kernelopt.Precision.DEFAULT)
        check(case)
        check(case.with_options(output_padding=1, activation="gelu"))


# batch, groups, channels, output channels, length, taps, stride, padding, output padding
JOINED = (
    (80, 1, 64, 64, 32, 4, 2, 1, 0),
    (12, 1, 32, 64, 32, 16, 8, 4, 0),  # slots of all channels in many blocks
    (80, 2, 50, 33, 30, 7, 3, 2, 1),  # residues that leave columns of a pass empty
    (30, 1, 90, 70, 94, 2, 2, 0, 1),  # outputs that no tap reaches
    (300, 1, 72, 100, 6, 9, 4, 2, 3),
    (150, 1, 32, 130, 2, 12, 5, 1, 0),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_joined_rows(dtype: torch.dtype) -> None:
    """Entries that end anywhere in a tile; inputs and outputs at any place in 16 bytes."""
    for batch, groups, inputs, outputs, length, taps, stride, padding, more in JOINED:
        for offset, activation in ((0, None), (2, "gelu")):
            x = randn_behind(offset, (batch, groups * inputs, length), dtype)
            weight = torch.randn(groups * inputs, outputs, taps, device="cuda", dtype=dtype)
            bias = torch.randn(groups * outputs, device="cuda", dtype=dtype)
            options = {"stride": stride, "padding": padding, "groups": groups}
            options["output_padding"] = more
            case = Case(OPS["conv_transpose1d"], (x, weight, bias), options)
            case = replace(case, precision=kernelopt.Precision.DEFAULT)
            case = case.with_options(activation=activation)
            if dtype == torch.float32 and stride >= 4 and min(inputs, outputs) >= 64:
                # The other gradients go to ATen, which has TF32's accuracy and no fixed order.
                case = replace(case, wanted=(False, False, True))
            check(case)
            if is_hopper():
                assert_launched([case], "conv1d_wgmma_joined_kernel")


def test_joined_rows_keep_inf_and_nan() -> None:
    """Neither the tiles' other entries nor the parts of a split float32 see what is not finite."""
    x = torch.randn(80, 64, 32, device="cuda")
    weight = torch.randn(64, 64, 4, device="cuda")
    x[0, 3, 31], x[1, 2, 0], x[5, 7, 12] = torch.inf, torch.nan, -torch.inf
    weight[9, 8, 1] = torch.inf
    options = {"stride": 2, "padding": 1}
    reference = torch.nn.functional.conv_transpose1d(x.double(), weight.double(), **options)
    output = kernelopt.conv_transpose1d(x, weight, **options)
    assert_finite_alike(output, reference)


# transposed, batch, groups, channels, output channels, length, taps, stride, padding, dilation
CUTS = (
    *(  # rows on 16 bytes: windows that are copied as boxes
        (False, 3, 1, 40, 70, 2048, 3, 1, 1, 1),
        (False, 2, 2, 48, 33, 4096, 5, 1, 3, 2),
        (False, 3, 1, 37, 130, 1000, 2, 1, 0, 3),
        (False, 2, 2, 40, 33, 4096, 3, 1, 0, 1),  # boxes would reach into the next group
        (False, 1, 1, 200, 64, 400, 3, 1, 1, 1),
        (True, 2, 1, 64, 40, 3000, 7, 1, 3, 1),
    ),
    *(  # runs that begin before the first output
        (True, 4, 1, 64, 32, 12001, 8, 4, 2, 1),
        (True, 6, 1, 40, 20, 9001, 16, 8, 4, 1),
        (True, 3, 1, 48, 32, 16001, 6, 3, 1, 1),
        (True, 1, 1, 200, 40, 1248, 8, 4, 2, 1),
    ),
    *(  # blocks that pack their weights themselves; taps of a slot that several threads pack
        (False, 1, 1, 384, 64, 196, 1, 1, 1, 1),
        (True, 1, 1, 64, 16, 4096, 31, 2, 15, 1),
        (False, 1, 1, 32, 32, 512, 39, 1, 19, 1),
    ),
    *(  # weights that could stay in shared memory, but for a few taps a step
        (False, 5, 1, 120, 48, 8192, 5, 1, 2, 1),
        (False, 8, 1, 160, 80, 8192, 4, 1, 0, 4),
    ),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_cuts(dtype: torch.dtype) -> None:
    for transposed, batch, groups, inputs, outputs, length, taps, stride, padding, step in CUTS:
        x = torch.randn(batch, groups * inputs, length, device="cuda", dtype=dtype)
        shape = (groups * inputs, outputs) if transposed else (groups * outputs, inputs)
        weight = torch.randn(*shape, taps, device="cuda", dtype=dtype)
        bias = torch.randn(groups * outputs, device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": padding, "dilation": step, "groups": groups}
        op = OPS["conv_transpose1d" if transposed else "conv1d"]
        case = Case(op, (x, weight, bias), options, precision=kernelopt.Precision.DEFAULT)
        case = replace(case, wanted=(False, False, True))
        check(case)
        check(case.with_options(activation="gelu"))
        if is_hopper():
            assert_launched([case], "conv1d_wgmma")


def test_shifted_runs_keep_inf_and_nan() -> None:
    """The outputs before the first see only what is zero padding to the others."""
    x = torch.randn(4, 64, 12001, device="cuda")
    weight = torch.randn(64, 32, 8, device="cuda")
    x[0, 3, 0], x[1, 2, -1], x[2, 7, 300] = torch.inf, torch.nan, -torch.inf
    options = {"stride": 4, "padding": 2}
    reference = torch.nn.functional.conv_transpose1d(x.double(), weight.double(), **options)
    output = kernelopt.conv_transpose1d(x, weight, **options)
    assert_finite_alike(output, reference)


# stride, dilation, taps, padding, channels, output channels, length
CORRELATIONS = (
    *(
        (2, 1, 3, 1, 24, 64, 18001),
        (3, 4, 3, 0, 40, 100, 24000),
        (2, 3, 4, 5, 33, 130, 9001),
        (4, 1, 5, 2, 24, 70, 40003),
    ),
    *(
        (1, 1, 11, 5, 72, 100, 4321),
        (1, 3, 9, 0, 80, 40, 9000),
        (1, 2, 3, 0, 70, 128, 4323),
        (2, 1, 3, 1, 256, 128, 9001),
    ),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_correlations(dtype: torch.dtype) -> None:
    """Tiles enough for every multiprocessor: input steps, long sums, rows at any place in 16
    bytes."""
    for stride, dilation, taps, padding, channels, out_channels, length in CORRELATIONS:
        x = torch.randn(8, channels, length, device="cuda", dtype=dtype)
        weight = torch.randn(out_channels, channels, taps, device="cuda", dtype=dtype)
        bias = torch.randn(out_channels, device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        case = Case(OPS["conv1d"], (x, weight, bias), options)
        case = replace(case, precision=kernelopt.Precision.DEFAULT)
        check(case)
        check(case.with_options(activation="gelu"))


# batch, channels, output channels, length, taps, padding, dilation: output rows that begin at any
# place in 16 bytes, at even ones, at the same and on no sector; rows of a few tiles
ADJOINING = (
    (6, 24, 31, 60003, 3, 0, 1),
    (6, 30, 32, 50000, 3, 0, 1),
    (8, 33, 20, 40008, 3, 1, 1),
    (128, 20, 30, 704, 4, 0, 1),
    (4, 16, 65, 50009, 2, 1, 3),
)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_adjoining_tiles(dtype: torch.dtype) -> None:
    """With an activation the tiles of a block's two warpgroups share vectors of the output."""
    for batch, inputs, outputs, length, taps, padding, dilation in ADJOINING:
        x = torch.randn(batch, inputs, length, device="cuda", dtype=dtype)
        weight = torch.randn(outputs, inputs, taps, device="cuda", dtype=dtype)
        bias = torch.randn(outputs, device="cuda", dtype=dtype)
        options = {"padding": padding, "dilation": dilation}
        case = Case(OPS["conv1d"], (x, weight, bias), options)
        case = replace(case, precision=kernelopt.Precision.DEFAULT, wanted=(False, False, True))
        for activation in ("gelu", "silu"):
            with_activation = case.with_options(activation=activation)
            check(with_activation)
            if is_hopper():
                assert_launched([with_activation], "conv1d_wgmma_shared_kernel")


# groups, channels, output channels, length, taps, stride, padding, dilation
BOXES = (
    (1, 24, 72, 20000, 3, 1, 1, 1),
    (1, 33, 128, 20006, 5, 1, 3, 2),
    (2, 20, 70, 20004, 3, 1, 0, 1),
    (1, 40, 30, 40004, 3, 1, 9, 4),
    (1, 40, 100, 24004, 3, 3, 0, 4),
    (1, 16, 64, 40003, 3, 1, 1, 1),  # rows of which no window is a box
)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_windows_end_where_rows_end(dtype: torch.dtype) -> None:
    """Rows on 16 bytes of which a part is the input: what lies around it is not read as padding."""
    for groups, inputs, outputs, length, taps, stride, padding, dilation in BOXES:
        whole = torch.full((6, groups * inputs + 1, 40016), torch.nan, device="cuda", dtype=dtype)
        x = whole[:, :-1, 8 : 8 + length]
        x.normal_()
        weight = torch.randn(groups * outputs, inputs, taps, device="cuda", dtype=dtype)
        bias = torch.randn(groups * outputs, device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        case = Case(OPS["conv1d"], (x, weight, bias), options)
        case = replace(case, precision=kernelopt.Precision.DEFAULT, wanted=(False, False, True))
        check(case.with_options(activation=None if padding == 1 else "gelu"))
        if is_hopper():
            kernel = "conv1d_wgmma_held_kernel" if outputs > 32 else "conv1d_wgmma_shared_kernel"
            assert_launched([case], kernel)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("length", [9002, 9004, 9005])  # rows on 16, on 4 and on 2 bytes
def test_activations_after_correlations(dtype: torch.dtype, length: int) -> None:
    """Every activation, with channels that fill a block and channels that leave passes empty.

    ReLU after sums of whole numbers, which are exact: near 0 its gradient were a matter of luck.
    """
    x = torch.randn(8, 64, length, device="cuda", dtype=dtype)
    for channels in (72, 128):
        weight = torch.randn(channels, 64, 3, device="cuda", dtype=dtype)
        bias = torch.randn(channels, device="cuda", dtype=dtype)
        case = Case(OPS["conv1d"], (x, weight, bias), precision=kernelopt.Precision.DEFAULT)
        for activation in ACTIVATIONS:
            of_any = case.map(torch.round) if activation == "relu" else case
            check(of_any.with_options(activation=activation))


# stride, dilation, taps, padding, groups, channels, output channels, length: warpgroups with the
# same output channels and with others, every number of taps in a row, windows that leave room for
# half of a step's positions, rows on and off 16 and 4 bytes; one tap.
WEIGHT_GRADIENTS = (
    *(
        (1, 1, 3, 1, 1, 40, 130, 3000),
        (1, 5, 11, 25, 1, 72, 100, 2001),
        (1, 1, 5, 2, 1, 120, 48, 4096),
        (1, 9, 7, 27, 2, 33, 70, 2094),
    ),
    *(
        (2, 1, 2, 0, 1, 64, 64, 3001),
        (3, 4, 3, 0, 1, 64, 128, 6000),
        (4, 1, 8, 2, 1, 48, 192, 4003),
        (5, 1, 10, 3, 1, 40, 80, 5002),
        (8, 1, 16, 4, 1, 40, 130, 6424),
        (1, 1, 39, 19, 1, 32, 32, 1512),
        (1, 1, 1, 0, 1, 72, 130, 2000),
    ),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["conv1d", "conv_transpose1d"])
def test_weight_gradients(name: str, dtype: torch.dtype) -> None:
    cases = []
    for index, sizes in enumerate(WEIGHT_GRADIENTS):
        stride, dilation, taps, padding, groups, channels, out_channels, length = sizes
        flat = torch.randn(3 * groups * channels * length + 1, device="cuda", dtype=dtype)
        x = flat[index % 2 :][: flat.numel() - 1].view(3, groups * channels, length)
        shape = (channels, out_channels) if name == "conv_transpose1d" else (out_channels, channels)
        weight = torch.randn(groups * shape[0], shape[1], taps, device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        case = Case(OPS[name], (x, weight, None), options, precision=kernelopt.Precision.DEFAULT)
        cases.append(case)
        check(case)
    if is_hopper():
        names = ("conv1d_weight_gradient_wgmma_kernel", "channel_gradient_wgmma_kernel")
    else:
        names = ("conv1d_weight_gradient_mma_kernel",)
    assert_launched(cases, *names, backward=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 3])
def test_weight_gradient_keeps_inf_and_nan(dtype: torch.dtype, stride: int) -> None:
    """Inf meets parts of a split float32 that are 0, and the zeros beyond a row's end."""
    x = torch.randn(3, 72, 3001, device="cuda").bfloat16().to(dtype)
    x[0, 3, 300], x[2, 7, -1] = torch.inf, -torch.inf
    weight = torch.zeros(80, 72, 4, device="cuda", dtype=dtype, requires_grad=True)
    output = kernelopt.conv1d(x, weight, stride=stride)
    grad = torch.randn_like(output).bfloat16().to(dtype)
    grad[1, 2, 0], grad[2, 9, -1] = torch.nan, torch.inf
    (found,) = torch.autograd.grad(output, weight, grad)
    double = torch.zeros_like(weight, dtype=torch.double, requires_grad=True)
    reference = torch.nn.functional.conv1d(x.double(), double, stride=stride)
    (expected,) = torch.autograd.grad(reference, double, grad.double())
    assert_same_places(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [8001, 301])  # with and without tiles for all multiprocessors
@pytest.mark.parametrize(("stride", "dilation"), [(2, 1), (2, 2), (3, 1), (4, 1)])
def test_residues_keep_inf_and_nan(
    dtype: torch.dtype, length: int, stride: int, dilation: int
) -> None:
    """A residue that a tap does not reach must not see Inf times zero weights."""
    x = torch.randn(8, 64, length, device="cuda", dtype=dtype)
    weight = torch.randn(64, 48, 3, device="cuda", dtype=dtype)
    x[0, 3, 200], x[1, 2, 10], x[1, 7, length - 1] = torch.inf, torch.nan, -torch.inf
    options = {"stride": stride, "dilation": dilation}
    reference = torch.nn.functional.conv_transpose1d(x.double(), weight.double(), **options)
    output = kernelopt.conv_transpose1d(x, weight, **options)
    assert_same_places(output, reference)
