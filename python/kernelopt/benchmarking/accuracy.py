"""Error of a call against the same computed in float64, on a part of the batch where that is long.

Both figures are relative to the root mean square of the reference: ``max`` is the largest
deviation, ``relative_rms`` the root mean square of the deviation. For a backward they are those of
the worst gradient.
"""

from __future__ import annotations

import math

import torch

from .calls import Call, Tensors, narrow_batch, torch_call
from .cases import Case
from .floors import work

_REFERENCE_FLOPS = 2e10
_REFERENCE_ELEMENTS = 1 << 25

Error = dict[str, float]


def _items(case: Case, tensors: Tensors, direction: str) -> int:
    """How many items of the batch the reference may compute."""
    batch = case.output_shape[0]
    least = work(case, "float32", direction)
    cost = max(
        (least.tensor_flops + least.core_flops) / _REFERENCE_FLOPS,
        least.bytes / 4 / _REFERENCE_ELEMENTS,
    )
    return max(1, min(batch, int(batch / cost) if cost > 0 else batch))


def _error(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Error:
    """The error over pairs of a result and its reference that form one tensor."""
    largest = squares = reference_squares = 0.0
    count = 0
    for result, reference in pairs:
        deviation = (result.double() - reference).abs()
        if deviation.numel() == 0:
            continue
        largest = max(largest, deviation.max().item())
        squares += deviation.square().sum().item()
        reference_squares += reference.square().sum().item()
        count += reference.numel()
    if not math.isfinite(largest):
        raise ArithmeticError("the result is not finite where the reference is")
    if reference_squares == 0:
        return {"max": 0.0, "relative_rms": 0.0}
    scale = (reference_squares / count) ** 0.5
    return {
        "max": float(f"{largest / scale:.4g}"),
        "relative_rms": float(f"{(squares / count) ** 0.5 / scale:.4g}"),
    }


def _forward(case: Case, call: Call, tensors: Tensors) -> Error:
    """The whole call's output, compared at the first and the last items of the batch."""
    output = call(*tensors)
    batch = output.shape[0]
    count = _items(case, tensors, "forward")
    starts = [0] if count == batch else [0, batch - count]
    reference_call = torch_call(case)
    pairs = []
    for start in starts:
        inputs = [tensor.double() for tensor in narrow_batch(case, tensors, start, count)]
        pairs.append((output.narrow(0, start, count), reference_call(*inputs)))
    return _error(pairs)


def _gradients(call: Call, tensors: Tensors, grad_output: torch.Tensor) -> list[torch.Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    with torch.enable_grad():
        output = call(*leaves)
    return list(torch.autograd.grad(output, leaves, grad_output.to(output.dtype)))


def _backward(case: Case, call: Call, tensors: Tensors) -> Error:
    """The gradients of a call on the first items of the batch."""
    inputs = narrow_batch(case, tensors, 0, _items(case, tensors, "backward"))
    with torch.no_grad():
        grad_output = torch.randn_like(torch_call(case)(*inputs))
    results = _gradients(call, inputs, grad_output)
    references = _gradients(
        torch_call(case), [tensor.double() for tensor in inputs], grad_output.double()
    )
    errors = [_error([pair]) for pair in zip(results, references, strict=True)]
    return max(errors, key=lambda error: error["max"])


def measure_error(case: Case, direction: str, call: Call, tensors: Tensors) -> Error:
    """The error of ``call`` on ``tensors`` in the given direction."""
    if direction == "backward":
        return _backward(case, call, tensors)
    with torch.no_grad():
        return _forward(case, call, tensors)
