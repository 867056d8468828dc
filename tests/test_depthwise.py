"""depthwise_conv2d against torch.nn.functional.conv2d with one group a channel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from conformance.check import check
from conformance.launches import assert_launched
from conformance.ops import OPS
from conformance.ops import Case as Call
from kernelopt._arguments import activation_code
from op_suite import ConvolutionSuite
from support import (
    ACTIVATIONS,
    DTYPES,
    LAYOUTS,
    Case,
    assert_accurate,
    assert_same_places,
    gradients,
    pairwise,
    randn_behind,
    vjp_of,
    with_activation,
    wrong_depthwise_gradients,
)

GEOMETRY = ("stride", "padding", "dilation")


def fits(case: Case) -> bool:
    return case["padding"] != "same" or case["stride"] == 1


def torch_depthwise(input, weight, bias=None, **arguments):
    return F.conv2d(input, weight, bias, groups=input.shape[-3], **arguments)


class TestDepthwiseConv2d(ConvolutionSuite):
    op = "depthwise_conv2d"
    cases = pairwise(
        {
            "dtype": DTYPES,
            "activation": ACTIVATIONS,
            "layout": LAYOUTS,
            "size": [
                (2, 3, 9, 11),
                (1, 8, 35, 70),
                (3, 33, 12, 5),
                (2, 40, 7, 7),
                (1, 2, 20, 1051),
            ],
            "multiplier": [1, 2],
            "kernel_size": [(1, 1), (3, 3), (2, 5), (7, 7), (3, 1), (5, 5)],
            "bias": [False, True],
            "stride": [1, 2, (1, 3)],
            "padding": [3, (6, 7), "same"],
            "dilation": [1, (2, 1)],
        },
        fits,
    )
    gradient_cases = pairwise(
        {
            "activation": ACTIVATIONS,
            "size": [(1, 2, 3, 4), (2, 1, 4, 3)],
            "multiplier": [1, 2],
            "kernel_size": [(1, 2), (3, 2)],
            "bias": [False, True],
            "stride": [1, (2, 1)],
            "padding": [1, (1, 2), "same"],
            "dilation": [1, 2],
        },
        lambda case: fits(case) and (case["dilation"] == 1 or case["padding"] != 1),
    )
    examples = [
        {
            "activation": activation,
            "size": (2, 4, 7, 8),
            "multiplier": 2,
            "kernel_size": (3, 2),
            "bias": activation != "relu",
            "stride": (2, 1),
            "padding": (1, 2),
            "dilation": (1, 2),
        }
        for activation in ACTIVATIONS
    ]

    def gradients_torch_gets_wrong(self, case, device):
        return wrong_depthwise_gradients(case, device)

    def tensors(self, case, device, dtype):
        batch, channels, height, width = case["size"]
        out_channels = channels * case["multiplier"]
        return [
            torch.randn(batch, channels, height, width, dtype=dtype, device=device),
            torch.randn(out_channels, 1, *case["kernel_size"], dtype=dtype, device=device),
            torch.randn(out_channels, dtype=dtype, device=device) if case["bias"] else None,
        ]

    def ours(self, case):
        arguments = {name: case[name] for name in (*GEOMETRY, "activation")}
        return lambda *tensors: kernelopt.depthwise_conv2d(*tensors, **arguments)

    def theirs(self, case):
        arguments = {name: case[name] for name in GEOMETRY}
        return with_activation(
            lambda *tensors: torch_depthwise(*tensors, **arguments), case["activation"]
        )

    def op_arguments(self, case, tensors):
        code = activation_code("depthwise_conv2d", "activation", case["activation"])
        return *tensors, *(list(case[name]) for name in GEOMETRY), code, 0


def test_same_pads_the_odd_element_on_the_right_and_below(device):
    x = torch.randn(2, 3, 5, 6, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(3, 1, 2, 4, device=device)
    output = kernelopt.depthwise_conv2d(x, weight, padding="same")
    expected = F.conv2d(F.pad(x, (1, 2, 0, 1)), weight, groups=3)
    torch.testing.assert_close(output, expected)
    assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels_last", [False, True])
def test_padding_takes_no_part_beside_inf(device, channels_last):
    """Neither Inf in the weight nor Inf next to the padding may make NaN of zeros that pad."""
    x = torch.ones(1, 8, 6, 20, device=device)
    x[:, :, 2, 19] = torch.inf  # the last column, which the next row follows in memory
    weight = torch.ones(8, 1, 3, 3, device=device)
    weight[1, 0, 0, 0] = torch.inf
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    if x.device.type == "cpu":
        pytest.skip("ATen's convolution multiplies its padding")
    output = kernelopt.depthwise_conv2d(x, weight, padding=1)
    assert not output.isnan().any()
    touched = torch.zeros(6, 20, dtype=torch.bool, device=device)
    touched[1:4, 18:] = True
    assert torch.equal(output[0, 0].isinf(), touched)
    touched[1:, 1:] = True  # the corner tap meets the image everywhere else
    assert torch.equal(output[0, 1].isinf(), touched)


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("kernel_size", "size"),
    [
        ((7, 7), (8, 48, 40, 44)),
        ((5, 5), (8, 40, 39, 45)),
        ((3, 7), (3, 40, 70, 130)),
        ((6, 8), (8, 8, 33, 300)),
    ],
)
def test_tensor_core_kernels(kernel_size, size, dtype, channels_last):
    """Shapes with work enough for the kernels on tensor cores; the suite's are below."""
    x = torch.randn(size, dtype=dtype, device="cuda")
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    weight = torch.randn(size[1], 1, *kernel_size, dtype=dtype, device="cuda")
    bias = torch.randn(size[1], dtype=dtype, device="cuda")
    arguments = {"padding": (kernel_size[0] // 2, kernel_size[1] // 2)}

    def ours(*tensors):
        return kernelopt.depthwise_conv2d(*tensors, activation="gelu", **arguments)

    def theirs(*tensors):
        return F.gelu(torch_depthwise(*tensors, **arguments))

    output = ours(x, weight, bias)
    assert_accurate(output, theirs, [x, weight, bias])
    grad = torch.randn_like(output)
    results = gradients(ours, [x, weight, bias], grad)
    assert_accurate(results, vjp_of(theirs), [grad, x, weight, bias])


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensor_core_kernels_keep_inf_in_place(dtype, channels_last):
    """Inf meets the taps that it should, and none of the zeros beside them."""
    x = torch.ones(16, 32, 40, 40, dtype=dtype, device="cuda")
    x[3, 5, 20, 39] = torch.inf
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    weight = torch.ones(32, 1, 7, 7, dtype=dtype, device="cuda")
    weight[7, 0, 0, 0] = torch.inf
    x.requires_grad_()
    weight.requires_grad_()
    output = kernelopt.depthwise_conv2d(x, weight, padding=3)
    touched = torch.zeros(16, 32, 40, 40, dtype=torch.bool, device="cuda")
    touched[3, 5, 17:24, 36:] = True
    touched[:, 7, 3:, 3:] = True
    assert torch.equal(output.isinf(), touched)
    assert not output.isnan().any()
    output.backward(torch.ones_like(output))
    touched = torch.zeros(32, 1, 7, 7, dtype=torch.bool, device="cuda")
    touched[5, 0, :, 3:] = True
    assert torch.equal(weight.grad.isinf(), touched)
    assert not weight.grad.isnan().any()


def _gradients_tap_by_tap(x, weight, grad, stride, padding):
    """The gradients of the input and of the weight in float64, of nothing but the products that
    the definition names: no zero that pads meets Inf."""
    x, weight, grad = x.double(), weight.double(), grad.double()
    multiplier = weight.shape[0] // x.shape[1]
    padded = F.pad(x, (padding, padding, padding, padding)).repeat_interleave(multiplier, 1)
    image = F.pad(torch.ones_like(x[:1, :1]), (padding,) * 4).bool()
    grad_padded, grad_weight = torch.zeros_like(padded), torch.zeros_like(weight)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            ends = [k + stride * (n - 1) + 1 for k, n in zip((i, j), grad.shape[2:], strict=True)]
            window = (..., slice(i, ends[0], stride), slice(j, ends[1], stride))
            grad_padded[window] += weight[:, 0, i, j, None, None] * grad
            products = torch.where(image[window], grad * padded[window], 0.0)
            grad_weight[:, 0, i, j] = products.sum((0, 2, 3))
    inner = slice(padding, -padding or None)
    grad_input = grad_padded[..., inner, inner].unflatten(1, (-1, multiplier)).sum(2)
    return grad_input, grad_weight


GRADIENT_SHAPES = [  # input, kernel, stride, padding, multiplier, elements before the storage's use
    ((2, 5, 12, 16), 3, 2, 1, 1, 0),
    ((1, 3, 7, 15), 3, 2, 0, 2, 1),
    ((2, 4, 28, 28), 5, 2, 2, 1, 0),
    ((2, 3, 9, 14), 5, 2, (1, 2), 1, 3),
    ((1, 6, 10, 18), 5, 2, (4, 3), 1, 2),
    ((2, 3, 21, 56), 7, 2, 3, 2, 0),
    ((1, 2, 10, 18), 7, 2, (2, 5), 1, 1),
    ((3, 7, 5, 1), 3, 2, 1, 1, 0),
    ((1, 6, 7, 7), 3, 1, 1, 1, 0),
    ((3, 5, 14, 13), 5, 1, 2, 2, 1),
    ((1, 3, 9, 300), 7, 1, (3, 0), 1, 0),
    ((40, 2, 40, 60), 3, 1, 1, 1, 0),  # several shares of the sum
]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gradients_of_small_tensors_and_at_stride_2(dtype):
    """Rows of every alignment, paddings of either parity, several filters a channel."""
    cases = []
    for size, kernel, stride, padding, multiplier, offset in GRADIENT_SHAPES:
        x = randn_behind(offset, size, dtype)
        filters = size[1] * multiplier
        weight = torch.randn(filters, 1, kernel, kernel, device="cuda", dtype=dtype)
        tensors = (x, weight, None)
        options = {"stride": stride, "padding": padding}
        cases.append(Call(OPS["depthwise_conv2d"], tensors, options))
        check(cases[-1])
    assert_launched(
        cases,
        "depthwise_phase_gradient_kernel",
        "depthwise_weight_gradient_small_kernel",
        backward=True,
    )


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("batch", "kernel", "stride", "padding"),
    [(2, 3, 2, 1), (2, 5, 2, 2), (2, 5, 2, 1), (2, 3, 1, 1), (2, 5, 1, 2), (64, 3, 2, 1)],
)
def test_gradients_keep_inf_and_nan(dtype, batch, kernel, stride, padding):
    """Inf and NaN at the edges and in the weight meet no zero that pads."""
    x = torch.randn(batch, 6, 24, 30, device="cuda", dtype=dtype)
    weight = torch.randn(6, 1, kernel, kernel, device="cuda", dtype=dtype)
    weight[1, 0, 0, 0], weight[2, 0, kernel - 1, 0] = torch.inf, torch.nan
    x[0, 3, 0, 29], x[1, 3, 11, 0], x[1, 0, 23, 7] = torch.inf, -torch.inf, torch.nan
    x.requires_grad_()
    weight.requires_grad_()
    output = kernelopt.depthwise_conv2d(x, weight, stride=stride, padding=padding)
    grad = torch.randn_like(output)
    grad[0, 4, 0, 0], grad[1, 4, -1, -1], grad[0, 5, 3, 0] = torch.inf, torch.inf, -torch.inf
    found = torch.autograd.grad(output, (x, weight), grad)
    expected = _gradients_tap_by_tap(x.detach(), weight.detach(), grad, stride, padding)
    for one, other in zip(found, expected, strict=True):
        assert_same_places(one, other)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"stride": 0}, RuntimeError),
        ({"stride": (1, 0)}, RuntimeError),
        ({"stride": (1, 1, 1)}, RuntimeError),
        ({"stride": 1.0}, TypeError),
        ({"padding": (0, -1)}, RuntimeError),
        ({"padding": "full"}, RuntimeError),
        ({"padding": "same", "stride": (1, 2)}, RuntimeError),
        ({"dilation": (1, 0)}, RuntimeError),
        ({"dilation": 9}, RuntimeError),
        ({"dilation": 2**62}, RuntimeError),
        ({"bias": torch.zeros(4)}, RuntimeError),
        ({"input": torch.zeros(1, 2, 4, 9, 9)}, RuntimeError),
        ({"input": torch.zeros(2, 3, 9, 8)}, RuntimeError),
        ({"input": torch.zeros(2, 4, 0, 8), "padding": 2}, RuntimeError),
        ({"input": torch.zeros(2, 0, 9, 8)}, RuntimeError),
        ({"weight": torch.zeros(8, 2, 3, 3)}, RuntimeError),
        ({"weight": torch.zeros(8, 3, 3)}, RuntimeError),
        ({"weight": torch.zeros(8, 1, 3, 0)}, RuntimeError),
    ],
)
def test_errors_are_torchs(arguments, error):
    given = {"input": torch.zeros(2, 4, 9, 8), "weight": torch.zeros(8, 1, 3, 3), **arguments}
    with pytest.raises(error):
        torch_depthwise(**given)
    with pytest.raises(error, match=r"kernelopt(\.|::)depthwise_conv2d.*expected .*got"):
        kernelopt.depthwise_conv2d(**given)
    if error is RuntimeError:
        tensors = {name: value.to("meta") for name, value in given.items() if hasattr(value, "to")}
        with pytest.raises(error):
            kernelopt.depthwise_conv2d(**{**given, **tensors})
