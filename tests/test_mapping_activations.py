"""Activations written out with elementary operations, as ``kernelopt.optimize`` finds them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import kernelopt
from mapping_support import Apply, check, ops


def gelu_mingpt(x):
    return (
        0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))
    )


def gelu_products(x):
    return 0.5 * x * (1 + torch.tanh(x * 0.7978845608028654 * (1 + 0.044715 * x * x)))


def gelu_methods(x):
    inner = x.pow(3).mul(0.044715).add(x).mul((2 / math.pi) ** 0.5)
    return x.mul(0.5).mul(inner.tanh().add(1))


def gelu_divided(x):
    return x / 2 + x * (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh() / 2


def gelu_sigmoid(x):
    return x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def gelu_erf(x):
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_tensor_constant(x):
    factor = torch.sqrt(torch.tensor(2 / math.pi, dtype=torch.float64))
    return 0.5 * x * (1 + torch.tanh(factor * (x + 0.044715 * torch.pow(x, 3))))


def gelu_numpy(x):
    return 0.5 * x * (1 + torch.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x * x * x)))


def gelu_numpy_number(x):
    factor = float(np.sqrt(2)) * np.power(np.pi, -0.5)
    return (1 + torch.tanh((x + 0.044715 * x**3) * factor)) * x * 0.5


def gelu_alpha(x):
    inner = math.sqrt(2 / math.pi) * torch.add(x, torch.pow(x, exponent=3), alpha=0.044715)
    return torch.mul(x * 0.5, other=1 + torch.tanh(input=inner))


def gelu_alpha_method(x):
    inner = x.sub(x**3, alpha=-0.044715) * math.sqrt(2 / math.pi)
    return torch.add(x, x * torch.tanh(inner)) / 2


def gelu_erf_numpy(x):
    return x * 0.5 * (1 + torch.erf(x / np.sqrt(2.0)))


def gelu_erf_tensor_constant(x):
    root = torch.as_tensor(2, dtype=torch.float64, device=x.device) ** 0.5
    return x * 0.5 * (1.0 + torch.erf(x / root))


SPELLINGS = (
    gelu_numpy,
    gelu_numpy_number,
    gelu_alpha,
    gelu_alpha_method,
    gelu_erf_numpy,
    gelu_erf_tensor_constant,
    gelu_tensor_constant,
    gelu_mingpt,
    gelu_products,
    gelu_methods,
    gelu_divided,
    gelu_sigmoid,
    gelu_erf,
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_written_out_gelu(spelling, device):
    model = Apply(lambda self, x: spelling(self.scale(x)), scale=nn.Linear(5, 5))
    report = check(model, torch.randn(4, 5, device=device))
    assert ops(report.replaced) == ["gelu"]
    assert "written out" in report.replaced[0].kind


@pytest.mark.parametrize(("dtype", "expected"), [("float32", ["gelu"]), ("float64", [])])
def test_constants_of_a_written_out_gelu_agree_to_what_the_dtype_resolves(dtype, expected):
    def forward(self, x):
        return 0.5 * x * (1 + torch.erf(x / 1.414213))

    model = kernelopt.optimize(Apply(forward))
    x = torch.randn(4, 5, dtype=getattr(torch, dtype))
    torch.testing.assert_close(model(x), forward(None, x))
    assert ops(kernelopt.report(model).replaced) == expected


def almost_alpha(x):
    inner = math.sqrt(2 / math.pi) * torch.add(x, x**3, alpha=0.0447)
    return 0.5 * x * (1 + torch.tanh(inner))


def almost_quotient(x):
    return x * torch.div(1 + torch.erf(x / math.sqrt(2)), 2, rounding_mode="floor")


def almost_coefficient(x):
    return 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.044715 * x**3)))


def almost_power(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2)))


def almost_other_operand(x):
    return 0.5 * (x + 1) * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def almost_private(x):
    t = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + t), t


@pytest.mark.parametrize(
    "spelling",
    [
        almost_alpha,
        almost_quotient,
        almost_coefficient,
        almost_power,
        almost_other_operand,
        almost_private,
    ],
)
def test_what_is_no_gelu_stays(spelling):
    report = check(Apply(lambda self, x: spelling(x)), torch.randn(4, 5))
    assert "gelu" not in ops(report.replaced)


def test_in_place_operations_between_are_respected(device):
    def forward(self, x):
        y = self.conv(x)
        cube = y**3
        y.mul_(2)
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * cube)))
        z = self.depthwise(y)
        y.zero_()
        return self.pointwise(z)

    model = Apply(
        forward,
        conv=nn.Conv2d(3, 4, 1),
        depthwise=nn.Conv2d(4, 4, 3, groups=4),
        pointwise=nn.Conv2d(4, 2, 1),
    ).to(device, torch.float64)
    x = torch.randn(2, 3, 6, 7, device=device).double()
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(kernelopt.optimize(model)(x), expected, rtol=1e-9, atol=1e-9)
    report = kernelopt.report(model)
    assert not report.fused
    assert not {"gelu", "separable_conv2d"} & set(ops(report.replaced))
    assert any("in place" in entry.reason for entry in report.kept)
