"""pointwise_conv2d and separable_conv2d against torch.nn.functional.conv2d."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from kernelopt._arguments import activation_code
from op_suite import ConvolutionSuite
from support import (
    ACTIVATIONS,
    DTYPES,
    LAYOUTS,
    Case,
    pairwise,
    with_activation,
    wrong_depthwise_gradients,
)

GEOMETRY = ("stride", "padding", "dilation")


class TestPointwiseConv2d(ConvolutionSuite):
    op = "pointwise_conv2d"
    cases = pairwise(
        {
            "dtype": DTYPES,
            "activation": ACTIVATIONS,
            "layout": LAYOUTS,
            "size": [(2, 3, 5, 9, 11), (1, 8, 16, 35, 70), (3, 65, 33, 12, 5), (2, 1, 1, 3, 4)],
            "bias": [False, True],
        }
    )
    gradient_cases = pairwise(
        {
            "activation": ACTIVATIONS,
            "size": [(1, 2, 3, 3, 2), (2, 3, 1, 2, 2), (2, 1, 2, 1, 3)],
            "bias": [False, True],
        }
    )
    examples = [
        {"activation": activation, "size": (2, 4, 6, 7, 8), "bias": activation != "relu"}
        for activation in ACTIVATIONS
    ]

    def tensors(self, case, device, dtype):
        batch, in_channels, out_channels, height, width = case["size"]
        return [
            torch.randn(batch, in_channels, height, width, dtype=dtype, device=device),
            torch.randn(out_channels, in_channels, 1, 1, dtype=dtype, device=device),
            torch.randn(out_channels, dtype=dtype, device=device) if case["bias"] else None,
        ]

    def ours(self, case):
        return lambda *tensors: kernelopt.pointwise_conv2d(*tensors, activation=case["activation"])

    def theirs(self, case):
        return with_activation(F.conv2d, case["activation"])

    def op_arguments(self, case, tensors):
        return *tensors, activation_code("pointwise_conv2d", "activation", case["activation"]), 0


def fits(case: Case) -> bool:
    return case["padding"] != "same" or case["stride"] == 1


class TestSeparableConv2d(ConvolutionSuite):
    op = "separable_conv2d"
    num_results = 5
    cases = pairwise(
        {
            "dtype": DTYPES,
            "depthwise_activation": ACTIVATIONS,
            "activation": ACTIVATIONS,
            "layout": LAYOUTS,
            "size": [(2, 3, 5, 9, 11), (1, 8, 16, 35, 70), (3, 65, 33, 12, 5)],
            "multiplier": [1, 2],
            "kernel_size": [(1, 1), (3, 3), (2, 5)],
            "depthwise_bias": [False, True],
            "pointwise_bias": [False, True],
            "stride": [1, 2, (1, 3)],
            "padding": [2, (3, 4), "same"],
            "dilation": [1, (2, 1)],
        },
        fits,
    )
    gradient_cases = pairwise(
        {
            "depthwise_activation": ACTIVATIONS,
            "activation": ACTIVATIONS,
            "size": [(1, 2, 3, 3, 4), (2, 1, 2, 4, 3)],
            "multiplier": [1, 2],
            "kernel_size": [(1, 2), (3, 2)],
            "depthwise_bias": [False, True],
            "pointwise_bias": [False, True],
            "stride": [1, (2, 1)],
            "padding": [1, (1, 2), "same"],
            "dilation": [1, 2],
        },
        lambda case: fits(case) and (case["dilation"] == 1 or case["padding"] != 1),
    )
    examples = [
        {
            "depthwise_activation": before,
            "activation": activation,
            "size": (2, 4, 6, 7, 8),
            "multiplier": 2,
            "kernel_size": (3, 2),
            "depthwise_bias": activation != "relu",
            "pointwise_bias": activation != "gelu",
            "stride": (2, 1),
            "padding": (1, 2),
            "dilation": (1, 2),
        }
        for before, activation in zip(
            ACTIVATIONS, (None, "gelu", "relu", "silu", "gelu_tanh"), strict=True
        )
    ]

    def gradients_torch_gets_wrong(self, case, device):
        return wrong_depthwise_gradients(case, device)

    def tensors(self, case, device, dtype):
        batch, in_channels, out_channels, height, width = case["size"]
        hidden = in_channels * case["multiplier"]
        options = {"dtype": dtype, "device": device}
        return [
            torch.randn(batch, in_channels, height, width, **options),
            torch.randn(hidden, 1, *case["kernel_size"], **options),
            torch.randn(out_channels, hidden, 1, 1, **options),
            torch.randn(hidden, **options) if case["depthwise_bias"] else None,
            torch.randn(out_channels, **options) if case["pointwise_bias"] else None,
        ]

    def ours(self, case):
        names = (*GEOMETRY, "depthwise_activation", "activation")
        arguments = {name: case[name] for name in names}
        return lambda *tensors: kernelopt.separable_conv2d(*tensors, **arguments)

    def theirs(self, case):
        arguments = {name: case[name] for name in GEOMETRY}

        def separable(input, depthwise_weight, pointwise_weight, depthwise_bias, pointwise_bias):
            depthwise = with_activation(F.conv2d, case["depthwise_activation"])
            hidden = depthwise(
                input, depthwise_weight, depthwise_bias, groups=input.shape[-3], **arguments
            )
            return F.conv2d(hidden, pointwise_weight, pointwise_bias)

        return with_activation(separable, case["activation"])

    def op_arguments(self, case, tensors):
        input, depthwise_weight, pointwise_weight, depthwise_bias, pointwise_bias = tensors
        codes = (
            activation_code("separable_conv2d", name, case[name])
            for name in ("depthwise_activation", "activation")
        )
        return (
            input,
            depthwise_weight,
            depthwise_bias,
            pointwise_weight,
            pointwise_bias,
            *(list(case[name]) for name in GEOMETRY),
            *codes,
            0,
        )


@pytest.mark.parametrize(
    "weight", [torch.zeros(6, 4, 3, 3), torch.zeros(6, 5, 1, 1), torch.zeros(6, 4, 1)]
)
@pytest.mark.parametrize("device_type", ["cpu", "meta"])
def test_pointwise_weight(weight, device_type):
    x = torch.zeros(2, 4, 9, 8, device=device_type)
    weight = weight.to(device_type)
    with pytest.raises(RuntimeError, match=r"kernelopt(\.|::)pointwise_conv2d.*expected .*got"):
        kernelopt.pointwise_conv2d(x, weight)
    depthwise_weight = torch.zeros(4, 1, 1, 1, device=device_type)
    with pytest.raises(RuntimeError, match=r"kernelopt(\.|::)separable_conv2d.*expected .*got"):
        kernelopt.separable_conv2d(x, depthwise_weight, weight)


def test_pointwise_without_input_channels_as_torch():
    x, weight = torch.randn(2, 0, 9, 8), torch.randn(6, 0, 1, 1)
    assert kernelopt.pointwise_conv2d(x, weight).shape == F.conv2d(x, weight).shape


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"stride": (1, 0)}, RuntimeError),
        ({"stride": 1.0}, TypeError),
        ({"padding": (0, -1)}, RuntimeError),
        ({"padding": "same", "stride": 2}, RuntimeError),
        ({"dilation": 9}, RuntimeError),
        ({"input": torch.zeros(2, 3, 9, 8)}, RuntimeError),
        ({"input": torch.zeros(2, 4, 0, 8), "padding": 2}, RuntimeError),
        ({"depthwise_weight": torch.zeros(8, 2, 3, 3)}, RuntimeError),
        ({"depthwise_bias": torch.zeros(4)}, RuntimeError),
        ({"pointwise_weight": torch.zeros(6, 4, 1, 1)}, RuntimeError),
        ({"pointwise_bias": torch.zeros(8)}, RuntimeError),
        ({"pointwise_bias": 1.0}, TypeError),
        ({"depthwise_activation": "tanh"}, ValueError),
    ],
)
def test_separable_errors(arguments, error):
    given = {
        "input": torch.zeros(2, 4, 9, 8),
        "depthwise_weight": torch.zeros(8, 1, 3, 3),
        "pointwise_weight": torch.zeros(6, 8, 1, 1),
        **arguments,
    }
    with pytest.raises(error, match=r"kernelopt(\.|::)separable_conv2d.*expected .*got"):
        kernelopt.separable_conv2d(**given)
    if error is RuntimeError:
        tensors = {name: value.to("meta") for name, value in given.items() if hasattr(value, "to")}
        with pytest.raises(error):
            kernelopt.separable_conv2d(**{**given, **tensors})
