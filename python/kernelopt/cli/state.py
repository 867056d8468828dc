"""What a call changes of a model besides its parameters, and how it gets that back."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .values import MODULE_ATTRIBUTES, dense, is_array, named_leaves, tensors_in

_DATA = (torch.Tensor, bool, int, float, complex, str, bytes, type(None))


def _is_data(value: Any) -> bool:
    """Whether a value is made of tensors, numbers, numpy arrays and strings alone."""
    return all(isinstance(leaf, _DATA) or is_array(leaf) for _, leaf in named_leaves(value, ""))


def _attributes(module: nn.Module) -> dict[str, Any]:
    """The attributes that hold data: counters, caches, masks made by the first call."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in MODULE_ATTRIBUTES and _is_data(value)
    }


def state_tensors(model: nn.Module) -> list[torch.Tensor]:
    """The tensors, other than parameters, that a model holds in its modules."""
    held = [*model.buffers(), *(t for m in model.modules() for t in tensors_in(_attributes(m)))]
    return [tensor for tensor in held if not isinstance(tensor, nn.Parameter)]


def _same(mine: Any, theirs: Any) -> bool:
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, torch.Tensor):
        alike = (mine.layout, mine.dtype) == (theirs.layout, theirs.dtype) and not mine.is_meta
        return alike and torch.equal(dense(mine), dense(theirs))
    if is_array(mine):
        return mine.dtype == theirs.dtype and mine.tolist() == theirs.tolist()
    return bool(mine == theirs)


def _equal(a: Any, b: Any) -> bool:
    """Whether two values made of data are the same, as far as that is easily told."""
    mine, theirs = dict(named_leaves(a, "")), dict(named_leaves(b, ""))
    return mine.keys() == theirs.keys() and all(_same(mine[key], theirs[key]) for key in mine)


def copy_attributes(module: nn.Module, twin: nn.Module, memo: dict[int, Any]) -> None:
    """Gives a module's twin copies of the attributes made of data in which the two differ: random
    numbers that were not seeded. What is equal may be a view of a parameter, and stays one.

    Args:
        module, twin: two instances of one module.
        memo: of :func:`copy.deepcopy`: what was copied so far, parameters and buffers first.
    """
    before = _attributes(twin)
    for name, value in _attributes(module).items():
        if name in before and _equal(value, before[name]):
            continue
        for tensor in tensors_in(value):
            if not tensor.is_leaf:
                memo.setdefault(id(tensor), tensor.detach().clone())
        vars(twin)[name] = copy.deepcopy(value, memo)


def _restore(values: dict[str, Any], saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Gives a dictionary its values back; of it, ``now`` is what may be changed."""
    for name in now.keys() - saved.keys():
        del values[name]
    for name, value in saved.items():
        if name in now and now[name] is not value:
            values[name] = value


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Gives a model's buffers, and its attributes made of data, back the values they had."""
    modules = list(model.modules())
    buffers = [dict(module._buffers) for module in modules]
    attributes = [_attributes(module) for module in modules]
    containers = [
        (value, value.copy())
        for saved in attributes
        for value in saved.values()
        if type(value) in (list, dict)
    ]
    tensors = [
        (tensor, tensor._version, tensor.detach().clone())
        for tensor in state_tensors(model)
        if not tensor.is_inference()
    ]
    registered = set(model.buffers())
    try:
        yield
    finally:
        for value, contents in containers:
            value.clear()
            (value.extend if isinstance(value, list) else value.update)(contents)
        for module, saved_buffers, saved in zip(modules, buffers, attributes, strict=True):
            _restore(module._buffers, saved_buffers, dict(module._buffers))
            _restore(vars(module), saved, _attributes(module))
        with torch.no_grad():
            for tensor, version, value in tensors:
                # A buffer may have been written to through .data, which counts no version.
                if tensor in registered or tensor._version != version:
                    tensor.copy_(value)
