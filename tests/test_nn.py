"""kernelopt.nn's modules against torch.nn's."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn

import kernelopt
from support import ACTIVATIONS, CountGraphs, strict_float32, with_activation


class TorchSeparable(nn.Module):
    """What :class:`kernelopt.nn.SeparableConv2d` stands for, in plain torch."""

    def __init__(self, in_channels, out_channels, *args, bias=True, **kwargs):
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, *args, groups=in_channels, bias=bias, **kwargs
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


MODES = ("zeros", "reflect", "replicate", "circular")
SEQUENCE, IMAGE = (2, 4, 13), (2, 4, 9, 8)
MODULES = [
    ("Conv1d", nn.Conv1d, (4, 6, 3), {}, SEQUENCE),
    ("Conv1d", nn.Conv1d, (4, 6, 3), {"padding": "same", "bias": False}, SEQUENCE),
    *(
        ("Conv1d", nn.Conv1d, (4, 6, 4, 1, "same", 1, 2), {"padding_mode": mode}, SEQUENCE)
        for mode in MODES
    ),
    ("Conv1d", nn.Conv1d, (4, 6, 3, 2, 2), {"padding_mode": "circular"}, SEQUENCE),
    ("ConvTranspose1d", nn.ConvTranspose1d, (4, 6, 3, 2, 1, 1, 2), {"dilation": 2}, SEQUENCE),
    ("ConvTranspose1d", nn.ConvTranspose1d, (4, 6, 3), {"bias": False}, SEQUENCE),
    *(
        ("DepthwiseConv2d", nn.Conv2d, (4, 8, 3, 1, 2, 1, 4), {"padding_mode": mode}, IMAGE)
        for mode in MODES
    ),
    ("DepthwiseConv2d", nn.Conv2d, (4, 4, (2, 3)), {"padding": "same", "groups": 4}, IMAGE),
    ("PointwiseConv2d", nn.Conv2d, (4, 6, 1), {}, IMAGE),
    ("PointwiseConv2d", nn.Conv2d, (4, 6, 1), {"bias": False, "padding_mode": "reflect"}, IMAGE),
    ("SeparableConv2d", TorchSeparable, (4, 6, 3), {"padding": 1, "stride": 2}, IMAGE),
    ("SeparableConv2d", TorchSeparable, (4, 6, 3, 1, "same"), {"padding_mode": "reflect"}, IMAGE),
    ("SeparableConv2d", TorchSeparable, (4, 6, (3, 2)), {"bias": False, "dilation": 2}, IMAGE),
    ("GELU", nn.GELU, (), {}, SEQUENCE),
    ("GELU", nn.GELU, ("tanh",), {}, SEQUENCE),
]
every_module = pytest.mark.parametrize(
    ("name", "torch_class", "args", "kwargs", "shape"),
    MODULES,
    ids=[f"{name}-{args}-{kwargs}" for name, _, args, kwargs, _ in MODULES],
)


@every_module
def test_outputs_may_be_changed_in_place(name, torch_class, args, kwargs, shape, device):
    theirs = torch_class(*args, **kwargs).to(device, torch.float64)
    ours = getattr(kernelopt.nn, name)(*args, **kwargs).to(device, torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)

    def gradients(module):
        output = module(x)
        output.mul_(2).add_(1)
        return torch.autograd.grad(output.square().sum(), [x, *module.parameters()])

    torch.testing.assert_close(gradients(ours), gradients(theirs))


# By the length of the filters, the second one goes to ATen on a Hopper.
@pytest.mark.parametrize("taps", [3, 251])
def test_float32_outputs_may_be_changed_in_place(taps, device):
    model = nn.Sequential(
        nn.Conv1d(1, 80, taps, stride=20), nn.LeakyReLU(inplace=True), nn.Conv1d(80, 2, 1)
    )
    model = kernelopt.optimize(model.to(device))
    assert {type(model[0]), type(model[2])} == {kernelopt.nn.Conv1d}
    model(torch.randn(2, 1, 400, device=device)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def run(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The output and every gradient."""
    x = x.detach().requires_grad_()
    output = module(x)
    return [output, *torch.autograd.grad(output.square().sum(), (x, *module.parameters()))]


@every_module
def test_values_and_state_dict(device, name, torch_class, args, kwargs, shape):
    original = torch_class(*args, **kwargs).to(device)
    module = getattr(kernelopt.nn, name)(*args, **kwargs).to(device)
    assert original.state_dict().keys() == module.state_dict().keys()
    x = torch.randn(shape, device=device)
    module.load_state_dict(original.state_dict())
    with strict_float32():
        expected = run(original, x)
    torch.testing.assert_close(run(module, x), expected, rtol=1e-3, atol=1e-3)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    original.load_state_dict(module.state_dict())
    with strict_float32():
        expected = run(original, x)
    torch.testing.assert_close(run(module, x), expected, rtol=1e-3, atol=1e-3)


@every_module
def test_copies(name, torch_class, args, kwargs, shape):
    module = getattr(kernelopt.nn, name)(*args, **kwargs)
    x = torch.randn(shape)
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(copied) is type(module)
        assert repr(copied) == repr(module)
        torch.testing.assert_close(run(copied, x), run(module, x))


@every_module
def test_constructor_and_repr(name, torch_class, args, kwargs, shape):
    module = getattr(kernelopt.nn, name)(*args, **kwargs)
    if torch_class is not TorchSeparable:
        assert isinstance(module, torch_class)
        assert module.extra_repr() == torch_class(*args, **kwargs).extra_repr()
        for argument in inspect.signature(torch_class).parameters:
            inspect.signature(type(module)).bind_partial(**{argument: None})
    assert {parameter.dtype for parameter in module.double().parameters()} <= {torch.float64}


@pytest.mark.parametrize("name", ["Conv1d", "ConvTranspose1d", "DepthwiseConv2d"])
def test_skip_init(name):
    """torch's function looks for ``device`` in the constructor's signature."""
    module = nn.utils.skip_init(getattr(kernelopt.nn, name), 4, 4, kernel_size=3, dtype=torch.half)
    assert (module.in_channels, module.weight.dtype) == (4, torch.float16)


@every_module
def test_compiled_in_one_graph(name, torch_class, args, kwargs, shape):
    module = getattr(kernelopt.nn, name)(*args, **kwargs)
    x = torch.randn(shape)
    expected = run(module, x)
    count = CountGraphs()
    compiled = torch.compile(module, backend=count, fullgraph=True)
    torch.testing.assert_close(run(compiled, x), expected)
    assert count.count == 1


@every_module
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traced(name, torch_class, args, kwargs, shape):
    module = getattr(kernelopt.nn, name)(*args, **kwargs)
    traced = torch.jit.trace(module, torch.randn(shape))
    x = torch.randn(shape)
    torch.testing.assert_close(traced(x), module(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("Conv1d", (4, 6, 3), SEQUENCE),
        ("ConvTranspose1d", (4, 6, 3), SEQUENCE),
        ("DepthwiseConv2d", (4, 4, 3), IMAGE),
        ("PointwiseConv2d", (4, 6), IMAGE),
        ("SeparableConv2d", (4, 6, 3), IMAGE),
    ],
)
def test_activation(device, name, args, shape, activation):
    cls = getattr(kernelopt.nn, name)
    module = cls(*args, activation=activation).to(device)
    plain = cls(*args).to(device)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(shape, device=device)
    torch.testing.assert_close(module(x), with_activation(plain, activation)(x))
    assert (f"activation={activation!r}" in repr(module)) == (activation is not None)
    with pytest.raises(ValueError, match="expected activation to be one of"):
        cls(*args, activation="tanh")
    with pytest.raises(TypeError, match=r"expected activation to be .*, got 1"):
        cls(*args, activation=1)


@pytest.mark.parametrize("output_size", [[25], [26], (2, 6, 26)])
def test_output_size(device, output_size):
    module = kernelopt.nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1).to(device)
    original = nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1).to(device)
    original.load_state_dict(module.state_dict())
    x = torch.randn(SEQUENCE, device=device)
    with strict_float32():
        expected = original(x, output_size=list(output_size))
    torch.testing.assert_close(
        module(x, output_size=list(output_size)), expected, rtol=1e-3, atol=1e-3
    )
    with pytest.raises(ValueError, match="requested an output size"):
        module(x, output_size=[27])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Conv1d", {"groups": 3}),
        ("Conv1d", {"padding": "full"}),
        ("Conv1d", {"padding": "same", "stride": 2}),
        ("Conv1d", {"padding_mode": "wrap"}),
        ("ConvTranspose1d", {"padding_mode": "reflect"}),
        ("DepthwiseConv2d", {"groups": 2}),
        ("DepthwiseConv2d", {"out_channels": 6}),
        ("PointwiseConv2d", {"kernel_size": 3}),
        ("PointwiseConv2d", {"kernel_size": 1, "stride": 2}),
        ("PointwiseConv2d", {"kernel_size": 1, "groups": 2}),
        ("PointwiseConv2d", {"kernel_size": 1, "padding": 1}),
    ],
)
def test_bad_constructor_arguments(name, arguments):
    arguments = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, **arguments}
    with pytest.raises(ValueError, match=r"must be|divisible|expected|[Ii]nvalid|supported"):
        getattr(kernelopt.nn, name)(**arguments)
