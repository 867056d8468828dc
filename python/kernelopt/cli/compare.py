"""The rule by which a mapped model's results are judged. docs/cli.md states it for users."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .evaluate import Outcome
from .values import dense, is_inexact, widened

_CHUNK = 1 << 24  # elements compared at once
_DOUBTFUL = 0.01


@dataclass
class Comparison:
    """One tensor of one case. Errors are the largest absolute differences from the reference, NaN
    where there was nothing to measure.

    Attributes:
        case: which inputs.
        path: "kernelopt" (``optimize``) or "torch.compile, kernelopt" (its backend).
        quantity: what was compared.
        error_original: of the original; after the second look, the largest among its runs.
        error_kernelopt: of the mapped model.
        bound: what error_kernelopt may be.
        scale: the largest magnitude in the reference; errors are shown relative to it.
        ok: whether it is within the bound.
        note: what is wrong, or why the bound is what it is.
        doubtful: the original's own error is more than a hundredth of the scale: to agree with it
            says little.
    """

    case: str
    path: str
    quantity: str
    error_original: float = math.nan
    error_kernelopt: float = math.nan
    bound: float = math.nan
    scale: float = math.nan
    ok: bool = True
    note: str = ""
    doubtful: bool = False


def rounding_unit(dtype: torch.dtype, device: torch.device, split_products: bool) -> float:
    """The relative error that a result may have whatever the original's is.

    Args:
        dtype: the lowest precision in the computation.
        device: where it runs.
        split_products: whether float32 convolutions run there in kernelopt's default precision.
    """
    if dtype == torch.float32 and device.type == "cuda" and split_products:
        return 2.0**-15
    if dtype in (torch.float32, torch.float64):
        return 4 * torch.finfo(dtype).eps
    return torch.finfo(dtype).eps


def _pieces(*tensors: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """The same elements of several tensors, widened, on the first one's device."""
    flat = [dense(tensor).reshape(-1) for tensor in tensors]
    for start in range(0, max(1, flat[0].numel()), _CHUNK):
        yield [widened(part[start : start + _CHUNK].to(flat[0].device)) for part in flat]


def largest_errors(
    ours: torch.Tensor, original: torch.Tensor, reference: torch.Tensor
) -> tuple[float, float, float]:
    """Errors of ours and of the original, and the reference's magnitude.

    Where the reference is finite and the original is not (an overflow of a narrow dtype), nothing
    is asked. Where neither is finite, ours must be the NaN or infinity of one of them; where both
    are finite, ours must be finite: its error is infinite otherwise.
    """
    ours_error = original_error = scale = 0.0
    for x, y, r in _pieces(ours, original, reference):
        if r.numel() == 0:
            continue
        finite = torch.isfinite(r) & torch.isfinite(y)
        zero = torch.zeros((), dtype=torch.float64, device=r.device)
        x_error = torch.where(finite, (x - r).abs(), zero)
        x_error = torch.where(x_error.isnan(), math.inf, x_error)
        special = ~torch.isfinite(r) & ~torch.isfinite(y)
        # They may differ: torch's GELU of infinity is NaN in float32 on a CPU.
        alike = (x == y) | (x == r) | (x.isnan() & (y.isnan() | r.isnan()))
        x_error = torch.where(special & ~alike, math.inf, x_error)
        ours_error = max(ours_error, x_error.max().item())
        original_error = max(original_error, torch.where(finite, (y - r).abs(), zero).max().item())
        scale = max(scale, torch.where(finite, r.abs(), zero).max().item())
    return ours_error, original_error, scale


def is_finite(outcome: Outcome) -> bool:
    return all(
        bool(torch.isfinite(dense(value)).all())
        for value in outcome.everything().values()
        if value is not None
    )


def _described(value: torch.Tensor | None) -> str:
    if value is None:
        return "None"
    return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device.type}"


def _scale_group(quantity: str) -> str:
    """The parameters' gradients of one module share a scale, and so do its buffers: what is zero
    but for rounding (the gradient of a bias before a batch normalization, a running mean of
    normalized values) is measured by its neighbours."""
    kind = quantity.split(" ", 1)[0]
    if kind not in ("gradient", "buffer") or quantity.startswith("gradient of input["):
        return quantity
    module, dot, _ = quantity.rpartition(".")
    return module if dot else kind


def compare_outcomes(
    case: str,
    path: str,
    ours: Outcome,
    original: Outcome,
    reference: Outcome,
    unit: float,
    spread: Callable[[], dict[str, float]],
    compiled: Outcome | None = None,
) -> list[Comparison]:
    """Compares every tensor of two outcomes.

    Args:
        case, path: labels.
        ours, original, reference: the mapped model's, the original's and the float64 outcome.
        unit: of :func:`rounding_unit`.
        spread: the original's largest error by quantity when its inputs and parameters change by
            ``unit``; asked for only where something is out of bounds.
        compiled: what ``torch.compile`` makes of the original; the original's error is then the
            larger of the two.
    """
    rows = list(_compare_others(case, path, ours.others, original.others))
    mine, theirs, exact = ours.everything(), original.everything(), reference.everything()
    for name in sorted(mine.keys() - theirs.keys()):
        rows.append(Comparison(case, path, name, ok=False, note="the original has no such result"))
    measured: list[Comparison] = []
    for name, expected in theirs.items():
        row = Comparison(case, path, name)
        got = mine.get(name)
        if expected is None or got is None:
            present = got if expected is None else expected
            row.ok = present is None or not dense(present).count_nonzero()
            row.note = "" if row.ok else f"expected {_described(expected)}, got {_described(got)}"
            rows.append(row)
            continue
        if (got.shape, got.dtype, got.device) != (expected.shape, expected.dtype, expected.device):
            row.ok, row.note = False, f"expected {_described(expected)}, got {_described(got)}"
            rows.append(row)
            continue
        best = exact.get(name)
        best = expected if best is None or best.shape != expected.shape else best
        errors = largest_errors(got, expected, best)
        row.error_kernelopt, row.error_original, row.scale = errors
        other = compiled.everything().get(name) if compiled else None
        if other is not None and other.shape == expected.shape:
            error = largest_errors(other, expected, best)[0]
            row.error_original = max(row.error_original, error if math.isfinite(error) else 0.0)
        measured.append(row)
    _judge(measured, theirs, unit, spread)
    return rows + measured


def _judge(
    rows: list[Comparison],
    tensors: dict[str, torch.Tensor | None],
    unit: float,
    spread: Callable[[], dict[str, float]],
) -> None:
    scales: dict[str, float] = {}
    for row in rows:
        tensor = tensors[row.quantity]
        if tensor is not None and tensor.is_floating_point():
            group = _scale_group(row.quantity)
            scales[group] = max(scales.get(group, 0.0), row.scale)
    for row in rows:
        tensor = tensors[row.quantity]
        assert tensor is not None
        if tensor.is_floating_point():
            row.scale = scales[_scale_group(row.quantity)]
        floor = unit * row.scale
        if tensor.is_floating_point():  # and one step at the dtype's lower end
            info = torch.finfo(tensor.dtype)
            floor += info.smallest_normal * info.eps
        elif not tensor.is_complex():
            floor = 0.0
        row.doubtful = is_inexact(tensor) and row.error_original > _DOUBTFUL * row.scale
        row.bound = 2 * row.error_original + floor
        row.ok = row.error_kernelopt <= row.bound
        if not row.ok and math.isfinite(row.error_kernelopt):
            row.error_original = max(row.error_original, spread().get(row.quantity, 0.0))
            row.bound = 2 * row.error_original + floor
            row.ok = row.error_kernelopt <= row.bound
            if row.ok:
                row.note = "the original moves as far when its inputs change by a rounding error"
        if not row.ok:
            row.note = "differs" if math.isfinite(row.error_kernelopt) else "not finite"


def is_comparable(value: Any) -> bool:
    """Whether an output value that is no tensor is compared: a number, a string, None."""
    return isinstance(value, (int, str, bytes, type(None), torch.dtype, torch.device))


def _compare_others(
    case: str, path: str, ours: dict[str, Any], original: dict[str, Any]
) -> Iterator[Comparison]:
    """Output values that are no tensors must be equal, as far as they are comparable."""
    for name, expected in original.items():
        if not is_comparable(expected):
            continue
        got = ours.get(name)
        if type(got) is not type(expected) or got != expected:
            note = f"expected {expected!r}, got {got!r}"
            yield Comparison(case, path, name, ok=False, note=note)
