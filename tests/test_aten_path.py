"""ATen's path: its errors keep torch's types and messages, and on a GPU it serves what its
operators compute faster than kernelopt's kernels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from kernelopt.benchmarking.paths import find_path
from support import CountGraphs, strict_float32


def _huge(device: str, *shape: int) -> torch.Tensor:
    """More elements than any memory holds, all of them the same one."""
    return torch.ones(1, device=device).expand(shape)


CALLS: dict[str, Callable[[str], torch.Tensor]] = {
    "conv1d": lambda device: kernelopt.conv1d(
        _huge(device, 1, 512, 2**40), torch.ones(512, 512, 5, device=device)
    ),
    "raw op": lambda device: torch.ops.kernelopt.conv1d(
        _huge(device, 1, 512, 2**40),
        torch.ones(512, 512, 5, device=device),
        *(None, [1], [0], [1], 1),
    ),
    "requires_grad": lambda device: kernelopt.conv1d(
        _huge(device, 1, 512, 2**40).requires_grad_(), torch.ones(512, 512, 5, device=device)
    ),
    "conv_transpose1d": lambda device: kernelopt.conv_transpose1d(
        _huge(device, 1, 16, 2**40), torch.ones(16, 1, 3, device=device), stride=2
    ),
    "depthwise_conv2d": lambda device: kernelopt.depthwise_conv2d(
        _huge(device, 1, 1, 2**20, 2**20), torch.ones(1, 1, 1, 1, device=device)
    ),
    "pointwise_conv2d": lambda device: kernelopt.pointwise_conv2d(
        _huge(device, 1, 1, 2**20, 2**20), torch.ones(1, 1, 1, 1, device=device)
    ),
    "separable_conv2d": lambda device: kernelopt.separable_conv2d(
        _huge(device, 1, 1, 2**20, 2**20), *torch.ones(2, 1, 1, 1, 1, device=device)
    ),
}


def _backward(device: str) -> torch.Tensor:
    x = _huge(device, 16, 1, 2**40).requires_grad_()
    output = kernelopt.conv1d(x, torch.ones(16, 1, 3, device=device), stride=2**30)
    return torch.autograd.grad(output.sum(), x)[0]


@pytest.mark.parametrize("call", CALLS)
def test_torchs_own_error_from_the_cpu(call: str) -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory: you tried to allocate"):
        CALLS[call]("cpu")


def test_torchs_own_error_from_the_cpu_in_backward() -> None:
    huge = _huge("cpu", 1, 1, 2**40)
    with pytest.raises(RuntimeError, match="can't allocate memory: you tried to allocate"):
        torch.ops.kernelopt.conv1d_backward(huge, huge, torch.ones(1, 1, 1), None, [1], [0], [1], 1)


@pytest.mark.gpu
@pytest.mark.parametrize("call", [*CALLS, "backward"])
def test_out_of_memory_keeps_its_type(call: str) -> None:
    function = _backward if call == "backward" else CALLS[call]
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        function("cuda")
    x = torch.randn(4, 512, 512, device="cuda")
    weight = torch.randn(512, 512, 17, device="cuda")
    assert kernelopt.conv1d(x, weight).isfinite().all()


@pytest.fixture
def filters() -> tuple[torch.Tensor, ...]:
    """Tensors of a convolution that ATen's operators compute faster on a Hopper."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("the rules were measured on a GPU of compute capability 9.0")
    generator = torch.Generator("cuda").manual_seed(0)
    shapes = ((16, 512, 512), (512, 512, 17), (512,))
    return tuple(torch.randn(s, device="cuda", generator=generator) for s in shapes)


@pytest.mark.gpu
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_the_default_precision_takes_the_faster_path(filters, activation) -> None:
    x, weight, bias = filters
    device = x.device

    def ours():
        return kernelopt.conv1d(x, weight, bias, padding=8, activation=activation)

    assert find_path(ours, device) == "aten"
    z = F.conv1d(x, weight, bias, padding=8)
    output = ours()
    torch.testing.assert_close(output, F.gelu(z) if activation else z)
    assert output.is_contiguous()
    with strict_float32():
        assert find_path(ours, device) != "aten"


# An op, the shapes of input and weight, its stride, a dtype, and whether ATen computes it faster.
RULES: list[tuple[str, tuple[int, ...], tuple[int, ...], int, torch.dtype, bool]] = [
    ("conv1d", (1, 1536, 896), (3072, 1536, 1), 1, torch.float32, True),
    ("conv1d", (1, 1536, 896), (3072, 1536, 1), 1, torch.bfloat16, True),
    ("conv1d", (1, 3072, 301), (1536, 3072, 1), 1, torch.float32, True),
    ("conv1d", (1, 3072, 301), (1536, 3072, 1), 1, torch.bfloat16, False),
    ("conv1d", (4, 512, 2000), (512, 512, 1), 1, torch.float32, True),
    ("conv1d", (1, 512, 2000), (512, 512, 1), 1, torch.float32, False),
    ("conv1d", (1, 128, 4097), (1024, 128, 1), 1, torch.float32, True),
    ("conv1d", (1, 128, 4096), (1024, 128, 1), 1, torch.float32, False),
    ("conv1d", (16, 256, 801), (256, 256, 11), 1, torch.float32, True),
    ("conv1d", (16, 256, 803), (1024, 256, 9), 1, torch.float32, False),
    ("conv1d", (128, 320, 248), (480, 320, 8), 1, torch.float32, True),
    ("conv1d", (8, 256, 801), (256, 256, 9), 1, torch.float32, False),
    ("conv1d", (1, 256, 5512), (256, 256, 7), 1, torch.float32, False),
    ("conv1d", (256, 300, 33), (100, 300, 5), 1, torch.float32, False),
    ("conv1d", (256, 300, 33), (100, 300, 5), 1, torch.bfloat16, False),
    ("conv1d", (64, 32, 128), (64, 32, 5), 1, torch.float32, False),
    ("conv1d", (16, 1280, 3000), (1280, 1280, 3), 2, torch.float32, True),
    ("conv1d", (8, 256, 2094), (512, 256, 16), 8, torch.float32, True),
    ("conv1d", (8, 256, 2094), (512, 256, 16), 8, torch.bfloat16, False),
    ("conv1d", (1, 256, 5512), (512, 256, 16), 8, torch.float32, False),
    ("conv1d", (1, 128, 22050), (256, 128, 8), 4, torch.float32, False),
    ("conv1d", (64, 196, 256), (256, 196, 17), 4, torch.float32, True),
    ("conv_transpose1d", (1, 384, 5568), (384, 192, 8), 4, torch.float32, False),
    ("conv_transpose1d", (4, 384, 5568), (384, 192, 8), 4, torch.float32, False),
    ("conv_transpose1d", (4, 384, 1344), (384, 192, 8), 4, torch.float32, False),
    ("conv_transpose1d", (1, 512, 4096), (512, 256, 8), 4, torch.float32, False),
    ("pointwise_conv2d", (1, 384, 14, 14), (1536, 384, 1, 1), 1, torch.float32, False),
    ("pointwise_conv2d", (1, 384, 14, 14), (1536, 384, 1, 1), 1, torch.bfloat16, False),
    ("pointwise_conv2d", (1, 384, 56, 56), (96, 384, 1, 1), 1, torch.bfloat16, True),
    ("pointwise_conv2d", (2, 384, 56, 56), (96, 384, 1, 1), 1, torch.bfloat16, False),
    ("pointwise_conv2d", (1, 1024, 14, 14), (256, 1024, 1, 1), 1, torch.float32, False),
    ("pointwise_conv2d", (1, 1024, 14, 14), (512, 1024, 1, 1), 1, torch.float32, False),
    ("pointwise_conv2d", (1, 512, 28, 28), (256, 512, 1, 1), 1, torch.float32, False),
]


@pytest.mark.gpu
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule[0]}-{[*rule[1:3]]}-{rule[4]}")
def test_rules(filters, rule) -> None:
    op, shape, weight_shape, stride, dtype, aten = rule
    x, weight = (torch.randn(s, device="cuda", dtype=dtype) for s in (shape, weight_shape))
    bias = torch.randn(weight_shape[op == "conv_transpose1d"], device="cuda", dtype=dtype)
    strides = {} if op == "pointwise_conv2d" else {"stride": stride}

    def ours():
        return getattr(kernelopt, op)(x, weight, bias, **strides, activation="relu")

    assert (find_path(ours, x.device) == "aten") == aten
    theirs = F.conv2d if op == "pointwise_conv2d" else getattr(F, op)
    with strict_float32():
        expected = theirs(x, weight, bias, **strides).relu()
    scale = expected.abs().max().item()
    tolerance = 5e-3 if dtype == torch.float32 else 2e-2  # ATen's path multiplies in TF32
    torch.testing.assert_close(ours(), expected, rtol=0, atol=tolerance * scale)


# The same in float32 without an activation, images in channels_last without a bias as well.
PLAIN_RULES: list[tuple[str, tuple[int, ...], tuple[int, ...], int, bool]] = [
    ("conv1d", (1, 12, 1000), (32, 12, 5), 2, True),
    ("conv1d", (1, 8, 2000), (64, 8, 5), 1, False),
    ("conv1d", (1, 64, 16001), (64, 64, 1), 1, True),
    ("conv1d", (1, 64, 16000), (64, 64, 1), 1, False),
    ("depthwise_conv2d", (64, 576, 14, 14), (576, 1, 3, 3), 2, True),
    ("depthwise_conv2d", (4, 576, 14, 14), (576, 1, 3, 3), 2, False),
]


@pytest.mark.gpu
@pytest.mark.parametrize("rule", PLAIN_RULES, ids=lambda rule: f"{rule[0]}-{[*rule[1:3]]}")
def test_rules_of_plain_forwards(filters, rule) -> None:
    op, shape, weight_shape, stride, aten = rule
    x, weight = (torch.randn(s, device="cuda") for s in (shape, weight_shape))
    images = op == "depthwise_conv2d"
    x = x.to(memory_format=torch.channels_last) if images else x
    bias = None if images else torch.randn(weight_shape[0], device="cuda")

    def ours(activation=None):
        return getattr(kernelopt, op)(x, weight, bias, stride=stride, activation=activation)

    assert (find_path(ours, x.device) == "aten") == aten
    assert find_path(lambda: ours("relu"), x.device) != "aten"
    with strict_float32():
        expected = (
            F.conv2d(x, weight, stride=stride, groups=shape[1])
            if images
            else F.conv1d(x, weight, bias, stride)
        )
    torch.testing.assert_close(ours(), expected, rtol=0, atol=5e-3 * expected.abs().max().item())
    assert ours().stride() == expected.stride()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_biases_behind_atens_convolution(filters, dtype) -> None:
    """Rows that begin and end anywhere in vectors, and several of them in one."""
    weight, bias = (torch.randn(s, device="cuda", dtype=dtype) for s in ((261, 256, 3), (261,)))
    for length in (1, 2, 3, 5, 7, 8):
        x = torch.randn(17, 256, length, device="cuda", dtype=dtype)
        for activation, theirs in (("relu", F.relu), ("silu", F.silu)):

            def ours(x=x, activation=activation):
                return kernelopt.conv1d(x, weight, bias, padding=1, activation=activation)

            assert find_path(ours, x.device) == "aten"
            expected = theirs(F.conv1d(x.double(), weight.double(), bias.double(), padding=1))
            scale = expected.abs().max().item()
            tolerance = 5e-3 if dtype == torch.float32 else 2e-2
            torch.testing.assert_close(ours().double(), expected, rtol=0, atol=tolerance * scale)


@pytest.mark.gpu
def test_graphs_compilation_and_gradients_on_atens_path(filters) -> None:
    x, weight, bias = filters

    def ours(x, weight, bias):
        return kernelopt.conv1d(x, weight, bias, padding=8, activation="silu")

    expected = ours(x, weight, bias)
    count = CountGraphs()
    compiled = torch.compile(ours, backend=count, fullgraph=True)
    torch.testing.assert_close(compiled(x, weight, bias), expected)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = ours(x, weight, bias)
    graph.replay()
    torch.testing.assert_close(captured, expected)
    leaves = [tensor.clone().requires_grad_() for tensor in filters]
    results, expectations = [], []
    for function, into in (
        (ours, results),
        (lambda x, w, b: F.silu(F.conv1d(x, w, b, padding=8)), expectations),
    ):
        first = torch.autograd.grad(function(*leaves).square().mean(), leaves, create_graph=True)
        into.extend(first)
        into.extend(torch.autograd.grad(first[1].square().sum(), leaves))
    for result, expectation in zip(results, expectations, strict=True):
        scale = expectation.abs().max().item()
        torch.testing.assert_close(result, expectation, rtol=0, atol=5e-3 * scale)
