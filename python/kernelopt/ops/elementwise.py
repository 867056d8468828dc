"""Element-wise ops: ``add`` and ``gelu``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.overrides import (
    handle_torch_function,
    has_torch_function_unary,
    has_torch_function_variadic,
)

from .._arguments import check_tensor, served
from .._enums import Approximate
from .._registration import OpSpec, register

Number = int | float | complex
Size = int | torch.SymInt


def _order(a: tuple[Size, Size], b: tuple[Size, Size]) -> int:
    """Whether dimension a should be further inside than b, judged by one operand's (stride, size)
    of each: 1 yes, -1 no, 0 undecided (a broadcast dimension says nothing)."""
    from torch.fx.experimental.symbolic_shapes import guard_or_false

    if any(guard_or_false(stride == 0) or guard_or_false(size == 1) for stride, size in (a, b)):
        return 0
    for x, y in zip(a, b, strict=True):
        if guard_or_false(x < y):
            return 1
        if not guard_or_false(x == y):
            return -1 if guard_or_false(x > y) else 0
    return 0


def _output_strides(shape: Sequence[Size], operands: Sequence[torch.Tensor]) -> list[Size]:
    """Strides of an output of ``operands`` expanded to ``shape``: dimensions in the order of the
    operands' strides, the first operand that can tell deciding, and no gaps.

    The rule of ``elementwise_output_strides`` in ``csrc/elementwise/iteration.cpp``. What cannot be
    told of a size that is unknown while tracing counts as undecided.
    """
    layouts = [list(zip(operand.stride(), shape, strict=True)) for operand in operands]
    order = list(reversed(range(len(shape))))
    # An insertion sort, for the comparison is not transitive.
    for first in range(1, len(order)):
        position = first
        for j in reversed(range(first)):
            verdicts = (_order(layout[order[position]], layout[order[j]]) for layout in layouts)
            verdict = next((v for v in verdicts if v), 0)
            if verdict < 0:
                break
            if verdict > 0:
                order[position], order[j] = order[j], order[position]
                position = j
    strides: list[Size] = [0] * len(shape)
    stride: Size = 1
    for dim in order:
        strides[dim] = stride
        stride = stride * torch.sym_max(shape[dim], 1)
    return strides


def _empty_elementwise(*operands: torch.Tensor) -> torch.Tensor:
    """An empty tensor of the operands' broadcast shape, in the kernels' output format."""
    shape = torch.broadcast_shapes(*(operand.shape for operand in operands))
    strides = _output_strides(shape, [operand.expand(shape) for operand in operands])
    return torch.empty_strided(shape, strides, dtype=operands[0].dtype, device=operands[0].device)


def _check_alike(op: str, name: str, tensor: torch.Tensor, reference: torch.Tensor) -> None:
    torch._check(
        tensor.dtype == reference.dtype and tensor.device == reference.device,
        lambda: (
            f"kernelopt::{op}: expected {name} to have dtype {reference.dtype} on "
            f"{reference.device}, got {tensor.dtype} on {tensor.device}"
        ),
    )


# add


def _add_fake(self: torch.Tensor, other: torch.Tensor, alpha: float = 1) -> torch.Tensor:
    _check_alike("add", "other", other, self)
    return _empty_elementwise(self, other)


def _add_aten(self: torch.Tensor, other: torch.Tensor, alpha: float) -> torch.Tensor:
    return torch.add(self, other, alpha=alpha)


def _add_save(tensors, values):
    self, other = tensors
    return (), (self.shape, other.shape, *values)


def _add_gradients(tensors, values, grad_output, needs):
    self_size, other_size, alpha = values
    # A gradient that needs neither a sum nor a factor is grad_output itself.
    grad_self = grad_output if needs[0] and self_size == grad_output.shape else None
    grad_other = (
        grad_output if needs[1] and other_size == grad_output.shape and alpha == 1 else None
    )
    mask = [needs[0] and grad_self is None, needs[1] and grad_other is None]
    if any(mask):
        computed = torch.ops.kernelopt.add_backward(grad_output, self_size, other_size, alpha, mask)
        grad_self = computed[0] if mask[0] else grad_self
        grad_other = computed[1] if mask[1] else grad_other
    return grad_self, grad_other


def _add_backward_fake(grad_output, self_size, other_size, alpha=1, output_mask=(True, True)):
    return tuple(
        grad_output.new_empty(size if wanted else (0,))
        for size, wanted in zip((self_size, other_size), output_mask, strict=True)
    )


def _add_backward_aten(grad_output, self_size, other_size, alpha, output_mask):
    grad_self = grad_output.sum_to_size(self_size).clone() if output_mask[0] else None
    grad_other = (grad_output * alpha).sum_to_size(other_size) if output_mask[1] else None
    return tuple(
        grad_output.new_empty(0) if grad is None else grad.contiguous()
        for grad in (grad_self, grad_other)
    )


_call_add = register(OpSpec("add", _add_fake, _add_aten, _add_save, _add_gradients))
register(OpSpec("add_backward", _add_backward_fake, _add_backward_aten))


def _converts(alpha: Number, dtype: torch.dtype) -> bool:
    """Whether torch takes a factor for sums of this dtype; it refuses what overflows."""
    return alpha == 1 or (
        abs(alpha) <= torch.finfo(dtype).max and (type(alpha) is float or abs(alpha) < 2**63)
    )


def add(
    input: torch.Tensor,
    other: torch.Tensor | Number,
    *,
    alpha: Number = 1,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """``input + alpha * other``, with broadcasting: :func:`torch.add`.

    kernelopt's kernels serve two tensors of one floating dtype on one device. Numbers, mixed
    dtypes, integer and complex operands, a factor outside of the dtype's range, a CPU scalar
    beside a CUDA tensor, and calls with ``out`` go to :func:`torch.add`.

    Args:
        input: tensor of any shape.
        other: tensor of a shape that broadcasts with ``input``'s, or a number.
        alpha: factor on ``other``.
        out: tensor to write to, resized where it has another shape.

    Returns:
        The sum in the broadcast shape, in torch's result dtype and memory format; ``out`` where
        that is given.

    Raises:
        RuntimeError: the shapes do not broadcast, the devices differ, ``alpha`` overflows in the
            operands' dtype, or ``out`` cannot hold the sum's dtype or is asked for a gradient.
        OverflowError: ``alpha`` is an int that does not fit 64 bits.
        TypeError: an operand is neither a tensor nor a number.
    """
    if has_torch_function_variadic(input, other, out):
        operands = (input, other, out)
        return handle_torch_function(add, operands, input, other, alpha=alpha, out=out)
    plain = (
        out is None
        and type(alpha) in (int, float)
        and isinstance(input, torch.Tensor)
        and isinstance(other, torch.Tensor)
        and input.dtype == other.dtype
        and input.device == other.device
        and served(input, other)
        and _converts(alpha, input.dtype)
    )
    if not plain:
        return torch.add(input, other, alpha=alpha, out=out)  # type: ignore[arg-type]
    return _call_add((input, other), (float(alpha),))  # type: ignore[arg-type]


# gelu


def _check_approximate(op: str, approximate: int) -> None:
    torch._check(
        0 <= approximate < len(Approximate),
        lambda: f"kernelopt::{op}: expected approximate to be from 0 to 1, got {approximate}",
    )


def _gelu_fake(self: torch.Tensor, approximate: int = 0) -> torch.Tensor:
    _check_approximate("gelu", approximate)
    return _empty_elementwise(self)


def _gelu_aten(self: torch.Tensor, approximate: int) -> torch.Tensor:
    form = "tanh" if approximate == Approximate.TANH else "none"
    return torch.nn.functional.gelu(self, approximate=form)


def _gelu_save(tensors, values):
    return tensors, values


def _gelu_gradients(tensors, values, grad_output, needs):
    return (torch.ops.kernelopt.gelu_backward(grad_output, *tensors, *values),)


def _gelu_backward_fake(grad_output, self, approximate=0):
    _check_approximate("gelu_backward", approximate)
    _check_alike("gelu_backward", "grad_output", grad_output, self)
    return _empty_elementwise(self)


def _gelu_backward_aten(grad_output, self, approximate):
    form = "tanh" if approximate == Approximate.TANH else "none"
    return torch.ops.aten.gelu_backward(grad_output, self, approximate=form)


_call_gelu = register(OpSpec("gelu", _gelu_fake, _gelu_aten, _gelu_save, _gelu_gradients))
register(OpSpec("gelu_backward", _gelu_backward_fake, _gelu_backward_aten))

_APPROXIMATE_NAMES = {"none": Approximate.NONE, "tanh": Approximate.TANH}


def gelu(input: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    """Gaussian error linear unit: :func:`torch.nn.functional.gelu`.

    ``"none"`` is ``x * Phi(x)``; ``"tanh"`` is
    ``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`` (Hendrycks and Gimpel, 2016), the form that
    MinGPT writes out.

    Args:
        input: float16, bfloat16, float32 or float64 tensor of any shape and strides.
        approximate: "none" or "tanh".

    Returns:
        A tensor of ``input``'s shape, dtype and memory format.

    Raises:
        TypeError: ``input`` is not a tensor, or ``approximate`` not a str.
        RuntimeError: ``approximate`` is another word, or the dtype is not floating.
    """
    if has_torch_function_unary(input):
        return handle_torch_function(gelu, (input,), input, approximate=approximate)
    check_tensor("gelu", "input", input)
    if not isinstance(approximate, str):
        raise TypeError(f"kernelopt.gelu(): expected approximate to be a str, got {approximate!r}")
    if approximate not in _APPROXIMATE_NAMES:
        raise RuntimeError(
            f"kernelopt.gelu(): expected approximate to be 'none' or 'tanh', got {approximate!r}"
        )
    if not served(input):
        return torch.nn.functional.gelu(input, approximate=approximate)
    return _call_gelu((input,), (int(_APPROXIMATE_NAMES[approximate]),))
