"""Tensors that torch's functions take and kernelopt's ops do not: they go to torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import kernelopt


@pytest.fixture
def mesh():
    """A mesh of one CPU."""
    from torch.distributed.device_mesh import init_device_mesh

    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_distributed_tensors(mesh):
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    x = distribute_tensor(torch.randn(2, 4, 9, 8), mesh, [Shard(0)])
    weight = distribute_tensor(torch.randn(6, 4, 1, 1), mesh, [Replicate()])
    for output, expected in (
        (kernelopt.gelu(x), F.gelu(x)),
        (kernelopt.add(x, x), x + x),
        (kernelopt.pointwise_conv2d(x, weight, activation="relu"), F.relu(F.conv2d(x, weight))),
    ):
        assert isinstance(output, DTensor)
        torch.testing.assert_close(output.to_local(), expected.to_local())


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors(layout):
    parts = [torch.randn(2, 3), torch.randn(4, 3)]
    nested = torch.nested.nested_tensor(parts, layout=layout)
    for output, part in zip(kernelopt.gelu(nested).unbind(), parts, strict=True):
        torch.testing.assert_close(output, F.gelu(part))


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_masked_tensors():
    values, mask = torch.randn(3, 4), torch.rand(3, 4) > 0.5
    masked = torch.masked.masked_tensor(values, mask)
    for output in (kernelopt.add(masked, masked), kernelopt.add(masked, 1)):
        assert isinstance(output, torch.masked.MaskedTensor)
    torch.testing.assert_close(
        kernelopt.add(masked, masked).to_tensor(0), (2 * values).where(mask, 0)
    )
    with pytest.raises(TypeError, match=r"aten\.gelu"):  # torch has none either
        kernelopt.gelu(masked)


CALLS = {
    "conv1d": ([torch.randn(2, 4, 9), torch.randn(6, 4, 3)], {"activation": "gelu"}),
    "conv_transpose1d": ([torch.randn(2, 4, 9), torch.randn(4, 6, 3)], {"stride": 2}),
    "depthwise_conv2d": ([torch.randn(2, 4, 9, 8), torch.randn(4, 1, 3, 3)], {"padding": "same"}),
    "pointwise_conv2d": ([torch.randn(2, 4, 9, 8), torch.randn(6, 4, 1, 1)], {}),
    "separable_conv2d": (
        [torch.randn(2, 4, 9, 8), torch.randn(4, 1, 3, 3), torch.randn(6, 4, 1, 1)],
        {"depthwise_activation": "relu", "dilation": 2},
    ),
    "gelu": ([torch.randn(3)], {"approximate": "tanh"}),
    "add": ([torch.randn(3), torch.randn(3)], {"alpha": 2}),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_overrides_torch_functions_overrides_these(name):
    """What stands for a tensor by __torch_function__, as torch.fx's proxies do, gets the call."""
    tensors, options = CALLS[name]
    function = getattr(kernelopt, name)

    def call(*args):
        return function(*args, **options)

    class Traced(torch.nn.Module):
        def forward(self, x):
            return call(x, *tensors[1:])

    traced = torch.fx.symbolic_trace(Traced())
    assert function in [node.target for node in traced.graph.nodes]
    torch.testing.assert_close(traced(tensors[0]), call(*tensors))


def test_subclasses_are_kept():
    class Image(torch.Tensor):
        pass

    x, weight = torch.randn(2, 4, 9).as_subclass(Image), torch.randn(6, 4, 3)
    for output in (kernelopt.conv1d(x, weight), kernelopt.gelu(x), kernelopt.add(x, x)):
        assert type(output) is Image
