"""What PyTorch's samples leave out: layouts, sizes and values that kernels get wrong.

A variant turns one sample into cases; none where it does not apply to the sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from .ops import ACTIVATIONS, Case

NAN, INF = float("nan"), float("inf")


def _is_convolution(case: Case) -> bool:
    return not case.op.elementwise


def _batched(case: Case) -> bool:
    return _is_convolution(case) and case.input.dim() == case.tensors[1].dim()


def _spatial_dims(case: Case) -> int:
    return case.tensors[1].dim() - 2


def _random(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float32).to(dtype=like.dtype, device=like.device)


def _with_input(case: Case, input: torch.Tensor) -> Case:
    return case.with_tensors(input, *case.tensors[1:])


# Layouts


def _in_gaps(tensor: torch.Tensor) -> torch.Tensor:
    """Every second element along every dimension of a buffer that is NaN elsewhere."""
    buffer = tensor.new_full([2 * size for size in tensor.shape], NAN)
    view = buffer[tuple(slice(1, None, 2) for _ in tensor.shape)]
    return view.copy_(tensor)


def _at(offset: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Contiguous, ``offset`` elements into a storage that is NaN before and after."""

    def place(tensor: torch.Tensor) -> torch.Tensor:
        buffer = tensor.new_full((offset + tensor.numel() + 64,), NAN)
        return buffer[offset : offset + tensor.numel()].view(tensor.shape).copy_(tensor)

    return place


def _channels_innermost(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dim() < 2:
        return tensor
    axis = 1 if tensor.dim() > 2 else 0
    return tensor.movedim(axis, -1).contiguous().movedim(-1, axis)


def _reversed(tensor: torch.Tensor) -> torch.Tensor:
    dims = tuple(reversed(range(tensor.dim())))
    return tensor.permute(dims).contiguous().permute(dims)


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "gaps": _in_gaps,
    "misaligned": _at(1),
    "offset": _at(1031),
    "channels_last": _channels_innermost,
    "reversed": _reversed,
}
"""The same values in another memory layout."""


def _repeat_last(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dim() == 0 or tensor.shape[-1] == 0:
        return tensor
    return tensor[..., :1].expand(tensor.shape)


def _expanded(case: Case) -> list[Case]:
    cases = [case.arrange(_repeat_last)]
    if _batched(case):
        one = case.input[:1]
        cases.append(_with_input(case, one.expand(3, *one.shape[1:])))
    return cases


# Sizes


def _with_leading(case: Case, size: int) -> Case:
    """Every operand with one more dimension in front."""
    rank = max(tensor.dim() for tensor in case.tensors if tensor is not None)

    def grown(tensor: torch.Tensor) -> torch.Tensor:
        return _random((size, *(1,) * (rank - tensor.dim()), *tensor.shape), tensor)

    return case.map(grown)


def _empty(case: Case) -> list[Case]:
    if not _is_convolution(case):
        return [_with_leading(case, 0)]
    return [_with_input(case, case.input[:0])] if _batched(case) else []


def _long(case: Case) -> list[Case]:
    """Lengths that end in the middle of a vector, a warp and a tile."""
    if _is_convolution(case):
        dims = _spatial_dims(case)
        shapes = [(33,), (67,), (259,)] if dims == 1 else [(9, 33), (35, 67)]
        leading = case.input.shape[:-dims]
        return [_with_input(case, _random((*leading, *size), case.input)) for size in shapes]
    cases = []
    for length in (33, 67, 1031):

        def grown(tensor: torch.Tensor, length: int = length) -> torch.Tensor:
            if tensor.dim() == 0 or tensor.shape[-1] < 2:
                return tensor
            return _random((*tensor.shape[:-1], length), tensor)

        cases.append(case.map(grown))
    return cases


def _many_rows(case: Case) -> list[Case]:
    """More rows than a grid's y and z dimensions hold."""
    rows = 65_537
    if not _is_convolution(case):
        if case.input.numel() > 10:
            return []
        return [_with_leading(case, rows)]
    if not _batched(case) or math.prod(case.input.shape[1:]) > 100:
        return []
    return [_with_input(case, _random((rows, *case.input.shape[1:]), case.input))]


def _many_channels(case: Case) -> list[Case]:
    """More output channels than a grid's y and z dimensions hold."""
    if case.op.name not in ("conv1d", "pointwise_conv2d") or not _batched(case):
        return []
    if case.options.get("groups", 1) != 1:
        return []
    channels = 65_537
    _, weight, bias = case.tensors
    weight = _random((channels, *weight.shape[1:]), weight)
    bias = None if bias is None else _random((channels,), bias)
    return [case.with_tensors(case.input, weight, bias)]


# Values


def _denormals(case: Case) -> list[Case]:
    """An input of denormals among the smallest normal numbers."""
    smallest = torch.finfo(case.input.dtype).smallest_normal

    def tiny(tensor: torch.Tensor) -> torch.Tensor:
        values = torch.randn(tensor.shape, dtype=torch.float64)
        large = torch.rand(tensor.shape) < 0.3
        values = values * smallest * torch.where(large, 1024.0, 0.7)
        return values.to(dtype=tensor.dtype, device=tensor.device)

    if _is_convolution(case):
        return [_with_input(case, tiny(case.input))]
    return [case.map(tiny)]


def _with_values(tensor: torch.Tensor, *values: float) -> torch.Tensor:
    """Some elements replaced by each value, far from each other."""
    result = tensor.clone(memory_format=torch.contiguous_format)
    flat = result.view(-1)
    for number, value in enumerate(values):
        if number < flat.numel():
            flat[(number * flat.numel()) // len(values)] = value
    return result


def _not_finite(case: Case) -> list[Case]:
    """NaN and Inf must reach what they reach in the formula, and nothing else."""
    inputs = [_with_values(case.input, *values) for values in ((NAN,), (INF,), (NAN, INF, -INF))]
    cases = [_with_input(case, input) for input in inputs]
    if case.op.elementwise or case.op.name == "pointwise_conv2d":
        # Elsewhere torch's own algorithms disagree on whether padding times NaN is NaN.
        cases.append(replace(case, place_grad=lambda tensor: _with_values(tensor, NAN, INF)))
    if case.op.activations:
        cases += [case.with_options(activation="relu") for case in (cases[0], cases[-1])]
    return cases


def _near_the_largest(case: Case) -> list[Case]:
    """Finite values that round to Inf in fewer bits."""
    largest = torch.finfo(case.input.dtype).max
    input = _with_values(case.input, largest, -largest)
    if case.input.dtype == torch.float64:
        return []
    if not _is_convolution(case):
        return [_with_input(case, input)]
    # Every result stays finite.
    small = case.map(lambda tensor: tensor / 1024)
    return [replace(_with_input(small, input), place_grad=lambda tensor: tensor / 1024)]


# Calls


def _activations(case: Case) -> list[Case]:
    if not case.op.activations:
        return []
    names = ["activation"]
    if case.op.name == "separable_conv2d":
        names.append("depthwise_activation")
    return [case.with_options(**{name: activation}) for name in names for activation in ACTIVATIONS]


def _one_gradient(case: Case) -> list[Case]:
    """Each tensor in turn is the only one that requires a gradient."""
    count = len(case.tensors)
    return [
        replace(case, wanted=tuple(index == position for index in range(count)))
        for position in range(count)
        if case.tensors[position] is not None and count > 1
    ]


VARIANTS: dict[str, Callable[[Case], list[Case]]] = {
    "as_given": lambda case: [case],
    **{
        name: lambda case, layout=layout: [case.arrange(layout)]
        for name, layout in LAYOUTS.items()
        if name != "contiguous"
    },
    "expanded": _expanded,
    "empty": _empty,
    "long": _long,
    "many_rows": _many_rows,
    "many_channels": _many_channels,
    "denormals": _denormals,
    "not_finite": _not_finite,
    "near_the_largest": _near_the_largest,
    "activations": _activations,
    "one_gradient": _one_gradient,
}
"""From a variant's name to its function."""


def vary(case: Case, variant: str) -> list[Case]:
    """The cases of one variant of a sample."""
    cases = VARIANTS[variant](case)
    return [replace(varied, label=f"{case.label}, {variant}") for varied in cases]
