"""What only a GPU shows: streams, graphs, several devices, exhausted memory, 2^31 elements."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

import kernelopt
from conformance.check import check, run
from conformance.ops import OPS, Case
from conformance.samples import samples

pytestmark = pytest.mark.gpu

LENGTHS = (2**31 - 1, 2**31 + 1)


def _example(name: str, device: str = "cuda") -> Case:
    """A sample of an op large enough to take a GPU some time."""
    case = next(case for case in samples(name, torch.float32) if case.input.dim() > 1)
    if not case.op.elementwise:
        shape = (8, *case.input.shape[1:-1], 2048)
        case = case.with_tensors(torch.randn(shape), *case.tensors[1:])
    return case.map(lambda tensor: tensor.to(device))


def _assert_same(results: dict, expected: dict) -> None:
    for name, value in expected.items():
        assert torch.equal(results[name], value), name


@pytest.mark.parametrize("name", OPS)
def test_side_stream(name: str) -> None:
    """Work goes to the current stream: an input that is still being written there is waited for."""
    case = _example(name)
    with torch.no_grad():
        grad_output = torch.randn_like(case.op.ours(*case.tensors, **case.options))
    expected = run(case, case.op.ours, grad_output)
    late = case.map(torch.zeros_like)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        for target, source in zip(late.tensors, case.tensors, strict=True):
            if target is not None:
                target.copy_(source)
        results = run(late, case.op.ours, grad_output)
    stream.synchronize()
    _assert_same(results, expected)


def test_first_call_of_a_thread() -> None:
    """A thread without a context of the device, as autograd's at its first backward, gets the
    kernel that any other gets, and so the same bits."""
    x = torch.randn(3, 120, 302, device="cuda", dtype=torch.float16)
    weight = torch.randn(120, 130, 2, device="cuda", dtype=torch.float16)

    def call() -> torch.Tensor:
        return kernelopt.conv_transpose1d(x, weight, padding=1, groups=3)

    expected = call()
    call()  # leaves memory for the thread's call, which so asks the driver for none
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(call).result()
    assert torch.equal(first, expected)


@pytest.mark.parametrize("name", OPS)
def test_graph_replay_with_changed_inputs(name: str) -> None:
    case = _example(name)
    with torch.no_grad():
        grad_output = torch.randn_like(case.op.ours(*case.tensors, **case.options))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run(case, case.op.ours, grad_output)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run(case, case.op.ours, grad_output)
    for _ in range(2):
        for tensor in case.tensors:
            if tensor is not None:
                tensor.normal_()
        expected = run(case, case.op.ours, grad_output)
        graph.replay()
        torch.cuda.synchronize()
        _assert_same(results, expected)


@pytest.mark.parametrize("name", OPS)
def test_second_device(name: str) -> None:
    """Tensors decide the device, not what is current."""
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    case = _example(name, "cuda:1")
    assert torch.cuda.current_device() == 0
    check(case)
    output = case.op.ours(*case.tensors, **case.options)
    assert output.device == torch.device("cuda:1")
    assert torch.cuda.current_device() == 0


def test_tensors_of_two_devices() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    x = torch.randn(3, device="cuda:0")
    with pytest.raises(RuntimeError, match=r"kernelopt::add: expected other .* device"):
        torch.ops.kernelopt.add(x, x.to("cuda:1"))


# Memory


def _huge(*shape: int) -> torch.Tensor:
    """More elements than a GPU holds, all of them the same one in memory."""
    return torch.ones(1, device="cuda").expand(shape)


def _ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device="cuda")


TOO_LARGE: dict[str, Callable[[], torch.Tensor]] = {
    "add": lambda: kernelopt.add(_huge(2**40), _ones(1)),
    "gelu": lambda: kernelopt.gelu(_huge(2**40)),
    "conv1d": lambda: kernelopt.conv1d(_huge(1, 1, 2**40), _ones(1, 1, 1)),
    "conv_transpose1d": lambda: kernelopt.conv_transpose1d(_huge(1, 1, 2**40), _ones(1, 1, 1)),
    "depthwise_conv2d": lambda: kernelopt.depthwise_conv2d(
        _huge(1, 1, 2**20, 2**20), _ones(1, 1, 1, 1)
    ),
    "pointwise_conv2d": lambda: kernelopt.pointwise_conv2d(
        _huge(1, 1, 2**20, 2**20), _ones(1, 1, 1, 1)
    ),
    "separable_conv2d": lambda: kernelopt.separable_conv2d(
        _huge(1, 1, 2**20, 2**20), _ones(1, 1, 1, 1), _ones(1, 1, 1, 1)
    ),
}


@pytest.mark.parametrize("name", OPS)
def test_out_of_memory_and_then_reuse(name: str) -> None:
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        TOO_LARGE[name]()
    check(_example(name))


def test_out_of_memory_in_backward() -> None:
    """A stride of 2^30 makes a small output of a huge input, whose gradient is huge."""
    x = _huge(1, 1, 2**40).requires_grad_()
    output = kernelopt.conv1d(x, _ones(1, 1, 1), stride=2**30)
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        torch.autograd.grad(output.sum(), x)
    check(_example("conv1d"))


# 2^31 elements


@dataclass(frozen=True)
class _Large:
    """An op over a last dimension of any length: ``scale`` outputs an input element, each of
    ``reach`` inputs from there on."""

    small: tuple[tuple[int, ...], ...]
    options: dict
    dims: int
    scale: int = 1
    reach: int = 1


LARGE = {
    "gelu": _Large((), {}, 1),
    "conv1d": _Large(((1, 1, 3), (1,)), {}, 3, reach=3),
    "conv_transpose1d": _Large(((1, 1, 2), (1,)), {"stride": 2}, 3, scale=2),
    "depthwise_conv2d": _Large(((1, 1, 1, 3), (1,)), {}, 4, reach=3),
    "pointwise_conv2d": _Large(((1, 1, 1, 1), (1,)), {}, 4),
    "separable_conv2d": _Large(((1, 1, 1, 3), (1, 1, 1, 1), (1,), (1,)), {}, 4, reach=3),
}


def _require_memory(gibibytes: int) -> None:
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0] / 2**30
    if free < gibibytes:
        pytest.skip(f"needs {gibibytes} GiB of GPU memory, {free:.0f} are free")


def _windows(length: int) -> list[slice]:
    """The two ends, where indices pass 2^30 and 2^31, and a place between."""
    width = 4096
    starts = [0, 2**30 - width // 2, 3 * 2**29, length - width]
    if length > 2**31 + width:
        starts.append(2**31 - width // 2)
    return [slice(start, start + width) for start in starts]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", LARGE)
def test_two_to_the_31_elements(name: str, length: int) -> None:
    """Forward and backward agree with torch on pieces of the input.

    The output's gradient is 0 but in the pieces, so that the gradients of weight and bias are
    theirs alone.
    """
    _require_memory(40)
    large = LARGE[name]
    shape = (1,) * (large.dims - 1) + (length,)
    x = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    small = [torch.randn(size, device="cuda", dtype=torch.bfloat16) for size in large.small]
    case = Case(OPS[name], (x, *small), large.options)
    output_length = (length - large.reach + 1) * large.scale
    windows = _windows(length - large.reach + 1)
    grad_output = torch.zeros(*shape[:-1], output_length, device="cuda", dtype=x.dtype)
    outputs = [slice(w.start * large.scale, w.stop * large.scale) for w in windows]
    for window in outputs:
        grad_output[..., window].normal_()
    results = run(case, case.op.ours, grad_output)
    assert results["output"].shape == grad_output.shape
    sums = [torch.zeros(tensor.shape, dtype=torch.float64, device="cuda") for tensor in small]
    for window, produced in zip(windows, outputs, strict=True):
        inputs = slice(window.start, window.stop + large.reach - 1)
        piece = case.with_tensors(x[..., inputs], *small).map(torch.Tensor.double)
        grad = grad_output[..., produced].double()
        expected = run(piece, case.op.reference, grad)
        _assert_near(results["output"][..., produced], expected["output"])
        _assert_near(results["gradient 0"][..., inputs], expected["gradient 0"])
        for position, total in enumerate(sums, start=1):
            total += expected[f"gradient {position}"]
    for position, total in enumerate(sums, start=1):
        _assert_near(results[f"gradient {position}"], total)


def _assert_near(result: torch.Tensor, reference: torch.Tensor) -> None:
    error = (result.double() - reference).abs().max().item()
    assert error <= 2 * torch.finfo(result.dtype).eps * reference.abs().max().item()


@pytest.mark.parametrize("length", LENGTHS)
def test_add_of_two_to_the_31_elements(length: int) -> None:
    """Aligned, misaligned and strided operands, each element."""
    _require_memory(40)
    a = torch.randn(length, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(length + 1, device="cuda", dtype=torch.bfloat16)
    for other in (b[:length], b[1:]):
        total = kernelopt.add(a, other)
        for start in range(0, length, 2**28):
            piece = slice(start, start + 2**28)
            assert torch.equal(total[piece], a[piece] + other[piece])
    rows = a[: length - 1].view(2, -1)[:, :-1]
    total = kernelopt.add(rows, b[: rows.shape[1]])
    for start in range(0, rows.shape[1], 2**28):
        piece = slice(start, start + 2**28)
        assert torch.equal(total[:, piece], rows[:, piece] + b[: rows.shape[1]][piece])
    table = a[: length // 2**15 * 2**15].view(-1, 2**15)
    for other in (b[: 2**15], b[: table.shape[0], None]):
        total = kernelopt.add(table, other)
        for start in range(0, table.shape[0], 2**13):
            piece = slice(start, start + 2**13)
            along = other if other.dim() == 1 else other[piece]
            assert torch.equal(total[piece], table[piece] + along)


def test_more_channels_than_a_grid_dimension_holds() -> None:
    """65,537 depthwise channels, against one channel at a time."""
    channels = 65_537
    x = torch.randn(1, channels, 5, 5, device="cuda")
    weight = torch.randn(channels, 1, 3, 3, device="cuda")
    pieces = x.double().unfold(2, 3, 1).unfold(3, 3, 1)
    reference = (pieces * weight.double()[:, 0, None, None]).sum((-1, -2))
    output = kernelopt.depthwise_conv2d(x, weight)
    assert (output.double() - reference).abs().max() < 2**-15 * 50
    flat = kernelopt.conv1d(x.view(1, channels, 25), weight.view(channels, 1, 9), groups=channels)
    line = x.view(1, channels, 25).double().unfold(2, 9, 1)
    reference = (line * weight.double().view(channels, 1, 9)).sum(-1)
    assert (flat.double() - reference).abs().max() < 2**-15 * 50
