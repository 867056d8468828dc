"""Arguments and results of any model: nested containers with tensors in them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
_WIDE = {True: torch.complex128, False: torch.float64}


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """``value`` with ``function`` applied to every tensor in its lists, tuples and dicts."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, item) for item in value))
    if type(value) in (list, tuple):
        return type(value)(map_tensors(function, item) for item in value)
    if type(value) is dict:
        return {key: map_tensors(function, item) for key, item in value.items()}
    return value


def named_leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every tensor and other value in nested containers and dataclasses, with a name for each."""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from named_leaves(item, f"{name}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from named_leaves(item, f"{name}[{key!r}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from named_leaves(getattr(value, field.name), f"{name}.{field.name}")
    else:
        yield name, value


def is_array(value: Any) -> bool:
    """Whether a value is an array or a number of numpy's, which need not be installed."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def tensors_in(value: Any) -> list[torch.Tensor]:
    return [leaf for _, leaf in named_leaves(value, "") if isinstance(leaf, torch.Tensor)]


def is_inexact(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def cast(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
    """The tensor on a device, and a floating one in a dtype; complex follows float64 alone."""
    if tensor.is_floating_point() and dtype is not None:
        return tensor.to(device, dtype)
    if tensor.is_complex() and dtype == torch.float64:
        return tensor.to(device, torch.complex128)
    return tensor.to(device)


def is_float8(dtype: torch.dtype) -> bool:
    """Whether a dtype stores floating numbers, but has no arithmetic."""
    return dtype.is_floating_point and dtype.itemsize == 1


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """A result's values as a strided tensor, of a dtype that has arithmetic."""
    tensor = tensor.detach()
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return tensor.float() if is_float8(tensor.dtype) else tensor


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """A result as float64 (complex128) numbers to compare."""
    return dense(tensor).to(_WIDE[tensor.is_complex()])


def move_model(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    """Moves a model in place: parameters, buffers, and tensors held as plain attributes."""
    model._apply(lambda tensor: cast(tensor, device, dtype))
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if name not in MODULE_ATTRIBUTES and tensors_in(value):
                vars(module)[name] = map_tensors(
                    lambda tensor: cast(tensor, device, dtype).detach(), value
                )
    return model


def lowest_precision(dtypes: Iterable[torch.dtype], default: torch.dtype) -> torch.dtype:
    """The floating dtype with the largest rounding error among some; float8 says nothing about
    what is computed with the numbers it stores."""
    floating = [dtype for dtype in dtypes if dtype.is_floating_point and not is_float8(dtype)]
    return max(floating or [default], key=lambda dtype: torch.finfo(dtype).eps)
