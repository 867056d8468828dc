"""What the test files share: argument sets, the fp64 reference and its tolerances, and checks that
hold for any op."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

import torch

from kernelopt import Precision
from kernelopt.ops._convolution import apply_activation
from tolerance import check_close, max_norm_limit

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
ACTIVATIONS = (None, "relu", "gelu", "gelu_tanh", "silu")
LAYOUTS = ("contiguous", "channels_last", "strided", "offset")

Case = dict[str, Any]
Tensors = Sequence["torch.Tensor | None"]


def pairwise(
    parameters: Mapping[str, Sequence[Any]], valid: Callable[[Case], bool] = lambda case: True
) -> list[Case]:
    """Few cases in which every two values of two parameters meet, where a valid case has both.

    Greedy: of random candidates around an uncovered pair, the one that covers most is taken.
    """
    random = Random(0)
    uncovered = {
        ((a, i), (b, j)): None
        for a, b in itertools.combinations(parameters, 2)
        for i in range(len(parameters[a]))
        for j in range(len(parameters[b]))
    }
    cases = []
    while uncovered:
        pair = next(iter(uncovered))
        best, best_pairs = None, [pair]
        for _ in range(100):
            chosen = {name: random.randrange(len(values)) for name, values in parameters.items()}
            chosen |= dict(pair)
            case = {name: parameters[name][index] for name, index in chosen.items()}
            covered = [p for p in itertools.combinations(chosen.items(), 2) if p in uncovered]
            if valid(case) and (best is None or len(covered) > len(best_pairs)):
                best, best_pairs = case, covered
        if best is not None:
            cases.append(best)
        for covered_pair in best_pairs:
            del uncovered[covered_pair]
    return cases


def case_id(case: Case) -> str:
    return "-".join(f"{name}={value}" for name, value in case.items())


def randn_behind(
    offset: int, size: Sequence[int], dtype: torch.dtype, device: str = "cuda"
) -> torch.Tensor:
    """Contiguous random numbers, ``offset`` elements behind the start of an allocation."""
    flat = torch.randn(offset + math.prod(size), device=device, dtype=dtype)
    return flat[offset:].view(size)


def arrange(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values in another memory layout.

    Layouts: "contiguous"; "channels_last" (channels innermost); "strided" (every second element,
    NaN between them); "offset" (starts one element into its storage).
    """
    if layout == "channels_last" and tensor.dim() > 1:
        return tensor.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "strided":
        wide = tensor.new_full((*tensor.shape, 2), float("nan"))
        wide[..., 0] = tensor.detach()
        return wide[..., 0]
    if layout == "offset":
        storage = tensor.new_empty(tensor.numel() + 1)
        return storage[1:].view(tensor.shape).copy_(tensor.detach())
    return tensor.contiguous()


@contextlib.contextmanager
def strict_float32() -> Iterator[None]:
    """torch's own convolutions and products without TF32."""
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    conv.fp32_precision = matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        conv.fp32_precision, matmul.fp32_precision = before


def map_tensors(function: Callable[[torch.Tensor], Any], tensors: Tensors) -> list[Any]:
    return [None if tensor is None else function(tensor.detach()) for tensor in tensors]


def as_tuple(result: Any) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)


def assert_accurate(
    actual: Any, torch_function: Callable[..., Any], tensors: Tensors, *, ieee: bool = False
) -> None:
    """``actual`` is what ``torch_function(*tensors)`` computes, to the limits of ``tolerance.py``;
    ``ieee``: float32 with IEEE precision."""
    with strict_float32():
        references = as_tuple(torch_function(*map_tensors(torch.Tensor.double, tensors)))
        by_torch = as_tuple(torch_function(*map_tensors(torch.clone, tensors)))
        magnitudes = as_tuple(torch_function(*map_tensors(lambda t: t.double().abs(), tensors)))
    precision = Precision.IEEE if ieee else Precision.DEFAULT
    results = zip(as_tuple(actual), references, by_torch, magnitudes, strict=True)
    for index, (mine, reference, theirs, magnitude) in enumerate(results):
        assert mine.dtype == theirs.dtype
        limit = max_norm_limit(mine.dtype, reference, theirs.double(), magnitude, precision)
        check_close(f"result {index}", mine, reference.detach(), limit)


def strides(tensor: torch.Tensor) -> list[int]:
    """The strides that mean something: those of dimensions longer than 1."""
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return [stride for size, stride in pairs if size != 1]


def gradients(function: Callable[..., torch.Tensor], tensors: Tensors, grad: torch.Tensor) -> tuple:
    """The vector-Jacobian products of ``function`` with respect to the tensors that are there."""
    leaves = map_tensors(torch.Tensor.requires_grad_, tensors)
    present = [leaf for leaf in leaves if leaf is not None]
    return torch.autograd.grad(function(*leaves), present, grad)


def vjp_of(function: Callable[..., torch.Tensor]) -> Callable[..., tuple]:
    """``function``'s gradients as a function of ``(grad, *tensors)``."""
    return lambda grad, *tensors: gradients(function, tensors, grad)


def with_activation(function: Callable[..., torch.Tensor], activation: str | None):
    """torch's function followed by an activation given by name."""
    from kernelopt._arguments import activation_code

    code = activation_code("test", "activation", activation)
    return lambda *args, **kwargs: apply_activation(function(*args, **kwargs), code)


class CountGraphs:
    """A torch.compile backend: AOTAutograd without Inductor, and a count of its graphs."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list) -> Callable[..., Any]:
        from torch._dynamo.backends.debugging import aot_eager

        self.count += 1
        return aot_eager(graph, inputs)


def assert_same_places(output: torch.Tensor, expected: torch.Tensor, what: object = None) -> None:
    """NaN and Inf, whatever its sign, are where they are expected."""
    assert torch.equal(output.isnan(), expected.isnan()), what
    assert torch.equal(output.isinf(), expected.isinf()), what


def assert_finite_alike(
    output: torch.Tensor, reference: torch.Tensor, rtol: float = 1e-3, atol: float = 1e-3
) -> None:
    """NaN and each Inf at the same places, and the other values the same."""
    assert torch.equal(output.isnan(), reference.isnan())
    assert torch.equal(output == torch.inf, reference == torch.inf)
    assert torch.equal(output == -torch.inf, reference == -torch.inf)
    finite = reference.isfinite()
    torch.testing.assert_close(output[finite].double(), reference[finite], rtol=rtol, atol=atol)


def wrong_depthwise_gradients(case: Case, device: str) -> tuple[int, ...]:
    """The weight's, the second one, where oneDNN reads what it has not written: on a CPU in 16 bit,
    channels_last and with dilated rows."""
    dilation = case["dilation"]
    rows = dilation if isinstance(dilation, int) else dilation[0]
    narrow = case["dtype"] in (torch.float16, torch.bfloat16)
    wrong = device == "cpu" and narrow and case["layout"] == "channels_last" and rows > 1
    return (1,) if wrong else ()
