"""How far a result may lie from its float64 reference.

Errors are measured against float64, never against torch's result in the same dtype: a kernel more
accurate than torch's must pass. ``magnitude`` is the same computation on absolute values,
``|x| conv |w|`` for a convolution: what rounding errors are proportional to.

In the maximum norm:

==================  ==========================================================
float32, IEEE       ``2 max|strict torch - ref| + 4 eps max(magnitude)``
float32, default    ``2^-15 max(magnitude)``
float16, bfloat16   ``2 max|torch - ref| + 1 ulp of max|ref|``
float64             ``4 eps max(magnitude)``
==================  ==========================================================

Element-wise ops are held to each element's own magnitude instead.
"""

from __future__ import annotations

import torch

from kernelopt import Precision


def _finite_max(tensor: torch.Tensor) -> float:
    finite = tensor[tensor.isfinite()]
    return finite.abs().max().item() if finite.numel() else 0.0


def max_norm_limit(
    dtype: torch.dtype,
    reference: torch.Tensor,
    torch_result: torch.Tensor,
    magnitude: torch.Tensor,
    precision: Precision = Precision.IEEE,
) -> float:
    """The largest accepted ``|result - reference|``; all three tensors in float64."""
    info = torch.finfo(dtype)
    torch_error = _finite_max(torch_result - reference)
    scale = _finite_max(magnitude)
    if dtype == torch.float64:
        limit = 4 * info.eps * scale
    elif dtype == torch.float32 and precision == Precision.DEFAULT:
        limit = 2.0**-15 * scale
    elif dtype == torch.float32:
        limit = 2 * torch_error + 4 * info.eps * scale
    else:
        limit = 2 * torch_error + info.eps * _finite_max(reference)
    return max(limit, info.smallest_normal * info.eps)


def elementwise_limit(
    dtype: torch.dtype, reference: torch.Tensor, magnitude: torch.Tensor
) -> torch.Tensor:
    """The largest accepted ``|result - reference|`` of each element: one rounding to ``dtype``
    beside the error of arithmetic in the accumulate type."""
    info = torch.finfo(dtype)
    arithmetic = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    limit = info.eps * reference.abs() + 4 * arithmetic * magnitude
    return limit + info.smallest_normal * info.eps


def check_close(
    what: str,
    result: torch.Tensor,
    reference: torch.Tensor,
    limit: float | torch.Tensor,
) -> None:
    """Raises AssertionError where a result leaves its limit, or places NaN or Inf elsewhere.

    ``reference`` is float64; a value beyond ``result``'s dtype counts as Inf in it. The two are
    compared where the reference is.
    """
    assert result.shape == reference.shape, f"{what}: shape {result.shape} != {reference.shape}"
    actual = result.detach().to(reference.device).double()
    expected = reference.detach().to(result.dtype).double()
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    finite = actual.isfinite() & expected.isfinite()
    misplaced = ~finite & ~same
    # A finite value within its limit of the largest one may round to Inf.
    edge = torch.finfo(result.dtype).max * (1 - 4 * torch.finfo(result.dtype).eps)
    misplaced &= ~((actual.abs() >= edge) & (reference.abs() >= edge))
    assert not misplaced.any(), _first(what, "NaN or Inf", actual, expected, misplaced)
    error = torch.where(finite, (actual - reference).abs(), 0.0)
    wrong = error > limit
    assert not wrong.any(), _first(what, f"limit {_text(limit, wrong)}", actual, reference, wrong)


def _text(limit: float | torch.Tensor, where: torch.Tensor) -> str:
    value = limit if isinstance(limit, float) else limit.expand(where.shape)[where][0].item()
    return f"{value:.3g}"


def _first(
    what: str, why: str, actual: torch.Tensor, expected: torch.Tensor, where: torch.Tensor
) -> str:
    place = where.nonzero()[0].tolist()
    return (
        f"{what}: {int(where.sum())} of {where.numel()} elements wrong ({why}); first at {place}: "
        f"{actual[where][0].item()!r}, expected {expected[where][0].item()!r}"
    )
