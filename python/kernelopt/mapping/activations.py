"""Finds activations in a graph: called as functions, or written out with elementary operations.

A written-out activation is recognised by what it computes, not by how it is spelled. From the tanh
(erf, sigmoid) in its middle, every operation around it is read as a polynomial in x and t, the
value of that function. The tanh form of GELU, for one, is 0.5 x + 0.5 x t with
t = tanh(0.7979 x + 0.0357 x^3), whether x^3 is torch.pow(x, 3.0), x ** 3 or x * x * x, and however
the factors are grouped. What is computed from numbers alone, by torch or by numpy, is a number.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from .._enums import Approximate
from .nodes import is_pure_numpy, value_of
from .registry import ACTIVATION_FUNCTIONS, ACTIVATION_METHODS, gelu_name

Polynomial = dict[tuple[int, int], float]
"""Coefficients by (power of x, power of t)."""

_MAX_DEGREE = 4
_MAX_STEPS = 10  # operations between x and t, and between t and the result


@dataclass(frozen=True)
class Activation:
    """An activation in a graph.

    Attributes:
        name: as kernelopt's functions call it.
        base: the node it is applied to.
        output: the node that is its result.
        nodes: the nodes that compute it, ``output`` among them, ``base`` not.
        constants: the nodes that compute numbers for it, such as torch.sqrt(torch.tensor(2 / pi)).
        written_out: whether it is spelled with elementary operations.
    """

    name: str
    base: fx.Node
    output: fx.Node
    nodes: frozenset[fx.Node]
    written_out: bool
    constants: frozenset[fx.Node] = frozenset()


@dataclass(frozen=True)
class _Form:
    """A written-out activation: ``result`` in x and t, where t = function(``inner`` in x)."""

    function: str
    inner: Polynomial
    result: Polynomial
    name: str


_C = math.sqrt(2 / math.pi)
_HALVES = {(1, 0): 0.5, (1, 1): 0.5}
_FORMS = (
    _Form("tanh", {(1, 0): _C, (3, 0): _C * 0.044715}, _HALVES, "gelu_tanh"),
    _Form("sigmoid", {(1, 0): 2 * _C, (3, 0): 2 * _C * 0.044715}, {(1, 1): 1.0}, "gelu_tanh"),
    _Form("erf", {(1, 0): math.sqrt(0.5)}, _HALVES, "gelu"),
    _Form("sigmoid", {(1, 0): 1.0}, {(1, 1): 1.0}, "silu"),
)

_FUNCTIONS: dict[Any, str] = {
    torch.tanh: "tanh",
    F.tanh: "tanh",
    torch.erf: "erf",
    torch.special.erf: "erf",
    torch.sigmoid: "sigmoid",
    torch.special.expit: "sigmoid",
    F.sigmoid: "sigmoid",
    "tanh": "tanh",
    "erf": "erf",
    "sigmoid": "sigmoid",
    operator.add: "add",
    torch.add: "add",
    "add": "add",
    operator.sub: "sub",
    torch.sub: "sub",
    "sub": "sub",
    operator.mul: "mul",
    torch.mul: "mul",
    torch.multiply: "mul",
    "mul": "mul",
    "multiply": "mul",
    operator.truediv: "div",
    torch.div: "div",
    torch.divide: "div",
    torch.true_divide: "div",
    "div": "div",
    "divide": "div",
    operator.pow: "pow",
    torch.pow: "pow",
    "pow": "pow",
    operator.neg: "neg",
    torch.neg: "neg",
    "neg": "neg",
    torch.square: "square",
    "square": "square",
}
_ARITHMETIC = frozenset(("add", "sub", "mul", "div", "pow", "neg", "square"))
_SCALED = frozenset(("add", "sub"))  # these take an alpha
_CONSTRUCTORS = frozenset((torch.tensor, torch.as_tensor, torch.scalar_tensor))
_NUMBERS = _CONSTRUCTORS | frozenset(
    (
        *(torch.sqrt, torch.rsqrt, torch.reciprocal),
        *("sqrt", "rsqrt", "reciprocal"),
    )
)
"""What, beside arithmetic, makes a number of numbers."""
_OPERANDS = ("input", "other", "exponent")


def _function(node: Any) -> str | None:
    """What an elementary node computes: a value of ``_FUNCTIONS``, or None."""
    if not isinstance(node, fx.Node) or node.op not in ("call_function", "call_method"):
        return None
    function = _FUNCTIONS.get(node.target)
    unknown = set(node.kwargs) - {*_OPERANDS, *(("alpha",) if function in _SCALED else ())}
    return None if unknown else function


def _operands(node: fx.Node) -> list[Any]:
    """The operands of an elementary node, by position or by name."""
    return [*node.args, *(node.kwargs[name] for name in _OPERANDS if name in node.kwargs)]


def find_activations(graph: fx.Graph) -> list[Activation]:
    """Every activation of a graph that kernelopt's functions can apply."""
    found = []
    for node in graph.nodes:
        name = _called(node)
        if name is not None and _alike(node, node.args[0]):
            found.append(Activation(name, node.args[0], node, frozenset([node]), False))
        elif any(form.function == _function(node) for form in _FORMS):
            found += _written_out(node)
    return found


def is_kernelopts(node: fx.Node) -> bool:
    """Whether a node is kernelopt's GELU, as Dynamo leaves it of a module of kernelopt.nn."""
    return node.target is torch.ops.kernelopt.gelu.default


def _called(node: fx.Node) -> str | None:
    """The activation that a node calls on its one tensor."""
    if node.op == "call_method":
        return ACTIVATION_METHODS.get(str(node.target)) if len(node.args) == 1 else None
    if node.op != "call_function" or not node.args:
        return None
    if is_kernelopts(node):
        code: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("approximate", 0)
        return gelu_name(Approximate(code).name.lower())
    if node.target not in ACTIVATION_FUNCTIONS:
        return None
    options = {key: value for key, value in node.kwargs.items() if key != "inplace"}
    if node.target is F.gelu:
        return gelu_name(options.get("approximate", "none")) if len(node.args) == 1 else None
    return None if options else ACTIVATION_FUNCTIONS[node.target]


def _alike(node: fx.Node, base: Any) -> bool:
    """Whether a node's value has the dtype, shape and device of another's."""
    value, other = value_of(node), value_of(base)
    return (
        value is not None
        and other is not None
        and value.dtype == other.dtype
        and value.shape == other.shape
        and value.device == other.device
    )


def _written_out(middle: fx.Node) -> Iterator[Activation]:
    """The activation, if any, that has its tanh, erf or sigmoid at ``middle``."""
    for base in _ancestors(middle):
        value = value_of(base)
        if value is None or not value.dtype.is_floating_point:
            continue
        tolerance = 1e-12 if value.dtype == torch.float64 else 1e-6
        inside = _Reader({base: (1, 0)})
        inner = inside.read(_operands(middle)[0])
        for form in _FORMS:
            if form.function != _function(middle) or not _close(inner, form.inner, tolerance):
                continue
            for output in _descendants(middle):
                outside = _Reader({base: (1, 0), middle: (0, 1)})
                if not _close(outside.read(output), form.result, tolerance):
                    continue
                nodes = frozenset({middle} | inside.nodes | outside.nodes)
                private = all(set(node.users) <= nodes for node in nodes if node is not output)
                if private and all(_alike(node, base) for node in nodes):
                    constants = frozenset(inside.constants | outside.constants)
                    yield Activation(form.name, base, output, nodes, True, constants)
                    return


def _ancestors(middle: fx.Node) -> list[fx.Node]:
    """The nodes that arithmetic leads to from a function's argument, nearest first."""
    found = [arg for arg in _operands(middle)[:1] if isinstance(arg, fx.Node)]
    for node in found:
        if len(found) <= 2 * _MAX_STEPS and _function(node) in _ARITHMETIC:
            found += [a for a in node.all_input_nodes if a not in found]
    return found


def _descendants(middle: fx.Node) -> list[fx.Node]:
    """The nodes that arithmetic leads to from a function's value, nearest first."""
    found = [middle]
    for node in found:
        if len(found) <= _MAX_STEPS:
            found += [u for u in node.users if _function(u) in _ARITHMETIC and u not in found]
    return found[1:]


class _Reader:
    """Reads arithmetic as polynomials in given nodes, and remembers the nodes it went through."""

    def __init__(self, variables: dict[fx.Node, tuple[int, int]]):
        self.variables = variables
        self.nodes: set[fx.Node] = set()
        self.constants: set[fx.Node] = set()

    def read(self, value: Any, depth: int = 0) -> Polynomial | None:
        """The polynomial of a node or number; None where it is none."""
        if isinstance(value, fx.Node) and value in self.variables:
            return {self.variables[value]: 1.0}
        number = self._number(value, depth)
        if number is not None:
            return {(0, 0): float(number)}
        function = _function(value)
        if function not in _ARITHMETIC or depth > _MAX_STEPS:
            return None
        operands = [self.read(operand, depth + 1) for operand in _operands(value)]
        alpha = self._number(value.kwargs.get("alpha", 1), depth)
        if alpha is None or any(operand is None for operand in operands):
            return None
        self.nodes.add(value)
        return _combine(function, operands, float(alpha))  # type: ignore[arg-type]

    def _number(self, value: Any, depth: int) -> Any:
        """A number, or what a node computes from numbers alone, rounded as the graph does it."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        result = value_of(value)
        if result is None or result.dim() or depth > _MAX_STEPS or not _computes_a_number(value):
            return None
        options: dict[str, Any] = {"dtype": result.dtype} if "dtype" in value.kwargs else {}
        if value.target in _CONSTRUCTORS:
            options["device"] = "cpu"
        operands = [self._number(operand, depth + 1) for operand in _operands(value)]
        if not operands or any(operand is None for operand in operands):
            return None
        self.constants.add(value)
        if value.op == "call_method":
            return getattr(torch.as_tensor(operands[0]), value.target)(*operands[1:], **options)
        return value.target(*operands, **options)


def _computes_a_number(node: fx.Node) -> bool:
    """Whether a node does so where its operands are numbers."""
    if node.op not in ("call_function", "call_method"):
        return False
    if set(node.kwargs) - {*_OPERANDS, "dtype", "device"}:
        return False
    return node.target in _NUMBERS or _function(node) in _ARITHMETIC or is_pure_numpy(node)


def _combine(function: str, operands: list[Polynomial], alpha: float) -> Polynomial | None:
    first, second = operands[0], operands[-1]
    if function == "neg":
        return {key: -value for key, value in first.items()}
    if function == "square":
        return _product(first, first)
    if len(operands) != 2:
        return None
    if function == "add":
        return _sum(first, second, alpha)
    if function == "sub":
        return _sum(first, second, -alpha)
    if function == "mul":
        return _product(first, second)
    if set(second) != {(0, 0)}:
        return None
    number = second[0, 0]
    if function == "div":
        return {key: value / number for key, value in first.items()} if number else None
    if not number.is_integer() or not 1 <= number <= _MAX_DEGREE:
        return None
    result: Polynomial | None = first
    for _ in range(int(number) - 1):
        result = _product(result, first) if result is not None else None
    return result


def _sum(a: Polynomial, b: Polynomial, factor: float) -> Polynomial:
    return {key: a.get(key, 0.0) + factor * b.get(key, 0.0) for key in {**a, **b}}


def _product(a: Polynomial, b: Polynomial) -> Polynomial | None:
    result: Polynomial = {}
    for (i, j), left in a.items():
        for (k, m), right in b.items():
            key = (i + k, j + m)
            if sum(key) > _MAX_DEGREE:
                return None
            result[key] = result.get(key, 0.0) + left * right
    return result


def _close(polynomial: Polynomial | None, expected: Polynomial, tolerance: float) -> bool:
    return polynomial is not None and all(
        math.isclose(
            polynomial.get(key, 0.0), expected.get(key, 0.0), rel_tol=tolerance, abs_tol=0.0
        )
        for key in {**polynomial, **expected}
    )
