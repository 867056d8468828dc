"""The reference architectures: ModelNew against Model."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
import torch

from support import assert_accurate, gradients, strict_float32, vjp_of

NAMES = (
    "elementwise_add",
    "gelu_tanh",
    "conv1d",
    "conv_transpose1d",
    "conv_transpose1d_dilated",
    "separable_conv2d",
)


@pytest.fixture(params=NAMES)
def architecture(request):
    return importlib.import_module(f"kernelopt.models.{request.param}")


def test_same_interface(architecture):
    for method in ("__init__", "forward"):
        original = inspect.signature(getattr(architecture.Model, method))
        assert inspect.signature(getattr(architecture.ModelNew, method)).parameters.keys() == (
            original.parameters.keys()
        )
    sentences = re.findall(r"[.?!](?=\s|$)", architecture.ModelNew.__doc__)
    assert 3 <= len(sentences) <= 5


def test_same_results(architecture, device):
    original = architecture.Model(*architecture.get_init_inputs()).to(device)
    model = architecture.ModelNew(*architecture.get_init_inputs()).to(device)
    assert model.state_dict().keys() == original.state_dict().keys()
    model.load_state_dict(original.state_dict())
    on_cpu = architecture.get_inputs()
    inputs = [tensor.to(device) for tensor in on_cpu]
    output = model(*inputs)
    assert output.device.type == device
    assert torch.equal(model(*on_cpu), output)
    state = list(original.state_dict())

    def of_everything(module):
        return lambda *tensors: torch.func.functional_call(
            module, dict(zip(state, tensors[len(inputs) :], strict=True)), tensors[: len(inputs)]
        )

    tensors = [*inputs, *(original.state_dict()[name] for name in state)]
    assert_accurate(output, of_everything(original), tensors)
    grad = torch.randn_like(output)
    results = gradients(of_everything(model), tensors, grad)
    assert_accurate(results, vjp_of(of_everything(original)), [grad, *tensors])


def test_default_arguments(architecture, device):
    required = architecture.get_init_inputs()[:3]
    original = architecture.Model(*required).to(device)
    model = architecture.ModelNew(*required).to(device)
    model.load_state_dict(original.state_dict())
    inputs = [tensor.to(device) for tensor in architecture.get_inputs()]
    with strict_float32():
        expected = original(*inputs)
    torch.testing.assert_close(model(*inputs), expected, rtol=1e-3, atol=1e-3)
