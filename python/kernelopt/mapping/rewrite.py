"""The graph rewrite that ``optimize`` and the torch.compile backend share.

It works on the torch-level graph that Dynamo captures (or on a program of torch.export, whose
operators it names as torch's functions first): convolutions become kernelopt functions, an
activation joins the convolution before it, a depthwise and the 1x1 convolution after it become one,
and what is left of additions and GELUs is replaced where nothing else would fuse it. kernelopt's
public functions take the place of torch's, so a call means the same for whatever comes at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.utils.checkpoint
from torch import fx

import kernelopt

from .activations import Activation, find_activations, is_kernelopts
from .aten import to_torch_functions
from .calls import call_of, gather_calls, set_call
from .nodes import erase, erase_unused, independent, location_of, value_of
from .registry import (
    ADD_FUNCTIONS,
    ADD_METHODS,
    DEFAULTS,
    IN_PLACE_ADD_FUNCTIONS,
    IN_PLACE_ADD_METHODS,
    PARAMETERS,
    REPLACEMENTS,
    Arguments,
    Convolution,
    choose,
    separable_arguments,
    tensor_reason,
)
from .reporting import MODEL_NAME, Action, Entry

_CHECKPOINT = torch.ops.higher_order.tag_activation_checkpoint
_EFFECTS = "something between its parts works in place or changes a mode"


@dataclass
class _Rewriter:
    graph: fx.Graph
    compiled: bool
    name_of: Callable[[fx.Node], str]
    selected: Callable[[str], bool]
    findings: dict[fx.Node, Entry] = field(default_factory=dict)
    substitutes: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def run(self) -> list[Entry]:
        # Dynamo leaves attributes that Python read, x.is_cpu say, as uses of x.
        erase_unused(self.graph.find_nodes(op="call_function", target=getattr))
        to_torch_functions(self.graph)
        gather_calls(self.graph)
        self._replace_convolutions()
        for activation in find_activations(self.graph):
            # What it is applied to may itself have been an activation.
            base = self.substitutes.get(activation.base, activation.base)
            self._replace_activation(replace(activation, base=base))
        self._fuse_separable()
        self._replace_additions()
        order = {node: index for index, node in enumerate(self.graph.nodes)}
        return [self.findings[node] for node in sorted(self.findings, key=order.__getitem__)]

    def _note(
        self, node: fx.Node, kind: str, action: Action, op: str = "", reason: str = ""
    ) -> None:
        before = self.findings.get(node)
        name = before.name if before else self.name_of(node)
        self.findings[node] = Entry(name, kind, action, op, reason, location_of(node))

    def _note_fused(self, node: fx.Node, parts: list[fx.Node], kind: str, op: str) -> None:
        names: list[str] = []
        for part in parts:
            name = self.findings[part].name if part in self.findings else self.name_of(part)
            # Of an operation in a container's forward, the other parts' names say where it is.
            container = name == MODEL_NAME or any(
                f"{known}.".startswith(f"{name}.") for known in names
            )
            if not (names and container):
                names.append(name)
        self.findings[node] = Entry(
            " + ".join(names), kind, "fused", op, location=location_of(node)
        )

    def _kind(self, node: fx.Node, op: str) -> str:
        """What a convolution was before it became a call of ``op``."""
        return self.findings[node].kind if node in self.findings else op

    def _selected(self, node: fx.Node) -> bool:
        return self.selected(self.name_of(node))

    # Convolutions

    def _replace_convolutions(self) -> None:
        for node in self.graph.nodes:
            if node.op != "call_function" or node.target not in PARAMETERS:
                continue
            if not self._selected(node):
                continue
            kind = f"F.{node.target.__name__}"
            arguments = DEFAULTS | dict(zip(PARAMETERS[node.target], node.args, strict=False))
            arguments |= node.kwargs
            convolution, reason = _describe(node.target, arguments)
            chosen = None
            if convolution is not None:
                candidates = [entry for entry in REPLACEMENTS if entry.function is node.target]
                chosen, reason = choose(candidates, convolution)
            if chosen is None:
                self._note(node, kind, "kept", reason=reason)
                continue
            names = ("input", "weight", "bias", *chosen.geometry)
            set_call(node, chosen.op, {name: arguments[name] for name in names})
            self._note(node, kind, "replaced", op=chosen.op)

    # Activations

    def _replace_activation(self, activation: Activation) -> None:
        node = activation.output
        if not self._selected(node):
            return
        reason = self._fuse_activation(activation)
        if not reason or not activation.name.startswith("gelu") or is_kernelopts(node):
            return  # fused, or no op for it alone, or there already
        reason = f"left to the compiler: {reason}" if self.compiled else _lone_reason(activation)
        if reason:
            self._note(node, _spelled(activation), "kept", reason=reason)
            return
        form = "tanh" if activation.name == "gelu_tanh" else "none"
        with self.graph.inserting_before(node):
            call = self.graph.call_function(
                kernelopt.gelu, (activation.base,), {"approximate": form}
            )
        self._substitute(activation, call)
        self._note(call, _spelled(activation), "replaced", op="gelu")

    def _fuse_activation(self, activation: Activation) -> str:
        """Lets the convolution before an activation apply it; returns why not, or ""."""
        node = activation.base
        call = call_of(node)
        if call is None or call[1].get("activation") is not None:
            return "no convolution before it that could apply it"
        if not set(node.users) <= activation.nodes:
            return "the convolution's result is used elsewhere, too"
        if not independent({node} | activation.nodes):
            return _EFFECTS
        op, arguments = call
        kind = f"{self._kind(node, op)} + {_spelled(activation)}"
        self._note_fused(node, [node, activation.output], kind, op)
        set_call(node, op, {**arguments, "activation": activation.name})
        self._substitute(activation, node)
        return ""

    def _substitute(self, activation: Activation, node: fx.Node) -> None:
        """Puts a node in the place of an activation's nodes."""
        node.meta = dict(activation.output.meta)
        activation.output.replace_all_uses_with(node)
        self.substitutes[activation.output] = node
        erase(activation.nodes)
        erase_unused(activation.constants)

    # A depthwise convolution and the 1x1 convolution after it

    def _fuse_separable(self) -> None:
        for node in self.graph.nodes:
            pointwise = call_of(node)
            if pointwise is None or pointwise[0] != "pointwise_conv2d":
                continue
            first = pointwise[1]["input"]
            depthwise = call_of(first)
            if depthwise is None or depthwise[0] != "depthwise_conv2d":
                continue
            uses = [arg for arg in node.all_input_nodes if arg is first]
            alone = set(first.users) == {node} and len(uses) == 1
            if not (alone and self._selected(node) and self._selected(first)):
                continue
            if not independent({first, node}):
                continue
            kind = f"{self._kind(first, depthwise[0])} + {self._kind(node, pointwise[0])}"
            set_call(node, "separable_conv2d", separable_arguments(depthwise[1], pointwise[1]))
            self._note_fused(node, [first, node], kind, "separable_conv2d")
            self.findings.pop(first, None)
            self.graph.erase_node(first)

    # Additions

    def _replace_additions(self) -> None:
        for node in self.graph.nodes:
            in_place = _calls(node, IN_PLACE_ADD_FUNCTIONS, IN_PLACE_ADD_METHODS)
            if not (in_place or _calls(node, ADD_FUNCTIONS, ADD_METHODS)):
                continue
            if value_of(node) is None or not self._selected(node):
                continue
            operands = _operands(node)
            if in_place:
                if None not in map(value_of, operands):  # no counter, a batch normalization's say
                    self._note(node, "a += b", "kept", reason="works in place")
                continue
            reason = "left to the compiler" if self.compiled else _keep_addition(node, operands)
            if reason:
                self._note(node, "a + b", "kept", reason=reason)
                continue
            node.op, node.target = "call_function", kernelopt.add
            node.args = tuple(operands)
            node.kwargs = {name: node.kwargs[name] for name in node.kwargs if name == "alpha"}
            self._note(node, "a + b", "replaced", op="add")


def _calls(node: fx.Node, functions: tuple[Any, ...], methods: tuple[str, ...]) -> bool:
    known = {"call_function": functions, "call_method": methods}
    return node.target in known.get(node.op, ())


def _operands(node: fx.Node) -> list[Any]:
    """What an addition adds, given by position or by name."""
    return [*node.args, *(node.kwargs[name] for name in ("input", "other") if name in node.kwargs)]


def _keep_addition(node: fx.Node, operands: list[Any]) -> str:
    """Why an addition is kept; "" where kernelopt's op takes it."""
    if len(operands) != 2 or set(node.kwargs) - {"input", "other", "alpha"}:
        return "its arguments are not two tensors"
    if any(isinstance(operand, (int, float, complex)) for operand in operands):
        return "an operand is a number"
    if not isinstance(node.kwargs.get("alpha", 1), (int, float)):
        return "alpha is no number"
    left, right = map(value_of, operands)
    if left is None or right is None:
        return "an operand is no plain tensor"
    reason = tensor_reason(left) or tensor_reason(right)
    if not reason and left.dtype != right.dtype:
        reason = "the operands' dtypes differ"
    if not reason and left.device != right.device:
        reason = "the operands' devices differ"
    return reason


def _spelled(activation: Activation) -> str:
    return activation.name + (" (written out)" if activation.written_out else "")


def _lone_reason(activation: Activation) -> str:
    """Why a GELU is kept; "" where kernelopt's op takes it."""
    value = value_of(activation.base)
    assert value is not None
    return tensor_reason(value) or ("" if independent(activation.nodes) else _EFFECTS)


def _describe(function: Any, arguments: Arguments) -> tuple[Convolution | None, str]:
    """A call of a torch convolution as a Convolution, or None and why it is kept."""
    input, weight = value_of(arguments["input"]), value_of(arguments["weight"])
    if input is None or weight is None:
        return None, "an operand is no plain tensor"
    reason = tensor_reason(input) or tensor_reason(weight)
    if reason:
        return None, reason
    shape, groups = tuple(weight.shape), arguments["groups"]
    if not all(type(value) is int for value in (*shape, groups)):
        return None, "the weight's shape varies"
    inner, outer = shape[1] * groups, shape[0]
    in_channels, out_channels = (
        (outer, inner) if function is torch.conv_transpose1d else (inner, outer)
    )
    values = (shape[2:], arguments["stride"], arguments["padding"], groups)
    return Convolution(in_channels, out_channels, *values), ""


def rewrite(
    graph_module: fx.GraphModule,
    *,
    compiled: bool,
    name_of: Callable[[fx.Node], str] = lambda node: "",
    selected: Callable[[str], bool] = lambda name: True,
) -> list[Entry]:
    """Rewrites a torch-level graph in place.

    Args:
        graph_module: as Dynamo gives it to a backend.
        compiled: whether a compiler takes the graph from here. It fuses additions and GELUs with
            their neighbours, which an op of kernelopt's would prevent, so those stay.
        name_of: the name of the module that a node belongs to.
        selected: whether what the module of a name does may be changed.

    Returns:
        What was found, in the order of the graph.
    """
    findings: list[Entry] = []
    checkpoints = [node for node in graph_module.graph.nodes if node.target is _CHECKPOINT]
    for node in checkpoints:
        body = getattr(graph_module, node.args[0].target)
        findings += rewrite(body, compiled=compiled, name_of=name_of, selected=selected)
        if not compiled:
            node.target = _checkpoint
    findings += _Rewriter(graph_module.graph, compiled, name_of, selected).run()
    graph_module.graph.lint()
    graph_module.recompile()
    return findings


def _checkpoint(body: fx.GraphModule, *args: Any, **options: Any) -> Any:
    """What ``torch.utils.checkpoint`` does without a compiler.

    Run as it stands, Dynamo's operator would draw other random numbers when it computes the body
    again: it leaves them to the compiler. Dropout would have wrong gradients.
    """
    options["use_reentrant"] = False
    if "_checkpoint_context_fn" in body.meta:
        options["context_fn"] = body.meta["_checkpoint_context_fn"]
    return torch.utils.checkpoint.checkpoint(body, *args, **options)
