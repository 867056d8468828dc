"""Calls of kernelopt's convolutions in a graph: of the public functions, and of the ops that Dynamo
leaves of them where it traced into them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import fx

import kernelopt

from .._enums import Activation as ActivationCode
from ..ops._convolution import current_precision, suggests_channels_last
from .nodes import erase_unused, independent, value_of
from .registry import REPLACEMENTS, Arguments

_UNSQUEEZE = ("unsqueeze", torch.ops.aten.unsqueeze.default)
_SQUEEZE = ("squeeze", torch.ops.aten.squeeze.dim)
_CONTIGUOUS = ("contiguous", torch.ops.aten.contiguous.default)
_LAST = {"memory_format": torch.channels_last}


@functools.cache
def _convolution_ops() -> dict[Any, str]:
    """Functions and ops that are convolutions of kernelopt, by target, and their names."""
    names = [*(entry.op for entry in REPLACEMENTS), "separable_conv2d"]
    ops = {getattr(torch.ops.kernelopt, name).default: name for name in names}
    return ops | {getattr(kernelopt, name): name for name in names}


def call_of(node: Any) -> tuple[str, Arguments] | None:
    """A convolution of kernelopt, as the public function's name and arguments; None for others."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return None
    op = _convolution_ops().get(node.target)
    if op is None:
        return None
    if not isinstance(node.target, torch._ops.OpOverload):
        return op, dict(node.kwargs)
    # An op, as Dynamo leaves it of a module of kernelopt.nn: its arguments carry numbers.
    parameters = node.target._schema.arguments
    arguments: Arguments = {p.name: p.default_value for p in parameters if p.has_default_value()}
    arguments |= dict(zip((p.name for p in parameters), node.args, strict=False))
    arguments |= node.kwargs
    if arguments.pop("precision") != current_precision():
        return None  # the public function would choose another one
    for name in ("depthwise_activation", "activation"):
        if name in arguments:
            code = ActivationCode(arguments[name])
            arguments[name] = None if code == ActivationCode.NONE else code.name.lower()
    return op, arguments


def set_call(node: fx.Node, op: str, arguments: Arguments) -> None:
    """Makes a node a call of a public function."""
    node.target = getattr(kernelopt, op)
    node.args, node.kwargs = (), arguments


def gather_calls(graph: fx.Graph) -> None:
    """Makes an op, and what the public function does before and after it for an input in
    channels_last or without a batch, that one call again: neighbours of the op would else not see
    each other."""
    for node in list(graph.nodes):
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        # The batch is added first and taken away last.
        for nodes_after in (_after_contiguous, _after_unsqueezed):
            call = call_of(node)
            if call is not None:
                node = _gathered(node, *call, nodes_after(node, call[1]))


def _gathered(node: fx.Node, op: str, arguments: Arguments, after: list[fx.Node]) -> fx.Node:
    """A call with the input's source, in the place of a convolution and of what prepares its input
    and comes after it; the convolution itself where nothing does."""
    source = arguments["input"]
    if not after or not independent({source, node, *after}):
        return node
    output = after[-1]
    with node.graph.inserting_before(output):
        gathered = node.graph.call_function(getattr(kernelopt, op))
    gathered.kwargs = {**arguments, "input": source.args[0]}
    gathered.meta = dict(output.meta)
    output.replace_all_uses_with(gathered)
    for part in (*reversed(after), node):
        node.graph.erase_node(part)
    erase_unused([source])
    return gathered


def _after_contiguous(node: fx.Node, arguments: Arguments) -> list[fx.Node]:
    """The node after a convolution that the public function makes it channels_last by, as it did
    the input; none where it did not."""
    input, output = _argument(arguments["input"], _CONTIGUOUS, (), _LAST), _only_user(node)
    if input is None or _argument(output, _CONTIGUOUS, (), _LAST) is None:
        return []
    values = [value_of(tensor) for tensor in (input, *_weights(arguments))]
    if any(value is None or value.dim() != 4 for value in values):
        return []
    chosen = any(suggests_channels_last(value) for value in values if value is not None)
    return [output] if chosen and output is not None else []


def _after_unsqueezed(node: fx.Node, arguments: Arguments) -> list[fx.Node]:
    """The nodes after a convolution that the public function takes the batch away by, which it had
    added to the input; none where it had not."""
    input, output = _argument(arguments["input"], _UNSQUEEZE, (0,)), _only_user(node)
    if input is None or output is None or _argument(output, _SQUEEZE, (0,)) is None:
        return []
    before, value, weight = map(value_of, (input, output, _weights(arguments)[-1]))
    if before is None or value is None or weight is None or before.dim() != value.dim():
        return []
    if value.dim() == 3 and suggests_channels_last(weight):
        return [output]
    user = _only_user(output)
    if user is not None and _argument(user, _CONTIGUOUS, ()) is not None:
        return [output, user]
    return [output] if value.is_contiguous() else []


def _weights(arguments: Arguments) -> list[Any]:
    return [value for name, value in arguments.items() if name.endswith("weight")]


def _argument(
    node: Any, targets: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
) -> fx.Node | None:
    """The tensor of a call of one of some targets with these further arguments, else None."""
    if not isinstance(node, fx.Node) or not node.op.startswith("call_"):
        return None
    if node.target not in targets or node.args[1:] != args or node.kwargs != (kwargs or {}):
        return None
    tensor = node.args[0] if node.args else None
    return tensor if isinstance(tensor, fx.Node) else None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
