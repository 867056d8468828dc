"""conv1d against torch.nn.functional.conv1d."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from kernelopt._arguments import activation_code
from op_suite import ConvolutionSuite
from support import ACTIVATIONS, DTYPES, LAYOUTS, Case, pairwise, with_activation

GEOMETRY = ("stride", "padding", "dilation", "groups")


def fits(case: Case) -> bool:
    return case["padding"] != "same" or case["stride"] == 1


class TestConv1d(ConvolutionSuite):
    op = "conv1d"
    cases = pairwise(
        {
            "dtype": DTYPES,
            "activation": ACTIVATIONS,
            "layout": LAYOUTS,
            "size": [(2, 6, 12, 19), (1, 12, 6, 300), (3, 18, 36, 67), (2, 6, 6, 1051)],
            "kernel_size": [1, 3, 4, 9],
            "bias": [False, True],
            "stride": [1, 2, (3,)],
            "padding": [0, (2,), "same", "valid"],
            "dilation": [1, 2],
            "groups": [1, 2, 6],
        },
        fits,
    )
    gradient_cases = pairwise(
        {
            "activation": ACTIVATIONS,
            "size": [(1, 2, 4, 5), (2, 4, 2, 6)],
            "kernel_size": [1, 2, 3],
            "bias": [False, True],
            "stride": [1, 2],
            "padding": [0, 1, "same"],
            "dilation": [1, 2],
            "groups": [1, 2],
        },
        fits,
    )
    examples = [
        {
            "activation": activation,
            "size": (2, 4, 6, 11),
            "kernel_size": 3,
            "bias": activation != "relu",
            "stride": 2,
            "padding": 1,
            "dilation": 2,
            "groups": 2,
        }
        for activation in ACTIVATIONS
    ]

    def tensors(self, case, device, dtype):
        batch, in_channels, out_channels, length = case["size"]
        weight_shape = (out_channels, in_channels // case["groups"], case["kernel_size"])
        return [
            torch.randn(batch, in_channels, length, dtype=dtype, device=device),
            torch.randn(weight_shape, dtype=dtype, device=device),
            torch.randn(out_channels, dtype=dtype, device=device) if case["bias"] else None,
        ]

    def ours(self, case):
        arguments = {name: case[name] for name in (*GEOMETRY, "activation")}
        return lambda *tensors: kernelopt.conv1d(*tensors, **arguments)

    def theirs(self, case):
        arguments = {name: case[name] for name in GEOMETRY}
        return with_activation(lambda *tensors: F.conv1d(*tensors, **arguments), case["activation"])

    def op_arguments(self, case, tensors):
        code = activation_code("conv1d", "activation", case["activation"])
        geometry = ([case[name]] for name in ("stride", "padding", "dilation"))
        return *tensors, *geometry, case["groups"], code, 0


def test_same_pads_the_odd_element_on_the_right(device):
    x = torch.arange(1.0, 5.0, device=device).view(1, 1, 4)
    weight = torch.tensor([[[1.0, 10.0]]], device=device)
    output = kernelopt.conv1d(x, weight, padding="same")
    assert output.flatten().tolist() == [21, 32, 43, 4]


def test_integers_in_other_forms():
    x, weight = torch.randn(1, 2, 9), torch.randn(2, 2, 3)
    expected = F.conv1d(x, weight, stride=2, padding=1)
    for one, two in ((torch.tensor(1), torch.tensor(2)), ([1], [2]), (torch.Size([1]), (2,))):
        assert torch.equal(kernelopt.conv1d(x, weight, None, two, one), expected)


def test_without_input_channels_as_torch():
    x, weight = torch.randn(2, 0, 9), torch.randn(6, 0, 3)
    assert kernelopt.conv1d(x, weight).shape == F.conv1d(x, weight).shape


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"stride": 0}, RuntimeError),
        ({"stride": -1}, RuntimeError),
        ({"stride": (1, 1)}, RuntimeError),
        ({"stride": ()}, RuntimeError),
        ({"stride": 1.0}, TypeError),
        ({"stride": None}, TypeError),
        ({"stride": True}, TypeError),
        ({"padding": -1}, RuntimeError),
        ({"padding": "full"}, RuntimeError),
        ({"padding": "same", "stride": 2}, RuntimeError),
        ({"padding": [1.5]}, TypeError),
        ({"padding": 2**62}, RuntimeError),
        ({"dilation": 0}, RuntimeError),
        ({"dilation": 9}, RuntimeError),
        ({"dilation": 2**62}, RuntimeError),
        ({"groups": 0}, RuntimeError),
        ({"groups": 3}, RuntimeError),
        ({"groups": 1.0}, TypeError),
        ({"groups": "1"}, TypeError),
        ({"bias": torch.zeros(5)}, RuntimeError),
        ({"bias": torch.zeros(6, 1)}, RuntimeError),
        ({"input": torch.zeros(9)}, RuntimeError),
        ({"input": torch.zeros(1, 2, 4, 9)}, RuntimeError),
        ({"input": torch.zeros(2, 5, 9)}, RuntimeError),
        ({"input": torch.zeros(2, 4, 0), "padding": 2}, RuntimeError),
        ({"weight": torch.zeros(4, 3)}, RuntimeError),
        ({"weight": torch.zeros(6, 4, 0)}, RuntimeError),
        ({"weight": torch.zeros(0, 4, 3)}, RuntimeError),
    ],
)
def test_errors_are_torchs(arguments, error):
    given = {"input": torch.zeros(2, 4, 9), "weight": torch.zeros(6, 4, 3), **arguments}
    with pytest.raises(error):
        F.conv1d(**given)
    with pytest.raises(error, match=r"kernelopt(\.|::)conv1d.*expected .*got"):
        kernelopt.conv1d(**given)
    if error is RuntimeError:
        tensors = {name: value.to("meta") for name, value in given.items() if hasattr(value, "to")}
        with pytest.raises(error):
            kernelopt.conv1d(**{**given, **tensors})
