"""``optimize``, ``restore`` and ``report``: mapping a whole model, and taking it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from .graph import GraphLayer
from .modules import ModulePlan, Sequential, plan_modules
from .reporting import NOT_OPTIMIZED, Entry, Report

Model = TypeVar("Model", bound=nn.Module)
Selection = str | Sequence[str] | Callable[[str, nn.Module], bool]

_ATTRIBUTE = "_kernelopt_mapping"


class _Mapping:
    """What was done to a model. It lives in the model's ``__dict__``, so copies and pickles of the
    model carry it, and bring their own graph layer back with it."""

    def __init__(self, model: nn.Module, report: Report):
        self.model = model
        self.report = report
        self.changed: list[tuple[nn.Module, type[nn.Module], type[nn.Module]]] = []
        self.names: frozenset[str] | None = None
        self.strict = False
        self.has_graph = False

    def attach_graph(self) -> None:
        self.has_graph = True
        selected = None if self.names is None else self.names.__contains__
        layer = GraphLayer(self.model, self.report, selected, self.strict)
        layer.backend.of_graph_module = isinstance(self.model, torch.fx.GraphModule)
        # Not by setattr: while a copy is being made, the model has no attributes yet.
        self.model.__dict__["_compiled_call_impl"] = layer
        if _has_own_call(self.model) and not layer.backend.of_graph_module:
            self.report.graph = "waits for a call of nn.Module's: the model's __call__ is its own"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.has_graph:
            self.report.operations.clear()
            self.attach_graph()


def optimize(
    model: Model,
    *,
    graph: bool = True,
    only: Selection | None = None,
    strict: bool = False,
) -> Model:
    """Maps a model onto kernelopt's ops, in place.

    Modules of exactly torch's classes (``nn.Conv1d``, ``nn.ConvTranspose1d``, depthwise and 1x1
    ``nn.Conv2d``, ``nn.GELU``) become kernelopt's, neighbours in ``nn.Sequential`` run as one op,
    and what only ``forward`` shows (``a + b``, ``F.gelu(self.conv(x))``, a GELU written out, two
    convolutions held as attributes) is rewritten in the graphs that Dynamo captures from the first
    call on. Nothing is compiled: torch runs the graphs operation by operation. Modules stay the
    same objects with the same parameters, hooks, and state_dict keys; a subclass, or whatever
    kernelopt has no op for, runs as it was. :func:`kernelopt.report` tells what became of each
    part, and :func:`kernelopt.restore` undoes it all. To optimize a model once more begins anew.

    Args:
        model: any module, in training or in eval mode, on any device.
        graph: whether to rewrite graphs as well. Switch it off for models that are wrapped in
            ``nn.DataParallel``.
        only: which modules to change: a glob pattern on their names ("encoder.*"), several
            patterns, or a function of name and module. The model's own name is "". Default all.
        strict: raise Dynamo's errors. By default a model on which Dynamo fails runs as it was, and
            the report says so.

    Returns:
        ``model``.

    Raises:
        TypeError: ``model`` is not a module, or ``only`` of a wrong type.
    """
    _check_module("optimize", model)
    restore(model)
    mapping = _Mapping(model, Report(_class_name(model)))
    mapping.names = None if only is None else _selected_names(model, only)
    mapping.strict = strict
    plan = plan_modules(model, _selector(mapping.names))
    mapping.report.modules = _findings(model, plan)
    first = {module: name for name, module in model.named_modules()}
    for name, module in model.named_modules(remove_duplicate=False):
        if name != first[module]:
            mapping.report.first_names[name] = first[module]
    for module, becomes in plan.changes.items():
        mapping.changed.append((module, type(module), becomes))
        module.__class__ = becomes
    model.__dict__[_ATTRIBUTE] = mapping
    if not graph:
        mapping.report.graph = "off: graph=False"
    elif any(_is_compiled(module) for module in model.modules()):
        mapping.report.graph = "off: the model, or a part of it, is compiled already"
    elif _has_own_call(model) and getattr(model.forward, "__func__", None) is nn.Module.forward:
        mapping.report.graph = "off: the model has a __call__ of its own and no forward"
    elif all(_is_transparent(module) for module in model.modules()):
        mapping.report.graph = "off: every part is a module of torch's"
    else:
        mapping.attach_graph()
    return model


def restore(model: Model) -> Model:
    """Undoes :func:`optimize`: every module gets its class back, and the graph layer goes.

    Returns:
        ``model``; one that was not optimized is unchanged.

    Raises:
        TypeError: ``model`` is not a module.
    """
    _check_module("restore", model)
    mapping = model.__dict__.pop(_ATTRIBUTE, None)
    if mapping is not None:
        for module, original, became in mapping.changed:
            if type(module) is became:  # FSDP may have changed it since
                module.__class__ = original
            elif is_parametrized(module) and type(module).__bases__ == (became,):
                module.__class__ = _parametrized_class(type(module), original)
        if isinstance(model._compiled_call_impl, GraphLayer):
            model._compiled_call_impl = None
    return model


def _parametrized_class(kind: type[nn.Module], base: type[nn.Module]) -> type[nn.Module]:
    """The class that a parametrization made, of another base: the one a module has again once its
    parametrizations are removed. A new class, because copies of the module share the first."""
    return type(kind.__name__, (base,), dict(vars(kind)))


def report(model: nn.Module) -> Report:
    """What :func:`optimize` did to a model, or, for another model, what it would do to its modules.

    The findings in graphs are there after the model's first call, and grow with it. Printed, the
    report is a table; ``to_dict()`` gives it in plain types.

    Raises:
        TypeError: ``model`` is not a module.
    """
    _check_module("report", model)
    mapping = model.__dict__.get(_ATTRIBUTE)
    if mapping is not None:
        return mapping.report
    entries = _findings(model, plan_modules(model, _selector(None)))
    return Report(_class_name(model), entries, graph=NOT_OPTIMIZED)


def _findings(model: nn.Module, plan: ModulePlan) -> list[Entry]:
    """The plan's entries, but for modules that compute nothing: a program of torch.export keeps its
    parameters in some."""
    holders = {name for name, module in model.named_modules() if type(module) is nn.Module}
    return [entry for entry in plan.entries if entry.name not in holders]


def _check_module(function: str, model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"kernelopt.{function}(): expected model to be an nn.Module, got {_class_name(model)}"
        )


def _class_name(model: object) -> str:
    return type(model).__name__


def _selected_names(model: nn.Module, only: Selection) -> frozenset[str]:
    if callable(only):
        chosen = only
    else:
        patterns = [only] if isinstance(only, str) else only
        if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
            raise TypeError(
                "kernelopt.optimize(): expected only to be a pattern, several, or a function of "
                f"name and module, got {only!r}"
            )

        def chosen(name: str, module: nn.Module) -> bool:
            return any(fnmatchcase(name, pattern) for pattern in patterns)

    uses = model.named_modules(remove_duplicate=False)
    return frozenset(name for name, module in uses if chosen(name, module))


def _selector(names: frozenset[str] | None) -> Callable[[str], bool]:
    return (lambda name: True) if names is None else names.__contains__


def _is_compiled(module: nn.Module) -> bool:
    """Whether the user compiled a module; the graph layer would take the place of that."""
    compiled = module._compiled_call_impl
    return (
        isinstance(module, torch.jit.ScriptModule)
        or type(module).__name__ == "OptimizedModule"
        or (compiled is not None and not isinstance(compiled, GraphLayer))
    )


def _has_own_call(model: nn.Module) -> bool:
    """Whether calling a model need not reach nn.Module's call, where the graph layer stands."""
    return type(model).__call__ is not nn.Module.__call__


def _is_transparent(module: nn.Module) -> bool:
    """Whether nothing but its parts' calls can happen in a module's forward."""
    if "forward" in module.__dict__:
        return False
    if type(module) in (nn.Sequential, Sequential):
        return True
    return not module._modules and type(module).__module__.startswith(
        ("torch.nn.", "kernelopt.nn.")
    )
