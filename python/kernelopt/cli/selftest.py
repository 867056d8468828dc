"""``kernelopt selftest``: a quick check of an installed wheel; needs torch and nothing else."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Ops that may compute float32 as three bfloat16 products.
_SPLIT_PRODUCTS = (
    "conv1d",
    "conv_transpose1d",
    "depthwise_conv2d",
    "pointwise_conv2d",
    "separable_conv2d",
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "selftest",
        help="check every op of this installation in a few seconds",
        description=(
            "Checks every op of this installation, forward and backward, against ATen in float64. "
            "Exit status: 0 all right, 1 a check failed, 2 bad usage."
        ),
    )
    parser.add_argument(
        "--device", help="cpu, cuda or cuda:N (default: the CPU, and the GPU where there is one)"
    )
    parser.set_defaults(run=run)


@dataclass
class OpCase:
    """An op with arguments that leave no default alone.

    Attributes:
        name: the public function.
        shapes: of its tensors, in the order of the function's parameters.
        options: the other arguments.
        aten: the same function in torch, of the same tensors.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    aten: Callable[..., torch.Tensor]
    options: dict[str, Any] = field(default_factory=dict)

    def call(self, *tensors: torch.Tensor) -> torch.Tensor:
        import kernelopt

        return getattr(kernelopt, self.name)(*tensors, **self.options)

    def tensors(self, device: str, dtype: torch.dtype) -> list[torch.Tensor]:
        """Random ones; weights small enough for results near 1."""
        import torch

        generator = torch.Generator().manual_seed(len(self.name))
        return [
            (torch.randn(shape, generator=generator) / (1 if index == 0 else 3)).to(device, dtype)
            for index, shape in enumerate(self.shapes)
        ]


def op_cases() -> list[OpCase]:
    """One or two cases an op, of odd sizes."""
    import torch.nn.functional as F

    strides = {"stride": 2, "padding": 3, "dilation": 2, "groups": 3}
    upsample = {"stride": 3, "padding": 2, "output_padding": 1, "groups": 3, "dilation": 2}
    plane = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}

    def separable(x, depthwise, pointwise, depthwise_bias, pointwise_bias):
        inner = F.relu(F.conv2d(x, depthwise, depthwise_bias, groups=5, **plane))
        return F.silu(F.conv2d(inner, pointwise, pointwise_bias))

    return [
        OpCase("add", ((3, 1, 5), (4, 5)), lambda a, b: a + 0.5 * b, {"alpha": 0.5}),
        OpCase("gelu", ((7, 33),), F.gelu),
        OpCase(
            "gelu",
            ((7, 33),),
            lambda x: F.gelu(x, approximate="tanh"),
            {"approximate": "tanh"},
        ),
        OpCase("conv1d", ((2, 7, 37), (5, 7, 3)), F.conv1d),
        OpCase(
            "conv1d",
            ((2, 6, 19), (9, 2, 4), (9,)),
            lambda x, w, b: F.gelu(F.conv1d(x, w, b, **strides)),
            {**strides, "activation": "gelu"},
        ),
        OpCase(
            "conv_transpose1d",
            ((2, 6, 11), (6, 2, 5), (6,)),
            lambda x, w, b: F.silu(F.conv_transpose1d(x, w, b, **upsample)),
            {**upsample, "activation": "silu"},
        ),
        OpCase(
            "depthwise_conv2d",
            ((2, 5, 9, 11), (10, 1, 3, 3), (10,)),
            lambda x, w, b: F.relu(F.conv2d(x, w, b, groups=5, **plane)),
            {**plane, "activation": "relu"},
        ),
        OpCase(
            "pointwise_conv2d",
            ((2, 7, 5, 3), (9, 7, 1, 1), (9,)),
            lambda x, w, b: F.gelu(F.conv2d(x, w, b), approximate="tanh"),
            {"activation": "gelu_tanh"},
        ),
        OpCase(
            "separable_conv2d",
            ((2, 5, 9, 11), (5, 1, 3, 3), (8, 5, 1, 1), (5,), (8,)),
            separable,
            {**plane, "depthwise_activation": "relu", "activation": "silu"},
        ),
    ]


def _with_gradients(
    function: Callable[..., torch.Tensor], tensors: list[torch.Tensor]
) -> list[torch.Tensor]:
    """The result, and the gradients of its sum weighted by cosines."""
    import torch

    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    result = function(*leaves)
    weights = torch.arange(result.numel(), dtype=torch.float64, device=result.device).cos()
    weights = weights.to(result.dtype).reshape(result.shape)
    return [result.detach(), *torch.autograd.grad(result, leaves, weights)]


def check_accuracy(case: OpCase, device: str, dtype: torch.dtype) -> str:
    """Forward and backward against ATen in float64, to the tolerances of ``kernelopt run``.

    Returns:
        "" where all is right, else what is wrong.
    """
    import torch

    from .compare import rounding_unit

    tensors = case.tensors(device, dtype)
    # ATen on the CPU, where float32 is no TF32: the same yardstick for every device.
    narrow = [tensor.cpu() for tensor in tensors]
    wide = [tensor.double() for tensor in narrow]
    results = _with_gradients(case.call, tensors)
    theirs = _with_gradients(case.aten, narrow)
    exact = _with_gradients(case.aten, wide)
    sizes = _with_gradients(case.aten, [tensor.abs() for tensor in wide])
    unit = rounding_unit(dtype, torch.device(device), split_products=case.name in _SPLIT_PRODUCTS)
    names = ["result", *(f"gradient {index}" for index in range(len(tensors)))]
    for name, mine, other, best, size in zip(names, results, theirs, exact, sizes, strict=True):
        if (mine.shape, mine.dtype) != (other.shape, other.dtype):
            return f"{name} is {list(mine.shape)} {mine.dtype}, expected {list(other.shape)}"
        error = (mine.cpu().double() - best).abs().max().item()
        allowed = 2 * (other.double() - best).abs().max().item()
        allowed += unit * max(best.abs().max().item(), size.abs().max().item())
        if not error <= allowed:
            return f"{name} is off by {error:.2e}, allowed {allowed:.2e}"
    return ""


def check_shape_function(case: OpCase) -> str:
    """The shape and strides of a result are known without computing it."""
    import torch

    tensors = case.tensors("cpu", torch.float32)
    real, fake = case.call(*tensors), case.call(*(tensor.to("meta") for tensor in tensors))
    if (real.shape, real.stride(), real.dtype) != (fake.shape, fake.stride(), fake.dtype):
        return f"got {list(fake.shape)} {fake.stride()}, expected {list(real.shape)}"
    return ""


def check_bad_input(case: OpCase) -> str:
    """A tensor of the wrong dtype is refused by name, before anything is computed."""
    import torch

    tensors = case.tensors("cpu", torch.float32)
    arguments = [tensors[0].to(torch.int32), *tensors[1:]]
    op = getattr(torch.ops.kernelopt, case.name).default
    values = [argument.default_value for argument in op._schema.arguments[len(arguments) :]]
    try:
        op(*arguments, *values)
    except RuntimeError as error:
        return "" if f"kernelopt::{case.name}" in str(error) else f"unclear message: {error}"
    return "an int32 tensor was accepted"


def check_compile(device: str) -> str:
    """torch.compile traces an op and its gradient in one graph (no Inductor, no C++ compiler)."""
    import torch

    case = next(case for case in op_cases() if case.options.get("groups") == 3)
    tensors = case.tensors(device, torch.float32)
    compiled = torch.compile(case.call, backend="aot_eager", fullgraph=True)
    for mine, expected in zip(
        _with_gradients(compiled, tensors), _with_gradients(case.call, tensors), strict=True
    ):
        if not torch.equal(mine, expected):
            return "the compiled result differs from the eager one"
    return ""


def check_optimize(device: str) -> str:
    """kernelopt.optimize maps a small model and keeps its results and its state_dict keys."""
    import copy

    import torch

    from ..mapping import optimize, report

    torch.manual_seed(0)
    layers = [torch.nn.Conv1d(3, 5, 3), torch.nn.GELU(), torch.nn.ConvTranspose1d(5, 2, 4, 2)]
    original = torch.nn.Sequential(*layers).to(device)
    mapped = optimize(copy.deepcopy(original))
    x = torch.randn(2, 3, 21, device=device)
    with torch.no_grad():
        error = (mapped(x) - original(x)).abs().max().item()
    if not error <= 2e-3:
        return f"the mapped model's result is off by {error:.2e}"
    if mapped.state_dict().keys() != original.state_dict().keys():
        return "the mapped model's state_dict keys differ"
    found = report(mapped)
    return "" if found.replaced or found.fused else "nothing was replaced"


def check_side_stream(case: OpCase, device: str) -> str:
    """An op runs on the current stream: what was queued there before it is seen by it."""
    import torch

    tensors = case.tensors(device, torch.float32)
    expected = case.call(*tensors)
    stream = torch.cuda.Stream(device)
    torch.cuda.synchronize(device)
    with torch.cuda.stream(stream):
        first = torch.zeros_like(tensors[0])
        torch.cuda._sleep(20_000_000)
        first.copy_(tensors[0])
        result = case.call(first, *tensors[1:])
    stream.synchronize()
    return "" if torch.equal(result, expected) else "the result on a side stream differs"


def check_graph_replay(case: OpCase, device: str) -> str:
    """A captured CUDA graph computes anew from what its inputs hold at replay."""
    import torch

    tensors = case.tensors(device, torch.float32)
    warmup = torch.cuda.Stream(device)
    with torch.cuda.stream(warmup):
        case.call(*tensors)
    warmup.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = case.call(*tensors)
    for tensor in tensors:
        tensor.mul_(-0.5)
    graph.replay()
    torch.cuda.synchronize(device)
    return "" if torch.equal(result, case.call(*tensors)) else "the replayed result differs"


def checks(devices: list[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every check with its name; each returns "" or what is wrong."""
    import torch

    cases = op_cases()
    unique = {case.name: case for case in cases}
    for device in devices:
        for index, case in enumerate(cases):
            for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
                name = f"{case.name} ({index + 1}) {str(dtype).removeprefix('torch.')} {device}"
                yield name, partial(check_accuracy, case, device, dtype)
        yield f"torch.compile {device}", partial(check_compile, device)
        yield f"optimize {device}", partial(check_optimize, device)
    for name, case in unique.items():
        yield f"{name} shape function", partial(check_shape_function, case)
        yield f"{name} bad input", partial(check_bad_input, case)
        for device in devices:
            if device != "cpu":
                yield f"{name} side stream {device}", partial(check_side_stream, case, device)
                yield f"{name} graph replay {device}", partial(check_graph_replay, case, device)


def run(options: argparse.Namespace) -> int:
    import torch

    from .. import __version__, unavailable_reason
    from .problem import one_line
    from .run import pick_device

    if options.device:
        devices = [str(pick_device(options.device))]
    else:
        devices = ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]
    if devices[-1] != "cpu":
        torch.cuda.set_device(devices[-1])
    start = time.monotonic()
    failed = total = 0
    for name, check in checks(devices):
        try:
            problem = check()
        except Exception as error:
            problem = f"raised {one_line(error)}"
        total += 1
        failed += bool(problem)
        print(f"FAILED  {name}: {problem}" if problem else f"ok      {name}", flush=True)
    reason = unavailable_reason()
    print(
        f"{total - failed} of {total} checks passed in {time.monotonic() - start:.1f} s: kernelopt "
        f"{__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{', '.join(devices)}; CUDA kernels: {f'not used, {reason}' if reason else 'used'}"
    )
    return 1 if failed else 0
