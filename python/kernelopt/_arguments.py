"""From the argument forms torch accepts to those of the op schemas, with torch's error types."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ._enums import Activation

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


# Looked up once: `served` is host time of every call.
_Tensor, _Parameter, _strided = torch.Tensor, torch.nn.Parameter, torch.strided
_MaskedTensor = torch.masked.MaskedTensor


def served(*tensors: torch.Tensor | None) -> bool:
    """Whether kernelopt's ops take these tensors; other tensors go to torch's function."""
    for tensor in tensors:
        if tensor is None:
            continue
        if not (
            tensor.dtype in FLOATING
            and (tensor.is_cuda or tensor.is_cpu or tensor.is_meta)
            and tensor.layout is _strided
            and not tensor.is_nested
        ):
            return False
        kind = type(tensor)
        if kind is _Tensor or kind is _Parameter:
            continue
        # Tensors made of tensors, such as DTensor, know torch's operators alone.
        if hasattr(kind, "__tensor_flatten__") or issubclass(kind, _MaskedTensor):
            return False
    return True


def check_tensor(function: str, name: str, value: object) -> None:
    """Raises TypeError, as torch's functions do, where an argument is not a tensor."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(
            f"kernelopt.{function}(): expected {name} to be a Tensor, got {type(value).__name__}"
        )


def check_optional_tensor(function: str, name: str, value: object) -> None:
    if value is not None:
        check_tensor(function, name, value)


def _as_int(value: object) -> int | None:
    """An int, a SymInt, or what stands for an int (numpy's, a tensor of one element), else None."""
    if type(value) is int or isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _check_range(function: str, name: str, value: int) -> int:
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ValueError(f"kernelopt.{function}(): expected {name} to fit 64 bits, got {value}")
    return value


def int_value(function: str, name: str, value: object) -> int:
    """An int argument."""
    number = _as_int(value)
    if number is None:
        raise TypeError(f"kernelopt.{function}(): expected {name} to be an int, got {value!r}")
    return _check_range(function, name, number)


def int_list(function: str, name: str, value: object, count: int) -> list[int]:
    """An int, or a sequence of one or ``count`` ints, as a list of ``count`` ints."""
    # The common forms first, for this is host time of every call.
    if type(value) is int:
        return [_check_range(function, name, value)] * count
    if (type(value) is tuple or type(value) is list) and len(value) == count:
        for item in value:
            if type(item) is not int or not -(2**63) <= item < 2**63:
                break
        else:
            return list(value)
    number = _as_int(value)
    if number is not None:
        return [_check_range(function, name, number)] * count
    items = [_as_int(item) for item in value] if isinstance(value, (tuple, list)) else [None]
    if any(item is None for item in items):
        raise TypeError(
            f"kernelopt.{function}(): expected {name} to be an int or a tuple of {count} ints, "
            f"got {value!r}"
        )
    if len(items) == 1:
        items *= count
    if len(items) != count:
        raise RuntimeError(
            f"kernelopt.{function}(): expected {name} to be an int or a tuple of {count} ints, "
            f"got {value!r}"
        )
    return [_check_range(function, name, item) for item in items]  # type: ignore[arg-type]


def check_ranks(
    function: str, input: torch.Tensor, weight: torch.Tensor, count: int, name: str = "weight"
) -> None:
    """``input`` with or without a batch and ``weight``, for ``count`` spatial dimensions."""
    if input.dim() not in (count + 1, count + 2):
        raise RuntimeError(
            f"kernelopt.{function}(): expected input to have {count + 1} dimensions (unbatched) or "
            f"{count + 2} (batched), got shape {list(input.shape)}"
        )
    if weight.dim() != count + 2:
        raise RuntimeError(
            f"kernelopt.{function}(): expected {name} to have {count + 2} dimensions, got shape "
            f"{list(weight.shape)}"
        )


def resolve_padding(
    function: str,
    input: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: object,
    dilation: Sequence[int],
) -> tuple[torch.Tensor, list[int]]:
    """The padding as ints. Where "same" needs one more element on the right than on the left, as in
    torch, the input comes back padded by it."""
    count = len(stride)
    if not isinstance(padding, str):
        return input, int_list(function, "padding", padding, count)
    if padding == "valid":
        return input, [0] * count
    if padding != "same":
        raise RuntimeError(
            f"kernelopt.{function}(): expected padding to be ints, 'same' or 'valid', got "
            f"{padding!r}"
        )
    if any(step != 1 for step in stride):
        raise RuntimeError(
            f"kernelopt.{function}(): expected stride 1 with padding='same', got {list(stride)}"
        )
    # While torch.jit traces, sizes are tensors.
    sizes = int_list(function, "the kernel's size", tuple(weight.shape[2:]), count)
    totals = [d * (k - 1) for d, k in zip(dilation, sizes, strict=True)]
    if any(total % 2 for total in totals):
        right = [side for total in reversed(totals) for side in (0, total % 2)]
        input = F.pad(input, right)
    return input, [total // 2 for total in totals]


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
    if value is None:
        return 0
    if isinstance(value, Activation):
        return int(value)
    if not isinstance(value, str) or value not in _ACTIVATION_NAMES:
        names = ", ".join(repr(known) for known in _ACTIVATION_NAMES)
        raise (ValueError if isinstance(value, str) else TypeError)(
            f"kernelopt.{function}(): expected {name} to be one of {names}, got {value!r}"
        )
    return int(_ACTIVATION_NAMES[value])
