"""Convolutions as sums of the products whose operands lie inside.

Algorithms treat padding differently: one skips it, another multiplies it, and makes NaN of zero
times Inf. These add, tap by tap, products of elements that exist, and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch.overrides import TorchFunctionMode

Ints = int | tuple[int, ...]
Slices = tuple[slice, ...]


def _each(values: Ints, dims: int) -> tuple[int, ...]:
    values = (values,) if isinstance(values, int) else tuple(values)
    return values * dims if len(values) == 1 else values


def _grouped(tensor: torch.Tensor, axis: int, groups: int) -> torch.Tensor:
    """A dimension split in (groups, the rest); sizes of 0 allowed."""
    shape = tensor.shape
    return tensor.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def _taps(
    kernel: tuple[int, ...],
    window: tuple[int, ...],
    shifted: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """Of every tap: the positions ``i`` in ``window`` for which ``i * stride + tap * dilation -
    padding`` lies inside ``shifted``, and those positions in ``shifted``."""
    for tap in itertools.product(*map(range, kernel)):
        inside, reached = [], []
        for size, limit, step, shift in zip(
            window,
            shifted,
            stride,
            (t * d - p for t, d, p in zip(tap, dilation, padding, strict=True)),
            strict=True,
        ):
            first = max(0, -(shift // step))
            end = max(first, min(size, -((shift - limit) // step)))
            start = first * step + shift
            inside.append(slice(first, end))
            reached.append(slice(start, start + (end - first) * step, step))
        if all(part.start < part.stop for part in inside):
            yield tap, tuple(inside), tuple(reached)


def convolution(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """conv1d and conv2d."""
    dims = weight.dim() - 2
    if input.dim() == dims + 1:
        return convolution(input[None], weight, bias, stride, padding, dilation, groups)[0]
    kernel, lengths = tuple(weight.shape[2:]), tuple(input.shape[2:])
    stride, dilation = _each(stride, dims), _each(dilation, dims)
    if padding == "same":
        total = tuple(d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
        before = tuple(pad // 2 for pad in total)
    else:
        before = _each(0 if padding == "valid" else padding, dims)
        total = tuple(2 * pad for pad in before)
    sizes = tuple(
        (n + pad - d * (k - 1) - 1) // s + 1
        for n, pad, d, k, s in zip(lengths, total, dilation, kernel, stride, strict=True)
    )
    x, w = _grouped(input, 1, groups), _grouped(weight, 0, groups)
    output = x.new_zeros(len(x), groups, w.shape[1], *sizes)
    for tap, inside, reached in _taps(kernel, sizes, lengths, stride, before, dilation):
        products = torch.einsum("ngi...,goi->ngo...", x[(..., *reached)], w[(..., *tap)])
        output[(..., *inside)] += products
    return _with_bias(output.flatten(1, 2), bias)


def transposed_convolution(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """conv_transpose1d."""
    dims = weight.dim() - 2
    if input.dim() == dims + 1:
        return transposed_convolution(
            input[None], weight, bias, stride, padding, output_padding, groups, dilation
        )[0]
    kernel, lengths = tuple(weight.shape[2:]), tuple(input.shape[2:])
    stride, dilation, padding, output_padding = (
        _each(values, dims) for values in (stride, dilation, padding, output_padding)
    )
    sizes = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, s, p, d, k, extra in zip(
            lengths, stride, padding, dilation, kernel, output_padding, strict=True
        )
    )
    x, w = _grouped(input, 1, groups), _grouped(weight, 0, groups)
    output = x.new_zeros(len(x), groups, w.shape[2], *sizes)
    for tap, inside, reached in _taps(kernel, lengths, sizes, stride, padding, dilation):
        products = torch.einsum("ngi...,gio->ngo...", x[(..., *inside)], w[(..., *tap)])
        output[(..., *reached)] += products
    return _with_bias(output.flatten(1, 2), bias)


def _with_bias(output: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return output if bias is None else output + bias.view(-1, *(1,) * (output.dim() - 2))


class InRangeProducts(TorchFunctionMode):
    """torch's convolutions become the ones above."""

    FUNCTIONS = {
        torch.conv1d: convolution,
        torch.conv2d: convolution,
        torch.conv_transpose1d: transposed_convolution,
    }

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return self.FUNCTIONS.get(func, func)(*args, **(kwargs or {}))
