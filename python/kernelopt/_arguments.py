"""From the argument forms torch accepts to those of the op schemas, with torch's error types."""

from __future__ import annotations

import torch

from ._enums import Activation


def check_tensor(function: str, name: str, value: object) -> None:
    """Raises TypeError, as torch's functions do, where an argument is not a tensor."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(
            f"kernelopt.{function}(): expected {name} to be a Tensor, got {type(value).__name__}"
        )


def check_optional_tensor(function: str, name: str, value: object) -> None:
    if value is not None:
        check_tensor(function, name, value)


def int_list(function: str, name: str, value: object, count: int) -> list[int]:
    """An int, or a sequence of one or ``count`` ints, as a list of ``count`` ints."""
    if isinstance(value, (int, torch.SymInt)) and not isinstance(value, bool):
        return [value] * count  # type: ignore[list-item]
    if not isinstance(value, (tuple, list, torch.Size)) or not all(
        isinstance(item, (int, torch.SymInt)) and not isinstance(item, bool) for item in value
    ):
        raise TypeError(
            f"kernelopt.{function}(): expected {name} to be an int or a tuple of {count} ints, "
            f"got {value!r}"
        )
    items = list(value)
    if len(items) == 1:
        items *= count
    if len(items) != count:
        raise RuntimeError(
            f"kernelopt.{function}(): expected {name} to be an int or a tuple of {count} ints, "
            f"got {value!r}"
        )
    return items


_ACTIVATION_NAMES = {
    None: Activation.NONE,
    "none": Activation.NONE,
    "relu": Activation.RELU,
    "gelu": Activation.GELU,
    "gelu_tanh": Activation.GELU_TANH,
    "silu": Activation.SILU,
}


def activation_code(function: str, name: str, value: str | Activation | None) -> int:
    """The number of an activation given by name ("relu", None, ...) or as an Activation."""
    if isinstance(value, Activation):
        return int(value)
    if value not in _ACTIVATION_NAMES:
        names = ", ".join(repr(known) for known in _ACTIVATION_NAMES)
        raise ValueError(
            f"kernelopt.{function}(): expected {name} to be one of {names}, got {value!r}"
        )
    return int(_ACTIVATION_NAMES[value])
