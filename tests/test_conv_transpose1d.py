"""conv_transpose1d against torch.nn.functional.conv_transpose1d."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from kernelopt._arguments import activation_code
from op_suite import ConvolutionSuite
from support import ACTIVATIONS, DTYPES, LAYOUTS, Case, pairwise, with_activation

GEOMETRY = ("stride", "padding", "output_padding", "groups", "dilation")


def fits(case: Case) -> bool:
    return case["output_padding"] < max(case["stride"], case["dilation"])


class TestConvTranspose1d(ConvolutionSuite):
    op = "conv_transpose1d"
    cases = pairwise(
        {
            "dtype": DTYPES,
            "activation": ACTIVATIONS,
            "layout": LAYOUTS,
            "size": [(2, 6, 12, 19), (1, 12, 6, 300), (3, 18, 36, 67)],
            "kernel_size": [1, 3, 4],
            "bias": [False, True],
            "stride": [1, 2, 3],
            "padding": [0, 2],
            "output_padding": [0, 1],
            "dilation": [1, 2],
            "groups": [1, 2, 6],
        },
        fits,
    )
    gradient_cases = pairwise(
        {
            "activation": ACTIVATIONS,
            "size": [(1, 2, 4, 4), (2, 4, 2, 3)],
            "kernel_size": [1, 2, 3],
            "bias": [False, True],
            "stride": [1, 2, 3],
            "padding": [0, 1],
            "output_padding": [0, 1],
            "dilation": [1, 2],
            "groups": [1, 2],
        },
        fits,
    )
    examples = [
        {
            "activation": activation,
            "size": (2, 4, 6, 7),
            "kernel_size": 3,
            "bias": activation != "relu",
            "stride": 3,
            "padding": 1,
            "output_padding": 2,
            "dilation": 2,
            "groups": 2,
        }
        for activation in ACTIVATIONS
    ]

    def tensors(self, case, device, dtype):
        batch, in_channels, out_channels, length = case["size"]
        weight_shape = (in_channels, out_channels // case["groups"], case["kernel_size"])
        return [
            torch.randn(batch, in_channels, length, dtype=dtype, device=device),
            torch.randn(weight_shape, dtype=dtype, device=device),
            torch.randn(out_channels, dtype=dtype, device=device) if case["bias"] else None,
        ]

    def ours(self, case):
        arguments = {name: case[name] for name in (*GEOMETRY, "activation")}
        return lambda *tensors: kernelopt.conv_transpose1d(*tensors, **arguments)

    def theirs(self, case):
        arguments = {name: case[name] for name in GEOMETRY}
        return with_activation(
            lambda *tensors: F.conv_transpose1d(*tensors, **arguments), case["activation"]
        )

    def op_arguments(self, case, tensors):
        code = activation_code("conv_transpose1d", "activation", case["activation"])
        stride, padding, output_padding, dilation = (
            [case[name]] for name in ("stride", "padding", "output_padding", "dilation")
        )
        return *tensors, stride, padding, output_padding, case["groups"], dilation, code, 0


def test_output_without_elements(device):
    x, weight = torch.randn(2, 3, 8, device=device), torch.randn(3, 5, 1, device=device)
    x.requires_grad_()
    output = kernelopt.conv_transpose1d(x, weight, padding=4)
    assert output.shape == (2, 5, 0)
    assert not torch.autograd.grad(output.sum(), x)[0].any()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"stride": 0}, RuntimeError),
        ({"stride": "1"}, TypeError),
        ({"padding": -1}, RuntimeError),
        ({"padding": "same"}, TypeError),
        ({"padding": 50}, RuntimeError),
        ({"output_padding": 1}, RuntimeError),
        ({"output_padding": -1, "stride": 2}, RuntimeError),
        ({"output_padding": (1, 1), "stride": 2}, RuntimeError),
        ({"dilation": 0}, RuntimeError),
        ({"groups": 3}, RuntimeError),
        ({"groups": 0}, RuntimeError),
        ({"bias": torch.zeros(3)}, RuntimeError),
        ({"input": torch.zeros(2, 5, 9)}, RuntimeError),
        ({"input": torch.zeros(2, 4, 0)}, RuntimeError),
        ({"input": torch.zeros(9)}, RuntimeError),
        ({"weight": torch.zeros(4, 0, 3)}, RuntimeError),
        ({"weight": torch.zeros(0, 6, 3), "input": torch.zeros(2, 0, 9)}, RuntimeError),
    ],
)
def test_errors_are_torchs(arguments, error):
    given = {"input": torch.zeros(2, 4, 9), "weight": torch.zeros(4, 6, 3), **arguments}
    with pytest.raises(error):
        F.conv_transpose1d(**given)
    with pytest.raises(error, match=r"kernelopt(\.|::)conv_transpose1d.*expected .*got"):
        kernelopt.conv_transpose1d(**given)
    if error is RuntimeError:
        tensors = {name: value.to("meta") for name, value in given.items() if hasattr(value, "to")}
        with pytest.raises(error):
            kernelopt.conv_transpose1d(**{**given, **tensors})
