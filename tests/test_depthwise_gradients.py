"""Gradients of depthwise_conv2d by the kernel that keeps windows in registers, of the weight alone
and with the input's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from conformance.launches import assert_launched
from conformance.ops import OPS
from conformance.ops import Case as Call
from support import assert_same_places, randn_behind
from tolerance import max_norm_limit

KERNEL = "depthwise_weight_gradient_window_kernel"

# Size, kernel, padding, channel multiplier, elements before the first one.
SHAPES = (
    ((17, 67, 43, 96), (3, 3), (1, 1), 1, 0),
    ((17, 67, 43, 96), (3, 3), (1, 1), 1, 1),
    ((17, 67, 43, 96), (3, 3), (0, 0), 1, 0),
    ((17, 67, 43, 95), (3, 3), (0, 0), 1, 0),  # rows of no whole vectors
    ((17, 67, 43, 96), (3, 3), (2, 2), 1, 0),
    ((17, 67, 43, 96), (3, 3), (3, 1), 1, 0),  # more padding than the input gradient takes
    ((130, 131, 14, 16), (3, 3), (1, 1), 1, 0),  # several planes a block
    ((65, 40, 28, 28), (3, 3), (1, 1), 2, 0),
    ((3, 6, 61, 4104), (3, 3), (1, 1), 1, 0),  # rows in tiles
    ((17, 67, 43, 96), (3, 1), (1, 0), 1, 0),
    ((17, 67, 43, 96), (2, 2), (1, 0), 1, 0),
    ((17, 67, 43, 96), (3, 5), (1, 2), 1, 0),
    ((17, 67, 43, 96), (3, 7), (1, 3), 1, 0),
    ((17, 67, 43, 96), (3, 7), (0, 0), 1, 0),
    ((17, 67, 43, 96), (5, 3), (2, 1), 1, 0),
)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gradients_by_windows(dtype: torch.dtype) -> None:
    for size, kernel, padding, multiplier, offset in SHAPES:
        what = (size, kernel, padding)
        x = randn_behind(offset, size, dtype)
        weight = torch.randn(size[1] * multiplier, 1, *kernel, device="cuda", dtype=dtype)
        output = kernelopt.depthwise_conv2d(x, weight, padding=padding)
        grad = torch.randn_like(output)
        options = {"padding": padding, "groups": size[1]}
        for wanted in ((True, True), (False, True)):
            results, again = (_gradients(grad, x, weight, padding, wanted) for _ in range(2))
            for result, second in zip(results, again, strict=True):
                assert torch.equal(result, second), what
            expected, magnitude = (
                _reference(*(f(tensor.double()) for tensor in (grad, x, weight)), options, wanted)
                for f in (lambda tensor: tensor, torch.abs)
            )
            for result, exact, scale in zip(results, expected, magnitude, strict=True):
                limit = max_norm_limit(dtype, exact, exact, scale)
                assert (result.double() - exact).abs().max() <= limit, (what, wanted)
        case = Call(OPS["depthwise_conv2d"], (x, weight, None), {"padding": padding})
        assert_launched([case], KERNEL, backward=True)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_windows_keep_inf_and_nan(dtype: torch.dtype) -> None:
    """Zeros that stand for what is outside the image meet Inf in either tensor and the weight."""
    for size, kernel, padding, _, offset in SHAPES[:7]:
        x = randn_behind(offset, size, dtype)
        weight = torch.randn(size[1], 1, *kernel, device="cuda", dtype=dtype)
        grad = torch.randn_like(kernelopt.depthwise_conv2d(x, weight, padding=padding))
        x[0, 0, 0, -1], x[-1, 1, -1, 0], x[0, 2, 9, 9] = torch.inf, torch.nan, -torch.inf
        grad[0, 3, 0, 0], grad[-1, 4, -1, -1], grad[1, 0, -1, 5] = torch.inf, -torch.inf, torch.nan
        weight[-1, 0, 0, 0], weight[-2, 0, -1, -1] = torch.inf, torch.nan
        results = _gradients(grad, x, weight, padding, (True, True))
        for result, expected in zip(results, _tap_by_tap(grad, x, weight, padding), strict=True):
            assert_same_places(result, expected, (size, kernel, padding))
            finite = expected.isfinite()
            limit = max(torch.finfo(dtype).eps, 2.0**-18) * expected[finite].abs().max()
            assert (result[finite] - expected[finite]).abs().max() <= limit, (size, kernel)


def _gradients(grad, x, weight, padding, wanted):
    leaves = [
        tensor.detach().requires_grad_(on) for tensor, on in zip((x, weight), wanted, strict=True)
    ]
    output = kernelopt.depthwise_conv2d(*leaves, padding=padding)
    return torch.autograd.grad(output, [leaf for leaf in leaves if leaf.requires_grad], grad)


def _reference(grad, x, weight, options, wanted):
    """By torch; of absolute values the magnitudes."""
    leaves = [
        tensor.detach().requires_grad_(on) for tensor, on in zip((x, weight), wanted, strict=True)
    ]
    output = F.conv2d(*leaves, **options)
    return torch.autograd.grad(output, [leaf for leaf in leaves if leaf.requires_grad], grad)


def _tap_by_tap(grad, x, weight, padding):
    """The gradients in float64, of nothing but the products that the definition names."""
    pad = (padding[1], padding[1], padding[0], padding[0])
    height, width = grad.shape[2:]
    grad, padded = grad.double(), F.pad(x.double(), pad)
    image = F.pad(torch.ones_like(x[:1, :1]), pad).bool()
    by_input, by_weight = torch.zeros_like(padded), torch.zeros_like(weight, dtype=torch.float64)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            window = (..., slice(i, i + height), slice(j, j + width))
            products = torch.where(image[window], grad * padded[window], 0.0)
            by_weight[:, 0, i, j] = products.sum((0, 2, 3))
            by_input[window] += grad * weight.double()[:, 0, i, j, None, None]
    rows, columns = (slice(p, p + n) for p, n in zip(padding, x.shape[2:], strict=True))
    return by_input[..., rows, columns], by_weight
