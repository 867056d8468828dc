"""Checks a mapped model against its original: which inputs, and what is done about each."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from .compare import (
    Comparison,
    compare_outcomes,
    is_comparable,
    is_finite,
    largest_errors,
    rounding_unit,
)
from .evaluate import NoGradient, Outcome, draws_random_numbers, evaluate
from .problem import Problem, ProblemError, one_line
from .reference import Reference, is_out_of_memory, release
from .values import cast, is_float8, lowest_precision, map_tensors, tensors_in, widened

# Other inputs made from the file's: small and large ones, and both signs.
VARIANTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "x 0.01": lambda x: x * 0.01,
    "x 100": lambda x: x * 100,
    "negated": torch.neg,
    "centered": lambda x: (widened(x) - widened(x).mean()).to(x.dtype),
}
_PERTURBED_RUNS = 8
NOT_ASKED_FOR = "not asked for"
COMPILED, COMPILED_KERNELOPT = "torch.compile", "torch.compile, kernelopt"


def _if_floating(
    change: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor
) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    if is_float8(tensor.dtype):
        return change(tensor.float()).to(tensor.dtype)
    return change(tensor)


def _leave_train_mode(model: nn.Module) -> None:
    """Puts a model in eval mode, all but the recurrent layers in train mode that do not drop out:
    the mode makes no difference to their results, and cuDNN differentiates them in train mode
    only."""
    recurrent = [
        module
        for module in model.modules()
        if isinstance(module, nn.RNNBase) and module.training and not module.dropout
    ]
    model.eval()
    for module in recurrent:
        module.train()


class _Dtypes(TorchDispatchMode):
    """Takes down the dtypes of all results while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.dtypes |= {tensor.dtype for tensor in tensors_in(result)}
        return result


@dataclass
class CheckReport:
    """What was checked and how it came out.

    Attributes:
        comparisons: every tensor of every case.
        skipped: cases, and outputs, left out, each with the reason.
        mode: "train" or "eval", and mode_reason why.
        backward_skipped: why gradients were not checked; empty where they were.
        changes_inputs: the model writes to its inputs.
    """

    comparisons: list[Comparison] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    mode: str = "train"
    mode_reason: str = "as constructed"
    backward_skipped: str = ""
    changes_inputs: bool = False

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.comparisons)


@dataclass
class Case:
    name: str
    seed: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    backward: bool
    is_variant: bool = False


class Checker:
    """Runs the cases of one problem.

    Args:
        problem: the file.
        models: all on ``device``: "original", "kernelopt" and, with ``--compile``, COMPILED (the
            original under ``torch.compile``) and COMPILED_KERNELOPT (the same with kernelopt's
            backend). The first is what "kernelopt" and COMPILED_KERNELOPT are compared with.
        reference: where float64 results come from.
        device, dtype: where inputs go; a dtype of None leaves them theirs.
        backward: whether gradients are checked.
        split_products: see :func:`rounding_unit`.
    """

    def __init__(
        self,
        problem: Problem,
        models: dict[str, nn.Module],
        reference: Reference,
        device: torch.device,
        dtype: torch.dtype | None,
        backward: bool,
        split_products: bool,
    ) -> None:
        self.problem, self.models, self.original = problem, models, models["original"]
        self.reference, self.device, self.dtype = reference, device, dtype
        self.split_products = split_products
        self.report = CheckReport(mode="train" if self.original.training else "eval")
        self.backward = backward
        if not backward:
            self.report.backward_skipped = NOT_ASKED_FOR

    def inputs(self, seed: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The file's inputs, on the device and in the dtype."""
        return map_tensors(
            lambda tensor: cast(tensor, self.device, self.dtype), self.problem.inputs(seed)
        )

    def settle_randomness(self) -> None:
        """Picks a mode, and a reference, in which two models can be compared.

        Raises:
            ProblemError: the original's forward raises.
        """
        args, kwargs = self.inputs(0)
        if not self._is_random(args, kwargs):
            return
        if any(module.training for module in self.original.modules()):
            for model in self.models.values():
                _leave_train_mode(model)
            self.report.mode = "eval"
            self.report.mode_reason = "in train mode the forward pass draws random numbers"
        if self._is_random(args, kwargs):
            self.reference.use_original("the forward pass draws random numbers in eval mode too")

    def _is_random(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        try:
            return draws_random_numbers(self.original, args, kwargs, self.dtype)
        except Exception as error:
            dtype = str(self.dtype).removeprefix("torch.")
            where = f" ({self.device}, {dtype})" if self.dtype else ""
            raise ProblemError(f"the original's forward raised {one_line(error)}{where}") from error

    def cases(self, seeds: int) -> Iterator[Case]:
        """The file's own inputs, then the variants of its first inputs, then further seeds."""
        args, kwargs = self.inputs(0)
        yield Case("seed 0", 0, args, kwargs, self.backward)
        if self.backward:
            yield Case("seed 0, no_grad", 0, args, kwargs, False)
        if any(tensor.is_floating_point() for tensor in tensors_in((args, kwargs))):
            for name, change in VARIANTS.items():
                change = functools.partial(_if_floating, change)
                try:
                    changed = map_tensors(change, args), map_tensors(change, kwargs)
                except Exception as error:
                    self.report.skipped.append((name, f"the change raised {one_line(error)}"))
                    continue
                yield Case(name, 0, *changed, self.backward, is_variant=True)
        for seed in range(1, seeds):
            yield Case(f"seed {seed}", seed, *self.inputs(seed), self.backward)

    def run(self, seeds: int, seconds: float) -> CheckReport:
        """Checks case by case; those not begun after some seconds are left out, and listed."""
        self.settle_randomness()
        end = time.monotonic() + seconds
        for case in self.cases(seeds):
            if self.report.comparisons and time.monotonic() > end:
                reason = f"{seconds:g} seconds had passed (--check-seconds)"
                self.report.skipped.append((case.name, reason))
                continue
            self._check(case)
        return self.report

    def _evaluate(self, model: nn.Module, case: Case, cotangents=None) -> Outcome:
        return evaluate(
            model,
            case.args,
            case.kwargs,
            seed=case.seed,
            backward=case.backward,
            dtype=self.dtype,
            cotangents=cotangents,
        )

    def _evaluate_original(self, case: Case) -> Outcome:
        """Where its backward pass does not run, its forward pass alone, from then on."""
        if case.backward and self.backward:
            try:
                return self._evaluate(self.original, case)
            except NoGradient as error:
                reason = str(error)
            except Exception as error:
                if case.is_variant:
                    raise
                reason = f"the original's backward raised {one_line(error)}"
            release(self.device)
            self.backward = False
            self.report.backward_skipped = reason
        case.backward = False
        return self._evaluate(self.original, case)

    def _check(self, case: Case) -> None:
        try:
            original = self._evaluate_original(case)
        except Exception as error:
            if not case.is_variant:
                raise ProblemError(
                    f"the original raised {one_line(error)} ({case.name})"
                ) from error
            self.report.skipped.append((case.name, f"the original raised {one_line(error)}"))
            return
        if case.is_variant and not is_finite(original):
            self.report.skipped.append((case.name, "the original's result is not finite"))
            return
        if not any(name.startswith("output") for name in original.results):
            raise ProblemError("the forward pass returns no tensor")
        for name, value in original.others.items():
            skipped = (name, f"a {type(value).__name__} is not compared")
            if not is_comparable(value) and skipped not in self.report.skipped:
                self.report.skipped.append(skipped)
        if any(name.startswith("input") for name in original.results):
            self.report.changes_inputs = True
        reference = self.reference.evaluate(
            self.original, case.args, case.kwargs, original, case.seed
        )
        tensors = [*tensors_in((case.args, case.kwargs)), *self.original.parameters()]
        dtypes = {tensor.dtype for tensor in tensors}
        if reference is original:  # no float64 result has the rounding of autocast, of x.half()
            dtypes |= self._computed_dtypes(case)
        dtype = lowest_precision(dtypes, torch.get_default_dtype())
        unit = rounding_unit(dtype, self.device, self.split_products)

        @functools.cache
        def spread() -> dict[str, float]:
            return self._spread(case, original, reference, unit)

        compiled = self._evaluate_compiled(case, original)
        for path in ("kernelopt", COMPILED_KERNELOPT):
            if path not in self.models or (path == COMPILED_KERNELOPT and compiled is None):
                continue
            try:
                ours = None
                with contextlib.suppress(torch.OutOfMemoryError):
                    ours = self._evaluate(self.models[path], case, original.cotangents or None)
                if ours is None:  # the reference may be what fills the memory
                    reference = reference.on_cpu()
                    release(self.device)
                    ours = self._evaluate(self.models[path], case, original.cotangents or None)
            except Exception as error:
                note = f"raised {one_line(error)}"
                row = Comparison(case.name, path, "the call", ok=False, note=note)
                self.report.comparisons.append(row)
                continue
            baseline = compiled if path == COMPILED_KERNELOPT else None
            self.report.comparisons += compare_outcomes(
                case.name, path, ours, original, reference, unit, spread, baseline
            )

    def _computed_dtypes(self, case: Case) -> set[torch.dtype]:
        """The dtypes of everything that the original computes in a forward pass."""
        seen = _Dtypes()
        with contextlib.suppress(Exception), seen:
            self._evaluate(self.original, replace(case, backward=False))
        return seen.dtypes

    def _evaluate_compiled(self, case: Case, original: Outcome) -> Outcome | None:
        """The original under torch.compile: Inductor rounds in its own way, with kernelopt or
        without. Where it does not run at all, nothing is asked of it with kernelopt."""
        if COMPILED not in self.models:
            return None
        try:
            return self._evaluate(self.models[COMPILED], case, original.cotangents or None)
        except Exception as error:
            reason = f"torch.compile alone raised {one_line(error)}"
            self.report.skipped.append((f"{case.name} ({COMPILED_KERNELOPT})", reason))
            return None

    def _spread(
        self, case: Case, original: Outcome, reference: Outcome, unit: float
    ) -> dict[str, float]:
        """The original's largest errors over runs whose inputs and parameters are off by up to
        ``unit``: what rounding alone may do (a ReLU or a maximum on its edge turns over)."""
        generator = torch.Generator(self.device)

        def with_noise(tensor: torch.Tensor) -> torch.Tensor:
            noise = torch.rand(tensor.shape, generator=generator, device=tensor.device)
            return (tensor * (1 + unit * (2 * noise.double() - 1))).to(tensor.dtype)

        moved = functools.partial(_if_floating, with_noise)
        exact, given = reference.everything(), original.everything()
        worst: dict[str, float] = {}
        parameters = list(self.original.parameters())
        saved = [parameter.detach().clone() for parameter in parameters]
        try:
            for run in range(_PERTURBED_RUNS):
                generator.manual_seed(run)
                with torch.no_grad():
                    for parameter, before in zip(parameters, saved, strict=True):
                        parameter.copy_(moved(before))
                args, kwargs = map_tensors(moved, (case.args, case.kwargs))
                shifted = replace(case, args=args, kwargs=kwargs)
                outcome = self._evaluate(self.original, shifted, original.cotangents or None)
                for name, value in outcome.everything().items():
                    base = given[name]
                    if value is None or base is None or value.shape != base.shape:
                        continue
                    best = exact.get(name)
                    error = largest_errors(value, base, base if best is None else best)[0]
                    if math.isfinite(error):
                        worst[name] = max(worst.get(name, 0.0), error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        finally:
            with torch.no_grad():
                for parameter, before in zip(parameters, saved, strict=True):
                    parameter.copy_(before)
        return worst
