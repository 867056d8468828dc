"""Images large enough for the kernels on tensor cores, which take no small sample."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from conformance.check import check
from conformance.launches import assert_launched, is_hopper
from conformance.ops import OPS, Case
from support import assert_accurate, assert_same_places, randn_behind, vjp_of, with_activation

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pointwise_of_small_images(dtype: torch.dtype) -> None:
    """Several images in a tile, or one: as runs of all their channels, or changed to rows of pixels
    where these are on no 16 bytes. Tiles, blocks and chunks that are not filled."""
    runs = []
    for batch, channels, outputs, size, offset in (
        (70, 96, 152, (7, 7), 0),
        (70, 200, 104, (7, 7), 0),
        (12, 72, 288, (25, 5), 0),
        (643, 40, 64, (3, 5), 0),
        (3, 184, 2056, (7, 7), 0),
        (9, 136, 136, (14, 14), 0),
        (70, 80, 150, (5, 5), 0),
        (70, 64, 152, (8, 8), 1),
        (70, 50, 150, (7, 7), 0),
    ):
        x = randn_behind(offset, (batch, channels, *size), dtype)
        weight = torch.randn(outputs, channels, 1, 1, device="cuda", dtype=dtype)
        bias = torch.randn(outputs, device="cuda", dtype=dtype)
        case = Case(OPS["pointwise_conv2d"], (x, weight, bias))
        case = replace(case, precision=kernelopt.Precision.DEFAULT)
        cases = [case.with_options(activation=activation) for activation in (None, "silu")]
        if x.data_ptr() % 16 == channels % 8 == outputs % 8 == 0:
            runs += cases
        for case in cases:
            check(case)
    if is_hopper():
        for case in runs:
            assert_launched([case], "channel_images_wgmma_kernel")
        assert_launched(runs, "channel_gradient_wgmma_kernel", backward=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pointwise_of_small_images_and_many_channels(dtype: torch.dtype) -> None:
    """Sums that several blocks share, blocks that have the same images, one of a pair's columns
    beyond the last."""
    for batch, channels, outputs, size in (
        (64, 1160, 200, (7, 7)),
        (33, 520, 256, (14, 14)),
        (20, 2056, 392, (5, 5)),
        (64, 3072, 768, (7, 7)),
        (32, 512, 2048, (7, 7)),
    ):
        x = torch.randn(batch, channels, *size, device="cuda", dtype=dtype)
        x[0, 3, 1, 1], x[-1, -1, -1, -1] = torch.inf, torch.nan
        weight = torch.randn(outputs, channels, 1, 1, device="cuda", dtype=dtype) / channels**0.5
        weight[5, 2] = -torch.inf
        output = kernelopt.pointwise_conv2d(x, weight)
        expected = F.conv2d(x.double(), weight.double())
        assert_same_places(output, expected)
        assert torch.equal(output.nan_to_num(), kernelopt.pointwise_conv2d(x, weight).nan_to_num())
        x, weight = x.nan_to_num(1, 1, 1), weight.nan_to_num(1, 1, 1)
        bias = torch.randn(outputs, device="cuda", dtype=dtype)
        output = kernelopt.pointwise_conv2d(x, weight, bias, activation="silu")
        assert_accurate(output, with_activation(F.conv2d, "silu"), (x, weight, bias))


def test_pointwise_of_strips() -> None:
    """float32 images of many pixels in strips: the last strip and blocks of channels not filled."""
    cases = []
    for batch, channels, outputs, size in (
        (32, 520, 128, (28, 28)),
        (40, 330, 75, (26, 30)),
        (28, 512, 40, (18, 46)),
    ):
        x = torch.randn(batch, channels, *size, device="cuda")
        weight = torch.randn(outputs, channels, 1, 1, device="cuda") / channels**0.5
        bias = torch.randn(outputs, device="cuda")
        cases.append(Case(OPS["pointwise_conv2d"], (x, weight, bias)))
        for activation in (None, "silu"):
            output = kernelopt.pointwise_conv2d(x, weight, bias, activation=activation)
            assert_accurate(output, with_activation(F.conv2d, activation), (x, weight, bias))
        x[0, 3, 1, 1], x[-1, -1, -1, -1] = torch.inf, torch.nan
        output = kernelopt.pointwise_conv2d(x, weight)
        expected = F.conv2d(x.double(), weight.double())
        assert_same_places(output, expected)
    if is_hopper():
        cases = [replace(case, precision=kernelopt.Precision.DEFAULT) for case in cases]
        for case in cases:
            assert_launched([case], "channel_strips_wgmma_kernel")


def _few_pixels(dtype: torch.dtype) -> list[Case]:
    """Pointwise calls of few pixels in both formats: channels and pixels on 16 bytes and off them,
    tiles and chunks of the sum that are not filled, fewer chunks than warps and more."""
    cases = []
    for channels_last in (False, True):
        for batch, channels, outputs, size, offset in (
            (1, 512, 96, (14, 14), 0),
            (1, 384, 64, (14, 14), 0),
            (1, 1000, 250, (14, 14), 0),
            (3, 700, 50, (7, 7), 0),
            (2, 300, 50, (7, 7), 0),
            (3, 65, 40, (6, 10), 0),
            (1, 40, 72, (9, 5), 1),
            (5, 256, 100, (2, 2), 0),
            (70, 128, 40, (1, 1), 0),
        ):
            shape = (batch, *size, channels) if channels_last else (batch, channels, *size)
            x = randn_behind(offset, shape, dtype)
            x = x.permute(0, 3, 1, 2) if channels_last else x
            weight = torch.randn(outputs, channels, 1, 1, device="cuda", dtype=dtype)
            bias = torch.randn(outputs, device="cuda", dtype=dtype)
            case = Case(OPS["pointwise_conv2d"], (x, weight, bias))
            cases.append(replace(case, precision=kernelopt.Precision.DEFAULT))
    return cases


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pointwise_of_few_pixels(dtype: torch.dtype) -> None:
    for case in _few_pixels(dtype):
        for activation in (None, "silu"):
            check(case.with_options(activation=activation))
        assert_launched([case], "channel_warps_mma_kernel")


def _pixel_rows(dtype: torch.dtype) -> list[Case]:
    """Pointwise and separable calls on channels_last images: channels that fill tiles evenly and
    not, rows on and off 16 bytes."""
    draw = Random(1).choice
    cases = []
    while len(cases) < 16:
        inputs, outputs = draw((8, 19, 24, 66, 144, 320)), draw((9, 24, 65, 96, 130, 512))
        size, batch = draw(((7, 7), (13, 29), (56, 56))), draw((1, 3, 16))
        if batch * size[0] * size[1] * inputs * outputs < 2**20:
            continue
        shape = (batch, *size, inputs)
        offset = draw((0, 1))
        x = randn_behind(offset, shape, dtype).permute(0, 3, 1, 2)
        weight = torch.randn(outputs, inputs, 1, 1, device="cuda", dtype=dtype)
        bias = draw((None, torch.randn(outputs, device="cuda", dtype=dtype)))
        # Not ReLU: where a sum is 0 but for rounding, its gradient is a matter of luck.
        options = {"activation": draw((None, "gelu", "silu"))}
        precision = kernelopt.Precision.DEFAULT
        if draw((True, False)):
            case = Case(OPS["pointwise_conv2d"], (x, weight, bias), {}, precision=precision)
        else:
            taps = torch.randn(inputs, 1, 3, 3, device="cuda", dtype=dtype)
            tensors = (x, taps, weight, None, bias)
            case = Case(OPS["separable_conv2d"], tensors, {"padding": 1}, precision=precision)
        cases.append(case.with_options(**options))
    return cases


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensor_cores_of_channels_last_images(dtype: torch.dtype) -> None:
    cases = _pixel_rows(dtype)
    for case in cases:
        check(case)
    assert_launched(cases, "channel_gemm_wgmma_kernel" if is_hopper() else "channel_gemm_kernel")
    if is_hopper():
        assert_launched(cases, "channel_gradient_wgmma_kernel", backward=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pointwise_of_planes(dtype: torch.dtype) -> None:
    """Contiguous images: planes on and off 16 and 4 bytes, channels that fill no tile."""
    shapes = ((3, 66, 14, 14), (2, 130, 31, 31), (9, 24, 7, 7), (9, 40, 15, 17), (1, 64, 50, 48))
    for batch, channels, height, width in shapes:
        for offset in (0, 1):
            x = randn_behind(offset, (batch, channels, height, width), dtype)
            weight = torch.randn(150, channels, 1, 1, device="cuda", dtype=dtype)
            bias = torch.randn(150, device="cuda", dtype=dtype)
            case = Case(OPS["pointwise_conv2d"], (x, weight, bias))
            check(replace(case, precision=kernelopt.Precision.DEFAULT))


def input_gradient(function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    return vjp_of(function)(*tensors)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pointwise_of_many_planes(dtype: torch.dtype) -> None:
    """So many pixels that blocks take wide tiles in turns: tiles, chunks and blocks of channels
    that are not filled."""
    for batch, channels, outputs, size in (
        (1100, 72, 100, (17, 16)),
        (1100, 40, 36, (17, 16)),
        (1, 24, 128, (760, 760)),
        (1, 128, 128, (760, 760)),
    ):
        x = torch.randn(batch, channels, *size, device="cuda", dtype=dtype)
        weight = torch.randn(outputs, channels, 1, 1, device="cuda", dtype=dtype)
        bias = torch.randn(outputs, device="cuda", dtype=dtype)
        case = Case(OPS["pointwise_conv2d"], (x, weight, bias))
        case = replace(case, precision=kernelopt.Precision.DEFAULT)
        if is_hopper():
            assert_launched([case], "channel_planes_wide_kernel")
        x.requires_grad_()
        for activation in (None, "silu"):
            output = kernelopt.pointwise_conv2d(x, weight, bias, activation=activation)
            grad = torch.randn_like(output)
            (gradient,) = torch.autograd.grad(output, x, grad)
            torch_function = with_activation(F.conv2d, activation)
            assert_accurate(output, torch_function, (x, weight, bias))
            of_input = functools.partial(input_gradient, torch_function)
            assert_accurate(gradient, of_input, (grad, x, weight, bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_planes_keep_inf_and_nan(dtype: torch.dtype) -> None:
    x = torch.randn(1100, 40, 17, 16, device="cuda", dtype=dtype)
    x[0, 3, 5, 5], x[7, 9, 16, 0], x[1099, 39, 16, 15] = torch.inf, torch.nan, -torch.inf
    weight = torch.randn(100, 40, 1, 1, device="cuda", dtype=dtype)
    weight[5, 6] = torch.inf
    output = kernelopt.pointwise_conv2d(x, weight)
    expected = torch.nn.functional.conv2d(x.double(), weight.double())
    assert_same_places(output, expected)
    relu = kernelopt.pointwise_conv2d(x, weight, activation="relu")
    assert torch.equal(relu.nan_to_num(), output.relu().nan_to_num())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pointwise_of_few_pixels_and_many_channels(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    """Weight gradients whose blocks fill the device without shares of the pixels."""
    cases = []
    for batch, size in ((1, (7, 7)), (2, (5, 4)), (1, (7, 11))):
        x = torch.randn(batch, 1100, *size, device="cuda", dtype=dtype)
        weight = torch.randn(1049, 1100, 1, 1, device="cuda", dtype=dtype)
        bias = torch.randn(1049, device="cuda", dtype=dtype)
        tensors = (x.contiguous(memory_format=memory_format), weight, bias)
        case = Case(OPS["pointwise_conv2d"], tensors, precision=kernelopt.Precision.DEFAULT)
        check(case)
        cases.append(case)
    if is_hopper():
        assert_launched(cases, "channel_gradient_wgmma_kernel", backward=True)


@pytest.mark.parametrize(
    ("channels", "size", "memory_format"),
    [
        ((72, 80), (20, 30), torch.contiguous_format),
        ((72, 80), (21, 31), torch.contiguous_format),
        ((72, 80), (20, 30), torch.channels_last),
        ((72, 80), (7, 7), torch.contiguous_format),
        ((1090, 1100), (7, 7), torch.contiguous_format),  # a single share
        ((1090, 1100), (7, 7), torch.channels_last),
    ],
)
def test_pointwise_weight_gradient_keeps_inf_and_nan(
    channels: tuple[int, int], size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    x = torch.randn(9, channels[0], *size, device="cuda").bfloat16().float()
    grad = torch.randn(9, channels[1], *size, device="cuda").bfloat16().float()
    x[0, 3, 5, 6], grad[1, 2, 0, 0], grad[2, 7, -1, 1] = torch.inf, torch.nan, -torch.inf
    x[3, 5, 3, 4] = torch.finfo(torch.float32).max
    grad[3, :, 3, 4] /= 64
    x, grad = (tensor.to(memory_format=memory_format) for tensor in (x, grad))
    weight = torch.zeros(*channels[::-1], 1, 1, device="cuda", requires_grad=True)
    (found,) = torch.autograd.grad(kernelopt.pointwise_conv2d(x, weight), weight, grad)
    expected = torch.einsum("nohw,nchw->oc", grad.double(), x.double()).float()
    assert_same_places(found[:, :, 0, 0], expected)


@pytest.mark.parametrize(
    ("batch", "size", "memory_format"),
    [
        (16, (20, 30), torch.channels_last),
        (200, (7, 7), torch.contiguous_format),
        (5, (7, 7), torch.contiguous_format),
        (5, (7, 7), torch.channels_last),
    ],
)
def test_tensor_cores_keep_inf_and_nan_of_images(
    batch: int, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    """As above; the last pixel's product of two rounded high parts would overflow."""
    x = torch.randn(batch, 64, *size, device="cuda").to(memory_format=memory_format)
    weight = torch.randn(64, 64, 1, 1, device="cuda").bfloat16().float()
    x[0, 3, 5, 6], x[1, 2, 0, 0], x[2, 7, -1, 1] = torch.inf, torch.nan, -torch.inf
    x[3, 5, 3, 4] = torch.finfo(torch.float32).max
    weight[:, 5] /= 64
    weight[5, 6] = torch.inf
    edge = 2.0**64 * (1 - 2.0**-12)
    x[-1, :, -1, -1], weight[9, :], weight[9, 8], x[-1, 8, -1, -1] = 0, 0, edge, edge
    for activation in (None, "relu"):
        output = kernelopt.pointwise_conv2d(x, weight, activation=activation)
        expected = torch.nn.functional.conv2d(x.double(), weight.double()).float()
        expected = expected if activation is None else expected.relu()
        assert_same_places(output, expected)
