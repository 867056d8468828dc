"""Reading the torch-level graphs that Dynamo captures."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

_IN_PLACE_OPERATORS = frozenset(
    getattr(operator, f"i{name}")
    for name in (
        *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift"),
        *("and", "or", "xor", "concat"),
    )
) | {operator.setitem, operator.delitem}
_PURE_MODULES = ("_operator", "torch", "torch.nn.functional", "torch._C._nn", "math")
_PURE_NUMPY = frozenset(
    (
        *("add", "sub", "subtract", "mul", "multiply", "truediv", "divide", "true_divide"),
        *("neg", "negative", "pow", "power", "reciprocal", "sqrt", "square"),
        *("array", "asarray", "float32", "float64", "item"),
    )
)
_TORCH = Path(torch.__file__).parent
_KERNELOPT = Path(__file__).parents[1]
_GETATTR = re.compile(r"getattr\((?P<owner>[^()]*), (?P<quote>['\"])(?P<name>.*?)(?P=quote)\)")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in ')


def value_of(node: Any) -> torch.Tensor | None:
    """The fake tensor that stands for a node's value; None where it is no plain tensor."""
    value = node.meta.get("example_value") if isinstance(node, fx.Node) else None
    return value if type(value) in _plain_tensors() else None


def _plain_tensors() -> tuple[type, ...]:
    from torch._subclasses.fake_tensor import FakeTensor

    return FakeTensor, torch.Tensor, torch.nn.Parameter


def location_of(node: fx.Node) -> str:
    """ "file:line" of the user's line that a node comes from; "" where it is not known."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    for file, line in reversed(frames):
        if file.startswith("<"):
            continue  # the code of an fx.GraphModule, generated
        if not Path(file).is_relative_to(_TORCH) and not Path(file).is_relative_to(_KERNELOPT):
            return f"{Path(file).name}:{line}"
    return ""


def module_path(node: fx.Node) -> str:
    """The path, from the traced function's variables on, of the module whose forward made a node:
    "L['self'].block.0"; "" for what the traced function itself does. Of a program of torch.export
    the path is that in the exported model."""
    stack = node.meta.get("nn_module_stack")
    path: str = next(reversed(stack.values()))[0] if stack else ""
    # What is no identifier, in a module that is no container, Dynamo reads by
    # getattr(L['self'].block, '0').
    found = 1
    while found:
        path, found = _GETATTR.subn(r"\g<owner>.\g<name>", path)
    return path


def is_exported(node: fx.Node) -> bool:
    """Whether a node comes from a program of torch.export: it names the classes of its modules,
    which Dynamo has at hand."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    return isinstance(next(reversed(stack.values()))[1], str)


def is_pure_numpy(node: fx.Node) -> bool:
    """Whether a node is arithmetic of numpy's, which Dynamo captures as calls of wrappers."""
    if node.op != "call_function":
        return False
    target: Any = node.target
    module = getattr(type(target), "__module__", None)
    name = getattr(target, "__name__", "").removeprefix("wrapped_")
    return module == "torch._dynamo.utils" and name in _PURE_NUMPY


def may_have_effects(node: fx.Node) -> bool:
    """Whether a node may change a tensor, or a mode such as autocast; yes when in doubt."""
    if not node.op.startswith("call_"):
        return False
    if "out" in node.kwargs or node.kwargs.get("inplace"):
        return True
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "_")
    if name.endswith("_") and not name.endswith("__"):
        return True
    if node.op == "call_method":
        return name.startswith("__")
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.is_mutable
    if node.op != "call_function" or node.target in _IN_PLACE_OPERATORS:
        return True
    module = getattr(node.target, "__module__", None) or ""
    if module.startswith("kernelopt") or is_pure_numpy(node):
        return False
    if module not in _PURE_MODULES:
        return True
    # ``inplace`` given by position; batch_norm updates its running statistics.
    return any(arg is True for arg in node.args) or node.target is F.batch_norm


def independent(nodes: Iterable[fx.Node]) -> bool:
    """Whether the nodes of one computation can run as one, where the first or the last is: nothing
    between them in the graph has effects."""
    chosen = set(nodes)
    first, last = None, None
    for node in next(iter(chosen)).graph.nodes:
        if node in chosen:
            first = first or node
            last = node
    assert first is not None
    node = first
    while node is not last:
        if node not in chosen and may_have_effects(node):
            return False
        node = node.next
    return True


def erase_unused(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """Removes those of some nodes without effects that nothing uses, and returns the others."""
    remaining = set(nodes)
    while unused := [node for node in remaining if not node.users]:
        for node in unused:
            node.graph.erase_node(node)
            remaining.remove(node)
    return remaining


def erase(nodes: Iterable[fx.Node]) -> None:
    """Removes nodes that nothing outside of them uses any more."""
    remaining = erase_unused(nodes)
    assert not remaining, "a node is still in use"
