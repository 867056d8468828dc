"""The module layer: exact torch modules become kernelopt modules where they stand.

A module changes its class and nothing else. It stays the same object, with the same parameters,
hooks, flags and name, so that optimizers, shared uses, ``state_dict``, FSDP and ``isinstance``
checks see what they saw before. Subclasses, parametrized modules and modules whose ``forward`` was
replaced are kept: what they compute is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

from torch import nn

import kernelopt

from .. import nn as kernelopt_nn
from .registry import (
    ACTIVATION_MODULES,
    REPLACEMENTS,
    Arguments,
    Convolution,
    Replacement,
    choose,
    separable_arguments,
    tensor_reason,
)
from .reporting import MODEL_NAME, Action, Entry

# The replacement that each convolution module of kernelopt stands for.
_REPLACEMENT_OF: dict[type[nn.Module], Replacement] = {
    getattr(kernelopt_nn, entry.becomes): entry for entry in REPLACEMENTS
}
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_ACTIVATION_NAMES = {**ACTIVATION_MODULES, kernelopt_nn.GELU: ACTIVATION_MODULES[nn.GELU]}


# Fusion in nn.Sequential

Neighbours = Sequence[tuple[nn.Module, type[nn.Module]]]
"""The modules of a Sequential, each with the class it has (or will have)."""


@dataclass(frozen=True)
class _Fusion:
    """The next few modules of a Sequential as one call."""

    op: str
    arguments: Arguments
    length: int


def _observed(module: nn.Module) -> bool:
    """Whether something would notice that a module is not called."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
        # No different, but asked of the attribute itself, which Dynamo guards: its __dict__ it
        # looks at once, and would not notice a forward that is set later.
        or not isinstance(module.forward, MethodType)
        or module._compiled_call_impl is not None
    )


def _convolution_at(neighbours: Neighbours, index: int) -> _Fusion | None:
    """The replaced convolution at an index, with the activation that follows it."""
    if index >= len(neighbours):
        return None
    module, kind = neighbours[index]
    replacement = _REPLACEMENT_OF.get(kind)
    if replacement is None or _observed(module) or module.padding_mode != "zeros":
        return None
    arguments = {name: getattr(module, name) for name in replacement.geometry}
    arguments |= {"weight": module.weight, "bias": module.bias}
    arguments["activation"] = getattr(module, "activation", None)
    if arguments["activation"] is None and index + 1 < len(neighbours):
        module, kind = neighbours[index + 1]
        name_of = _ACTIVATION_NAMES.get(kind)
        if name_of is not None and not _observed(module):
            arguments["activation"] = name_of(module)
            if arguments["activation"] is not None:
                return _Fusion(replacement.op, arguments, 2)
    return _Fusion(replacement.op, arguments, 1)


def _fusion_at(neighbours: Neighbours, index: int) -> _Fusion | None:
    """The longest fusion of two modules or more that starts at an index."""
    first = _convolution_at(neighbours, index)
    if first is None:
        return None
    if first.op == "depthwise_conv2d":
        second = _convolution_at(neighbours, index + first.length)
        if second is not None and second.op == "pointwise_conv2d":
            arguments = separable_arguments({"input": None, **first.arguments}, second.arguments)
            return _Fusion("separable_conv2d", arguments, first.length + second.length)
    return first if first.length > 1 else None


class Sequential(nn.Sequential):
    """:class:`torch.nn.Sequential` that runs neighbours as one op where nothing can tell.

    Its modules stay what they are: indexing, slicing and iterating give them one by one. What is
    fused is decided in each call, so a hook that is added later sees what it would see in
    ``nn.Sequential``.
    """

    def forward(self, input):
        neighbours = [(module, type(module)) for module in self._modules.values()]
        all_observed = nn.modules.module._has_any_global_hook()
        index = 0
        while index < len(neighbours):
            fusion = None if all_observed else _fusion_at(neighbours, index)
            if fusion is None:
                input = neighbours[index][0](input)
                index += 1
            else:
                input = getattr(kernelopt, fusion.op)(**{**fusion.arguments, "input": input})
                index += fusion.length
        return input


# What is replaced


@dataclass(frozen=True)
class ModulePlan:
    """What the module layer does: the class that each changed module becomes, and the report."""

    changes: dict[nn.Module, type[nn.Module]]
    entries: list[Entry]


def plan_modules(model: nn.Module, selected: Callable[[str], bool]) -> ModulePlan:
    """Decides on every module; changes nothing.

    Args:
        model: any module.
        selected: whether the module of a name may be changed.
    """
    # A shared module comes once under each of its names, and all of them must be selected.
    uses = list(model.named_modules(remove_duplicate=False))
    left_out = {module for name, module in uses if not selected(name)}
    changes: dict[nn.Module, type[nn.Module]] = {}
    entries: dict[str, Entry] = {}
    first_names = {module: name for name, module in model.named_modules()}
    for module, name in first_names.items():
        becomes, op, reason = _decide(module)
        if becomes is not None and module in left_out:
            becomes, reason = None, "not selected"
        if becomes is not None:
            changes[module] = becomes
            entries[name] = _entry(name, [module], "replaced", op=op)
        elif reason:
            entries[name] = _entry(name, [module], "kept", reason=reason)
    for name, module in uses:
        if type(module) is nn.Sequential and module not in left_out and not _keep_reason(module):
            _plan_sequential(name, module, changes, entries, first_names)
    return ModulePlan(changes, list(entries.values()))


def _entry(name: str, modules: Sequence[nn.Module], action: Action, **values: str) -> Entry:
    kind = " + ".join(type(module).__name__ for module in modules)
    return Entry(name or MODEL_NAME, kind, action, **values)


def _decide(module: nn.Module) -> tuple[type[nn.Module] | None, str, str]:
    """What a module becomes (or None), the op it then runs, and else why it is kept.

    Containers, and modules of the user's own, are neither replaced nor kept: their parts are.
    """
    kind = type(module)
    candidates = [entry for entry in REPLACEMENTS if entry.module is kind]
    if candidates or kind is nn.GELU:
        reason = _keep_reason(module)
        if reason:
            return None, "", reason
        if kind is nn.GELU:
            return kernelopt_nn.GELU, "gelu", ""
        chosen, reason = choose(candidates, _convolution(module))
        if chosen is None:
            return None, "", reason
        return getattr(kernelopt_nn, chosen.becomes), chosen.op, ""
    if kind.__module__.startswith(kernelopt_nn.__name__):
        return None, "", "already a kernelopt module"
    for entry in REPLACEMENTS:
        if isinstance(module, entry.module):
            return None, "", f"a subclass of nn.{entry.module.__name__}"
    if kind in ACTIVATION_MODULES:
        return None, "", "no replaced convolution directly before it in a Sequential"
    if kind.__module__.startswith("torch.nn.") and kind not in _CONTAINERS and not module._modules:
        return None, "", "kernelopt has no op for it"
    return None, "", ""


def _keep_reason(module: nn.Module) -> str:
    """Why a module is kept whatever its arguments; "" where they decide."""
    if "forward" in module.__dict__:
        return "its forward was replaced"
    if module._compiled_call_impl is not None:
        return "it is compiled"
    for name, parameter in module._parameters.items():
        if parameter is None:
            continue
        if type(parameter) is not nn.Parameter:
            return f"its {name} is a {type(parameter).__name__}"
        reason = tensor_reason(parameter)
        if reason:
            return f"its {name}: {reason}"
    return ""


def _convolution(module: Any) -> Convolution:
    return Convolution(
        in_channels=module.in_channels,
        out_channels=module.out_channels,
        kernel_size=module.kernel_size,
        stride=module.stride,
        padding=module.padding,
        groups=module.groups,
    )


def _plan_sequential(
    name: str,
    sequential: nn.Sequential,
    changes: dict[nn.Module, type[nn.Module]],
    entries: dict[str, Entry],
    first_names: dict[nn.Module, str],
) -> None:
    """Adds the fusions that a Sequential will make: their entry takes the place of its parts'."""
    names = [f"{name}.{key}" if name else key for key in sequential._modules]
    modules = list(sequential._modules.values())
    neighbours = [(module, changes.get(module, type(module))) for module in modules]
    index = 0
    while index < len(modules):
        fusion = _fusion_at(neighbours, index)
        if fusion is None:
            index += 1
            continue
        end = index + fusion.length
        changes[sequential] = Sequential
        label = " + ".join(names[index:end])
        for part in modules[index:end]:
            entry = entries.get(first_names[part])
            if entry is not None and entry.action != "fused":
                del entries[first_names[part]]
        entries[names[index]] = _entry(label, modules[index:end], "fused", op=fusion.op)
        index = end
