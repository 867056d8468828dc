"""Everything ``kernelopt run`` does with one problem file."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..mapping import optimize, report
from ..mapping.backend import register
from .check import COMPILED, COMPILED_KERNELOPT, Checker, CheckReport
from .evaluate import builds_layers, default_dtype
from .problem import Problem, ProblemError, load, one_line, own_code
from .reference import Reference, release
from .timing import Timing, forward_step, measure, training_step
from .values import cast, map_tensors, move_model


def solve(path: str, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """The result of one file, as ``--json`` writes it.

    Raises:
        ProblemError: the file is not of the form, or its own code raises.
    """
    dtype = getattr(torch, options.dtype) if options.dtype else None
    hears = options.verbose or options.compile or "TORCH_LOGS" in os.environ
    with load(Path(path)) as problem, contextlib.nullcontext() if hears else _dynamo_is_quiet():
        return _Solver(problem, path, device, dtype, options).result()


@contextlib.contextmanager
def _dynamo_is_quiet() -> Iterator[None]:
    """Without what Dynamo says to those who compile their models: of graph breaks, which cost the
    graph layer nothing, and of what it does not trace. The report tells what became of the model.
    """
    logger = logging.getLogger("torch._dynamo")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch\._dynamo")
            yield
    finally:
        logger.setLevel(level)


class _Solver:
    def __init__(
        self,
        problem: Problem,
        path: str,
        device: torch.device,
        dtype: torch.dtype | None,
        options: argparse.Namespace,
    ) -> None:
        self.problem, self.path, self.device, self.dtype = problem, path, device, dtype
        self.options = options

    def _fresh_model(self) -> nn.Module:
        with own_code(f"moving the model to {self.device} raised"):
            return move_model(self.problem.duplicate(), self.device, self.dtype)

    def _builds_layers(self, model: nn.Module) -> bool:
        args, kwargs = map_tensors(
            lambda tensor: cast(tensor, self.device, self.dtype), self.problem.inputs(0)
        )
        try:
            return builds_layers(model, args, kwargs, self.dtype)
        except Exception:  # the checks run into it again, and say where
            release(self.device)
            return False

    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = {"file": self.path, "status": "ok", "message": ""}
        original = self._fresh_model()
        if self._builds_layers(original):
            with contextlib.suppress(ProblemError):
                self.problem.materialize()
            original = self._fresh_model()
        try:
            mapped = optimize(self._fresh_model())
        except Exception as error:
            return {**result, "status": "differs", "message": f"optimize raised {one_line(error)}"}
        same_keys = original.state_dict().keys() == mapped.state_dict().keys()
        models = {"original": original, "kernelopt": mapped}
        if self.options.compile:
            register()  # a source tree has no entry point that would
            models[COMPILED], models[COMPILED_KERNELOPT] = self._fresh_model(), self._fresh_model()
            models[COMPILED].compile()
            models[COMPILED_KERNELOPT].compile(backend="kernelopt")
        reference = Reference(self.problem.duplicate, self.device, self.dtype)
        checker = Checker(
            self.problem,
            models,
            reference,
            self.device,
            self.dtype,
            backward=not self.options.no_backward,
            split_products=_splits_products(),
        )
        checked = checker.run(self.options.seeds, self.options.check_seconds)
        mapping = report(mapped).to_dict()  # complete now that graphs were traced by calls
        replaced = mapping["replaced"] + mapping["fused"]
        if not same_keys:
            result.update(status="differs", message="the mapped model's state_dict keys differ")
        elif not checked.ok:
            result.update(status="differs", message="a result differs from the original")
        elif self.options.require_replaced and not replaced:
            result.update(status="not_replaced", message="nothing was replaced")
        result.update(
            dtype=str(self.dtype or "as in the file").removeprefix("torch."),
            mode=checked.mode,
            mode_reason=checked.mode_reason,
            reference=reference.place,
            reference_reason=reference.reason,
            backward_skipped=checked.backward_skipped,
            mapping=mapping,
            comparisons=[asdict(row) for row in checked.comparisons],
            skipped=[{"case": case, "reason": reason} for case, reason in checked.skipped],
        )
        result["times"] = self._times(models, checker, checked)
        return result

    def _times(
        self, models: dict[str, nn.Module], checker: Checker, checked: CheckReport
    ) -> list[dict[str, Any]]:
        args, kwargs = checker.inputs(0)
        passes: dict[str, Callable[..., Callable[[], Any]]] = {"forward": forward_step}
        if not checked.backward_skipped:
            passes["forward+backward"] = training_step
        rows: list[dict[str, Any]] = []
        for name, make_step in passes.items():
            steps, errors = {}, {}
            with default_dtype(self.dtype):
                for label, model in models.items():
                    try:
                        steps[label] = make_step(model, args, kwargs, checked.changes_inputs)
                        steps[label]()
                    except Exception as error:
                        steps.pop(label, None)
                        errors[label] = one_line(error)
                        release(self.device)
                timings = self._measure(steps, errors)
            for label in models:
                row = asdict(timings[label]) if label in timings else {"error": errors[label]}
                rows.append({"pass": name, "model": label, **row})
            del steps
        return rows

    def _measure(
        self, steps: dict[str, Callable[[], Any]], errors: dict[str, str]
    ) -> dict[str, Timing]:
        """Times of the models that can be called again and again; ``errors`` gains the others'."""
        try:
            return measure(steps, self.device)
        except Exception:
            release(self.device)
        timings: dict[str, Timing] = {}
        for label, step in steps.items():  # without turns, which tells whose error it is
            try:
                timings |= measure({label: step}, self.device)
            except Exception as error:
                errors[label] = one_line(error)
                release(self.device)
        return timings


def _splits_products() -> bool:
    """Whether float32 convolutions on a GPU run in kernelopt's default precision."""
    from .. import Precision
    from ..ops._convolution import current_precision

    return current_precision() == Precision.DEFAULT
