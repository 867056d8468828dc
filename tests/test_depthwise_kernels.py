"""Which kernels of depthwise_conv2d serve which shapes, and what they make of those."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from conformance.check import check, float32_precision
from conformance.launches import assert_launched
from conformance.ops import OPS
from conformance.ops import Case as Call
from support import assert_same_places, randn_behind
from tolerance import max_norm_limit


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_small_tensors_by_vectors(dtype):
    """Rows of two and of four columns and odd ones, on vectors and off them, paddings that keep the
    columns of source and result together and others; Inf at the edges and in the weight."""
    cases = []
    for size, kernel, stride, padding, multiplier, offset in (
        ((2, 5, 13, 16), 3, 1, 1, 1, 0),
        ((1, 3, 9, 14), 3, 1, 1, 2, 0),
        ((2, 40, 64, 64), 3, 1, 1, 2, 0),
        ((1, 4, 12, 16), 3, 1, 0, 1, 0),
        ((1, 4, 11, 20), 3, 1, 1, 1, 1),
        ((2, 6, 13, 16), 3, 2, 1, 1, 0),
        ((2, 6, 10, 15), 3, 2, 1, 1, 0),
        ((2, 6, 10, 14), 3, 2, 1, 1, 0),  # rows of the result that are no vectors
        ((3, 5, 13, 20), 3, 2, 1, 2, 0),
        ((3, 5, 2, 2), 3, 2, 1, 1, 1),  # a single result, which has no stride
        ((8, 64, 65, 64), 3, 1, 1, 1, 0),  # four rows a thread, in 16 bit the tensor cores'
        ((8, 64, 63, 66), 3, 1, 1, 1, 0),
        ((104, 64, 20, 16), 3, 1, 1, 1, 0),
        ((2, 6, 10, 12), 5, 1, 2, 1, 0),
        ((1, 6, 12, 16), 5, 2, 2, 2, 0),
        ((1, 6, 9, 12), 7, 1, 3, 1, 0),
        ((1, 6, 9, 10), 7, 1, 3, 1, 3),
    ):
        x = randn_behind(offset, size, dtype)
        filters = size[1] * multiplier
        weight = torch.randn(filters, 1, kernel, kernel, device="cuda", dtype=dtype)
        bias = torch.randn(filters, device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": padding, "activation": "silu"}
        cases.append(Call(OPS["depthwise_conv2d"], (x, weight, bias), options))
        check(cases[-1])
        x[0, 0, 0, -1], x[-1, 1, -1, 0], weight[-1, 0, 0, 0] = torch.inf, torch.nan, torch.inf
        output = kernelopt.depthwise_conv2d(x, weight, stride=stride, padding=padding)
        expected = _sum_tap_by_tap(x, weight, output.shape, stride, padding)
        assert_same_places(output, expected)
    for case in cases:
        if dtype == torch.float32 or case.input.shape[2] not in (63, 65):
            assert_launched([case], "depthwise_small_kernel")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_that_share_results(dtype):
    """Small tensors whose rows and columns are no whole numbers of a thread's: the last threads own
    some of their neighbours' results. Pairs at any address, vectors, stride 2 of either parity,
    less padding than half a kernel and more; Inf and NaN at the edges and in the weight."""
    for size, kernel, stride, padding in (
        ((9, 520, 7, 7), 3, 1, 1),
        ((9, 480, 6, 9), 3, 1, 1),
        ((9, 250, 9, 13), 3, 1, 1),
        ((9, 250, 10, 13), 3, 1, 0),
        ((1, 20, 93, 95), 3, 1, 1),
        ((1, 20, 95, 97), 3, 1, 0),
        ((3, 520, 10, 14), 3, 1, 1),
        ((3, 520, 9, 14), 3, 1, 1),
        ((1, 20, 101, 90), 3, 1, 1),
        ((9, 250, 9, 16), 3, 1, 1),
        ((9, 520, 14, 14), 3, 2, 1),
        ((9, 520, 13, 16), 3, 2, 1),
        ((9, 520, 13, 15), 3, 2, 1),
        ((9, 64, 33, 34), 3, 2, 0),
        ((2, 30, 1, 9), 3, 1, 1),
        ((2, 30, 9, 9), 3, 1, 2),
        ((2, 30, 9, 11), 5, 1, 1),
        ((2, 30, 13, 14), 5, 2, 2),
        ((2, 30, 9, 11), 7, 1, 3),
        # Many results: threads of 5 and 7 rows, pairs of 7, stride 2 by 7 and by 4, 5x5 by 4.
        ((32, 600, 13, 7), 3, 1, 1),
        ((16, 600, 7, 8), 3, 1, 0),
        ((8, 64, 55, 66), 3, 1, 1),
        ((16, 600, 13, 13), 3, 2, 1),
        ((32, 600, 26, 26), 3, 2, 1),
        ((1, 200, 30, 32), 5, 1, 2),
    ):
        x = torch.randn(size, device="cuda", dtype=dtype)
        weight = torch.randn(size[1], 1, kernel, kernel, device="cuda", dtype=dtype)
        bias = torch.randn(size[1], device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": padding}
        case = Call(OPS["depthwise_conv2d"], (x, weight, bias), options)
        check(case)
        if dtype == torch.float32:
            assert_launched([case], "depthwise_small_kernel")
        x[0, 0, 0, -1], x[-1, 1, -1, 0] = torch.inf, torch.nan
        weight[-1, 0, 0, 0], weight[-2, 0, -1, -1] = torch.inf, torch.nan
        output = kernelopt.depthwise_conv2d(x, weight, **options)
        expected = _sum_tap_by_tap(x, weight, output.shape, stride, padding)
        assert_same_places(output, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_a_dilation_apart(dtype):
    """Threads own as many rows, a dilation apart, as the results have: two, three, four of more."""
    for size, dilation in (
        ((1, 5, 33, 33), (24, 24)),
        ((1, 5, 33, 33), (12, 12)),
        ((1, 5, 9, 11), (4, 1)),
        ((1, 5, 9, 11), (5, 2)),
        ((1, 5, 9, 11), (8, 1)),
        ((2, 5, 30, 11), (2, 3)),
    ):
        x = torch.randn(size, device="cuda", dtype=dtype)
        weight = torch.randn(size[1], 1, 3, 3, device="cuda", dtype=dtype)
        options = {"padding": dilation, "dilation": dilation}
        case = Call(OPS["depthwise_conv2d"], (x, weight, None), options)
        check(case)
        if dtype == torch.float32:
            assert_launched([case], "depthwise_small_kernel")
        x[0, 0, 0, -1], x[0, 1, -1, 0] = torch.inf, torch.nan
        output = kernelopt.depthwise_conv2d(x, weight, **options)
        expected = F.conv2d(x.double(), weight.double(), groups=size[1], **options)
        assert_same_places(output, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_tensors_beyond_the_small_and_channels_last_ones(dtype, channels_last):
    """Batches that the sliding kernel serves, contiguous, and two rows a thread of the small kernel
    for channels_last tensors."""
    kernel_name = "depthwise_channels_last_small_kernel" if channels_last else "depthwise_sliding"
    for size, kernel, stride in (
        [((1, 48, 63, 65), 3, 1), ((2, 40, 49, 51), 5, 1), ((1, 72, 51, 53), 7, 1)]
        if channels_last
        else [((70, 64, 27, 29), 3, 1), ((64, 96, 27, 25), 3, 2)]
    ):
        x = torch.randn(size, device="cuda", dtype=dtype)
        x = x.to(memory_format=torch.channels_last) if channels_last else x
        weight = torch.randn(size[1], 1, kernel, kernel, device="cuda", dtype=dtype)
        bias = torch.randn(size[1], device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": kernel // 2}
        case = Call(OPS["depthwise_conv2d"], (x, weight, bias), options)
        check(case)
        assert_launched([case], kernel_name)
        x[0, 0, 0, -1], x[-1, 1, -1, 0], weight[-1, 0, 0, 0] = torch.inf, torch.nan, torch.inf
        output = kernelopt.depthwise_conv2d(x, weight, **options)
        expected = _sum_tap_by_tap(x, weight, output.shape, stride, kernel // 2)
        assert_same_places(output, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_windows_at_aligned_addresses(dtype):
    """Rows of whole 16-byte units with no padding and with half a kernel of it, in one tile and in
    several, filters that share planes, more padding along the height than along the width, planes
    of two rows; and, beside them, a tensor that begins off its units. In 16 bit the tensor cores
    have those of higher planes."""
    vec = 16 // dtype.itemsize
    for channels, height, vectors, kernel, padding, multiplier, offset in (
        (67, 61, 32, (3, 3), (1, 1), 1, 0),
        (67, 61, 32, (3, 3), (0, 0), 1, 0),
        (520, 19, 7, (3, 3), (1, 1), 2, 0),
        (6400, 4, 9, (3, 3), (0, 0), 1, 0),
        (12, 66, 150, (3, 3), (2, 1), 1, 0),
        (12, 66, 150, (3, 3), (1, 0), 1, 0),
        (40, 19, 150, (3, 3), (1, 1), 1, 0),
        (40, 19, 150, (3, 3), (0, 0), 1, 0),
        (67, 61, 32, (3, 3), (1, 1), 1, vec // 2),
        (67, 61, 32, (3, 1), (1, 0), 1, 0),
        (67, 61, 32, (2, 2), (1, 0), 1, 0),
        (67, 61, 13, (3, 5), (1, 2), 1, 0),
        (67, 61, 13, (3, 5), (0, 0), 1, 0),
        (67, 61, 16, (3, 7), (1, 3), 1, 0),
        (67, 61, 16, (3, 7), (0, 0), 1, 0),
        (130, 19, 13, (3, 5), (1, 2), 1, 0),
        (130, 19, 13, (3, 5), (0, 0), 1, 0),
        (130, 19, 16, (3, 7), (1, 3), 1, 0),
        (130, 19, 16, (3, 7), (0, 0), 1, 0),
    ):
        size = (32, channels, height, vectors * vec)
        x = randn_behind(offset, size, dtype)
        weight = torch.randn(channels * multiplier, 1, *kernel, device="cuda", dtype=dtype)
        bias = torch.randn(channels * multiplier, device="cuda", dtype=dtype)
        options = {"padding": padding, "groups": channels}
        precise = [tensor.double() for tensor in (x, weight, bias)]
        expected = F.conv2d(*precise, **options)
        magnitude = F.conv2d(*(tensor.abs() for tensor in precise), **options)
        output = kernelopt.depthwise_conv2d(x, weight, bias, padding=padding)
        limit = max_norm_limit(dtype, expected, expected, magnitude)
        assert (output.double() - expected).abs().max() <= limit, (size, kernel, padding)
        again = kernelopt.depthwise_conv2d(x, weight, bias, padding=padding)
        assert torch.equal(output, again), (size, kernel, padding)
        on_tensor_cores = dtype != torch.float32 and math.prod(kernel) >= 9 and height >= 24
        case = Call(OPS["depthwise_conv2d"], (x, weight, bias), {"padding": padding})
        name = "depthwise_banded_kernel" if on_tensor_cores else "depthwise_sliding_kernel"
        assert_launched([case], name)
        if multiplier == 1 and padding == tuple(size // 2 for size in kernel):
            leaf = x.detach().requires_grad_()  # its gradient takes the taps in reverse
            ours = kernelopt.depthwise_conv2d(leaf, weight, padding=padding)
            (gradient,) = torch.autograd.grad(ours, leaf, output)
            grads = (output.double(), output.double().abs())
            expected, magnitude = (
                F.conv_transpose2d(grad, taps, **options)
                for grad, taps in zip(grads, (precise[1], precise[1].abs()), strict=True)
            )
            limit = max_norm_limit(dtype, expected, expected, magnitude)
            assert (gradient.double() - expected).abs().max() <= limit, (size, kernel, padding)
        if kernel == (3, 3) and padding[0] == padding[1]:
            x[0, 0, 0, -1], x[-1, 1, -1, 0], weight[-1, 0, 0, 0] = torch.inf, torch.nan, torch.inf
            output = kernelopt.depthwise_conv2d(x, weight, padding=padding)
            expected = _sum_tap_by_tap(x, weight, output.shape, 1, padding[0])
            assert_same_places(output, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_slides_on_tensor_cores(dtype):
    """Windows at multiples of 16 bytes, at pairs and at any address; slides that share rows, strips
    of planes and planes of a block, rows in tiles, kernels of fewer rows than the instance's, rows
    outside the image, filters that share planes, activations; Inf and NaN in each. Kernels of few
    taps in images that are too many for the small kernels."""
    for (n, channels, height, width), kernel, padding, multiplier, offset in (
        ((3, 67, 40, 64), (7, 7), (0, 0), 1, 0),
        ((3, 67, 40, 64), (7, 7), (0, 0), 1, 2),
        ((3, 67, 40, 64), (7, 7), (3, 3), 1, 0),
        ((3, 67, 40, 64), (7, 7), (3, 3), 1, 1),
        ((2, 33, 131, 256), (7, 7), (2, 0), 1, 0),
        ((2, 33, 131, 254), (7, 7), (6, 6), 1, 0),
        ((19, 40, 28, 28), (7, 7), (3, 3), 2, 0),
        ((19, 40, 32, 32), (7, 7), (0, 0), 1, 0),
        ((1, 6, 61, 2200), (7, 7), (3, 3), 1, 0),
        ((1, 8, 64, 1032), (7, 7), (3, 3), 1, 0),  # slides of a last tile that share columns
        ((1, 8, 64, 2052), (7, 7), (3, 3), 1, 0),
        ((2, 67, 33, 45), (7, 7), (3, 3), 1, 0),
        ((2, 67, 33, 46), (7, 8), (3, 3), 1, 0),
        ((2, 67, 43, 48), (5, 5), (2, 2), 1, 0),
        ((2, 67, 43, 48), (5, 5), (0, 0), 1, 0),
        ((2, 67, 43, 48), (4, 7), (1, 3), 1, 0),
        ((2, 67, 128, 256), (3, 7), (0, 0), 1, 0),
        ((2, 67, 128, 256), (3, 7), (1, 3), 1, 0),
        ((2, 67, 128, 256), (3, 7), (2, 6), 1, 0),
        ((13, 67, 43, 96), (3, 3), (1, 1), 1, 0),
        ((13, 67, 43, 96), (3, 3), (1, 1), 1, 1),
        ((13, 67, 43, 96), (3, 3), (0, 0), 1, 0),
        ((13, 67, 43, 98), (3, 3), (0, 0), 1, 0),
        ((13, 67, 43, 96), (3, 3), (2, 2), 1, 0),
        ((13, 67, 43, 96), (3, 3), (2, 1), 1, 0),
        ((65, 40, 28, 28), (3, 3), (1, 1), 2, 0),
        ((3, 6, 61, 4104), (3, 3), (1, 1), 1, 0),
        ((16, 67, 43, 48), (3, 5), (1, 2), 1, 0),
        ((16, 67, 43, 48), (5, 3), (2, 1), 1, 0),
        ((17, 67, 43, 48), (5, 3), (0, 0), 1, 0),
        ((2, 67, 43, 48), (2, 7), (1, 3), 1, 0),
        ((2, 67, 43, 48), (6, 1), (2, 0), 1, 0),
        ((1, 5, 27, 24), (4, 3), (0, 1), 1, 0),
        ((13, 67, 43, 48), (5, 5), (2, 2), 1, 0),
        ((13, 67, 43, 48), (5, 5), (0, 0), 1, 0),
        ((13, 67, 43, 48), (5, 5), (4, 1), 1, 1),
        ((21, 40, 28, 28), (7, 3), (3, 1), 2, 0),
    ):
        slides = kernel in ((3, 3), (3, 5), (5, 3), (3, 7))
        results = n * channels * height * width
        if dtype == torch.float32 and (slides or (kernel == (5, 5) and results < 1_500_000)):
            continue  # another kernel's
        size = (n, channels, height, width)
        x = randn_behind(offset, size, dtype)
        weight = torch.randn(channels * multiplier, 1, *kernel, device="cuda", dtype=dtype)
        bias = torch.randn(channels * multiplier, device="cuda", dtype=dtype)
        for activation in ("none", "relu"):
            options = {"padding": padding, "activation": activation}
            case = Call(
                OPS["depthwise_conv2d"],
                (x, weight, bias),
                options,
                precision=kernelopt.Precision.DEFAULT,
            )
            check(case)
            assert_launched([case], "depthwise_banded_kernel")
        if padding[0] == padding[1]:
            x[0, 0, 0, -1], x[-1, 1, -1, 0], x[0, 2, 9, 9] = torch.inf, torch.nan, -torch.inf
            weight[-1, 0, 0, 0], weight[-2, 0, -1, -1] = torch.inf, torch.nan
            with float32_precision(kernelopt.Precision.DEFAULT):
                output = kernelopt.depthwise_conv2d(x, weight, padding=padding)
            expected = _sum_tap_by_tap(x, weight, output.shape, 1, padding[0])
            assert_same_places(output, expected, (size, kernel, padding))
            finite = expected.isfinite()
            limit = max(torch.finfo(dtype).eps, 2.0**-14) * expected[finite].abs().max()
            assert (output[finite] - expected[finite]).abs().max() <= limit, (size, kernel, padding)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernels_of_one_row(dtype):
    """One row and several a plane, even and odd kernels, strides and dilations along the row."""
    for size, kernel, stride, padding, multiplier, dilation, offset in (
        ((3, 20, 1, 399), 31, 1, 15, 1, 1, 0),
        ((2, 5, 1, 140), 16, 1, 7, 2, 1, 3),
        ((2, 12, 56, 56), 11, 1, 5, 1, 1, 0),
        ((3, 7, 9, 13), 11, 1, 3, 1, 1, 1),
        ((1, 4, 6, 700), 9, (1, 2), 4, 1, 1, 0),
        ((2, 3, 5, 90), 6, 1, 9, 1, 3, 5),
    ):
        x = randn_behind(offset, size, dtype)
        filters = size[1] * multiplier
        weight = torch.randn(filters, 1, 1, kernel, device="cuda", dtype=dtype)
        bias = torch.randn(filters, device="cuda", dtype=dtype)
        options = {"stride": stride, "padding": (0, padding), "dilation": (1, dilation)}
        case = Call(OPS["depthwise_conv2d"], (x, weight, bias), options)
        check(case)
        if dilation == 1:
            assert_launched([case], "conv1d_sliding_kernel")
        x.fill_(1)
        weight.fill_(1)
        weight[-1, 0, 0, 0] = torch.inf
        output = kernelopt.depthwise_conv2d(x, weight, **options)
        steps = stride[1] if isinstance(stride, tuple) else stride
        columns = torch.arange(output.shape[3], device="cuda") * steps - padding
        assert torch.equal(output[:, -1].isinf(), (columns >= 0).expand_as(output[:, -1]))
        assert output[:, :-1].isfinite().all()
        assert not output.isnan().any()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernels_wider_than_the_image(dtype):
    """Threads whose first tap inside the image differs; Inf in the weight."""
    for size, kernel, padding, multiplier, offset in (
        ((1, 16, 14, 14), 27, 13, 1, 0),
        ((3, 4, 7, 9), 13, 6, 1, 1),
        ((2, 3, 8, 5), 8, 5, 2, 0),
        ((2, 3, 5, 11), 31, 15, 1, 3),
    ):
        x = randn_behind(offset, size, dtype)
        weight = torch.randn(size[1] * multiplier, 1, kernel, kernel, device="cuda", dtype=dtype)
        case = Call(OPS["depthwise_conv2d"], (x, weight, None), {"padding": padding})
        check(case)
        assert_launched([case], "depthwise_tile_kernel")
        weight[0, 0, kernel // 2, kernel // 3], weight[-1, 0, 0, 0] = torch.inf, torch.nan
        output = kernelopt.depthwise_conv2d(x, weight, padding=padding)
        expected = _sum_tap_by_tap(x, weight, output.shape, 1, padding)
        assert_same_places(output, expected)


def _sum_tap_by_tap(x, weight, shape, stride, padding):
    """The convolution in float64, of nothing but the products that the definition names."""
    multiplier = weight.shape[0] // x.shape[1]
    padded = F.pad(x.double(), (padding,) * 4).repeat_interleave(multiplier, 1)
    image = F.pad(torch.ones_like(x[:1, :1]), (padding,) * 4).bool()
    total = torch.zeros(shape, dtype=torch.float64, device=x.device)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            ends = [k + stride * (n - 1) + 1 for k, n in zip((i, j), shape[2:], strict=True)]
            window = (..., slice(i, ends[0], stride), slice(j, ends[1], stride))
            products = weight.double()[:, 0, i, j, None, None] * padded[window]
            total += torch.where(image[window], products, 0.0)
    return total
