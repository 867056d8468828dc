"""What is asked of every case, forward and backward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
from torch._subclasses import FakeTensorMode

from kernelopt import Precision
from kernelopt.ops._convolution import suggests_channels_last
from support import strict_float32, strides
from tolerance import check_close, elementwise_limit, max_norm_limit

from .in_range import InRangeProducts
from .ops import Case

Results = dict[str, torch.Tensor]


@contextlib.contextmanager
def float32_precision(precision: Precision) -> Iterator[None]:
    """Asks for a precision of float32 convolutions as a user does."""
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    conv.fp32_precision = "tf32" if precision == Precision.DEFAULT else "ieee"
    try:
        yield
    finally:
        conv.fp32_precision = before


def run(
    case: Case, function: Callable[..., torch.Tensor], grad_output: torch.Tensor | None
) -> Results:
    """The output, and the gradient of each tensor that requires one; the latter only where the
    output's gradient is given."""
    wanted = case.wanted or (True,) * len(case.tensors)
    leaves = [
        None if tensor is None else tensor.detach().requires_grad_(needed)
        for tensor, needed in zip(case.tensors, wanted, strict=True)
    ]
    with torch.set_grad_enabled(grad_output is not None):
        output = function(*leaves, **case.options)
    results = {"output": output.detach()}
    if grad_output is not None:
        needed = {
            f"gradient {position}": leaf
            for position, leaf in enumerate(leaves)
            if leaf is not None and leaf.requires_grad
        }
        gradients = torch.autograd.grad(output, list(needed.values()), grad_output)
        results |= dict(zip(needed, gradients, strict=True))
    return results


def random_grad(case: Case, output: torch.Tensor) -> torch.Tensor:
    values = torch.randn(output.shape).to(dtype=output.dtype, device=output.device)
    return case.place_grad(values)


def check(case: Case) -> None:
    """Raises AssertionError where kernelopt's function is wrong on a case in any way."""
    tensors = [tensor for tensor in case.tensors if tensor is not None]
    before = [_storage(tensor).clone() for tensor in tensors]
    with float32_precision(case.precision):
        alone = run(case, case.op.ours, None)
        grad_output = random_grad(case, alone["output"])
        results = run(case, case.op.ours, grad_output)
        again = run(case, case.op.ours, grad_output)
    for tensor, bytes_before in zip(tensors, before, strict=True):
        assert torch.equal(_storage(tensor), bytes_before), f"{case}: an input was changed"
    assert _same_bits(results["output"], alone["output"]), f"{case}: gradients change the output"
    for name, result in results.items():
        assert _same_bits(result, again[name]), f"{case}: {name} differs in a second run"
    if case.input.dtype == torch.float32:  # formats do not depend on the dtype
        _check_format(case, results, grad_output)
    _check_values(case, results, grad_output)


def check_delegated(case: Case) -> None:
    """Of a dtype that kernelopt's kernels do not serve: exactly torch's result, or its error."""
    try:
        theirs = case.op.reference(*case.tensors, **case.options)
    except Exception as error:
        with pytest.raises(type(error)):
            case.op.ours(*case.tensors, **case.options)
        return
    ours = case.op.ours(*case.tensors, **case.options)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True, msg=str(case))


def _storage(tensor: torch.Tensor) -> torch.Tensor:
    """Every byte of a tensor's storage, gaps included."""
    storage = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return storage.set_(tensor.untyped_storage())


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    # A copy, for a tensor of one element may count as contiguous with any strides.
    copies = (t.clone(memory_format=torch.contiguous_format) for t in (a, b))
    return torch.equal(*(copy.view(-1).view(torch.uint8) for copy in copies))


def _check_format(case: Case, results: Results, grad_output: torch.Tensor) -> None:
    """The memory format is the documented one, and the fake functions foretell it."""
    output = results["output"]
    if case.op.elementwise and output.numel():
        with torch.no_grad():
            expected = case.op.reference(*case.tensors, **case.options)
        assert strides(output) == strides(expected), (
            f"{case}: strides {output.stride()}, torch's are {expected.stride()}"
        )
    elif not case.op.elementwise and case.input.dim() == output.dim() == case.tensors[1].dim():
        images = [tensor for tensor in case.tensors if tensor is not None and tensor.dim() == 4]
        channels_last = any(map(suggests_channels_last, images))
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        assert output.is_contiguous(memory_format=memory_format), (
            f"{case}: expected {memory_format}, got strides {output.stride()}"
        )
    mode = FakeTensorMode()
    fake_case = case.map(mode.from_tensor)
    with mode, float32_precision(case.precision):
        fake = run(fake_case, case.op.ours, mode.from_tensor(grad_output))
    for name, result in results.items():
        foretold = fake[name]
        for what in ("shape", "dtype", "device"):
            real, said = getattr(result, what), getattr(foretold, what)
            assert real == said, f"{case}: {name} has {what} {real}, its fake {said}"
        assert result.stride() == foretold.stride(), (
            f"{case}: {name} has strides {result.stride()}, its fake {foretold.stride()}"
        )


def _check_values(case: Case, results: Results, grad_output: torch.Tensor) -> None:
    dtype = case.input.dtype
    # On the CPU float64 has one plain algorithm; what would take it seconds stays on the device.
    home = "cpu" if max(grad_output.numel(), case.input.numel()) < 2**18 else grad_output.device
    precise = case.map(lambda tensor: tensor.detach().to(home, torch.float64).contiguous())
    grad = grad_output.to(home, torch.float64).contiguous()
    by_torch = reference = run(precise, case.op.reference, grad)
    assert results.keys() == reference.keys()
    if not case.op.elementwise and not _all_finite(*precise.tensors, grad):
        reference = _where_not_finite(precise, grad, by_torch, results)
    magnitude = run(precise.map(_finite_size), case.op.magnitude, _finite_size(grad))
    # The limit depends on torch's own error but for float64 and float32 in default precision.
    narrow = dtype in (torch.float16, torch.bfloat16)
    strict = dtype == torch.float32 and case.precision == Precision.IEEE
    if not case.op.elementwise and (narrow or strict):
        dense = case.map(lambda tensor: tensor.detach().contiguous())
        with strict_float32():
            by_torch = run(dense, case.op.reference, grad_output.contiguous())
    reference = {name: value.cpu() for name, value in reference.items()}
    magnitude = {name: value.cpu() for name, value in magnitude.items()}
    for name, result in results.items():
        assert result.dtype == dtype, f"{case}: {name} has dtype {result.dtype}"
        if case.op.elementwise:
            limit = elementwise_limit(dtype, reference[name], magnitude[name])
        else:
            limit = max_norm_limit(
                dtype,
                reference[name],
                by_torch[name].cpu().double(),
                magnitude[name],
                case.precision,
            )
            limit *= _activation_factor(case, name, magnitude["output"])
        check_close(f"{case}: {name}", result, reference[name], limit)


def _all_finite(*tensors: torch.Tensor | None) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors if tensor is not None)


def _finite_size(tensor: torch.Tensor) -> torch.Tensor:
    """Absolute values, zero for NaN and Inf: what finite results are made of."""
    return tensor.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).abs()


def _where_not_finite(
    precise: Case, grad: torch.Tensor, by_torch: Results, results: Results
) -> Results:
    """The reference of a convolution that some operand with NaN or Inf takes part in.

    Such an element reaches the results of which it is a factor of an in-range product, and no
    others, whatever the algorithm: NaN or Inf must be where the sums of the in-range products alone
    have the same NaN or Inf, and every other result must be their finite value. There is one
    exception. Where torch's own float64 result is NaN, because torch's algorithm also multiplies
    its padding, NaN is right as well.
    """
    with InRangeProducts():
        formula = run(precise, precise.op.reference, grad)
    expected = {}
    for name, value in formula.items():
        as_torch = by_torch[name].isnan() & results[name].to(value.device).isnan()
        expected[name] = torch.where(as_torch, by_torch[name], value)
    return expected


def _activation_factor(case: Case, name: str, magnitude: torch.Tensor) -> float:
    """How much an activation enlarges an error in what it is applied to.

    No slope exceeds 1.2, and no second derivative 1: an error in z changes the slope that the
    output's gradient is multiplied by as much.
    """
    names = ("activation", "depthwise_activation")
    count = sum(case.options.get(option) is not None for option in names)
    if count == 0:
        return 1.0
    if name == "output":
        return 1.2**count
    return (1.2 + magnitude.max().item() if magnitude.numel() else 1.2) ** count
