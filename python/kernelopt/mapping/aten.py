"""ATen's operators, as torch.export leaves them, as the torch functions that they stand for.

The tables of the rewrite name torch's functions. A program of torch.export calls operators, in the
form of its first graph (conv1d) or of the core operators it is decomposed into (convolution).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from .nodes import value_of

_aten = torch.ops.aten
# Each takes what the operator takes, in the same order.
_FUNCTIONS: dict[Any, Any] = {
    _aten.conv1d.default: torch.conv1d,
    _aten.conv1d.padding: torch.conv1d,
    _aten.conv2d.default: torch.conv2d,
    _aten.conv2d.padding: torch.conv2d,
    _aten.conv_transpose1d.default: torch.conv_transpose1d,
    _aten.relu.default: torch.relu,
    _aten.relu_.default: torch.relu_,
    _aten.silu.default: F.silu,
    _aten.gelu.default: F.gelu,
    _aten.tanh.default: torch.tanh,
    _aten.erf.default: torch.erf,
    _aten.sigmoid.default: torch.sigmoid,
    _aten.add.Tensor: torch.add,
    _aten.sub.Tensor: torch.sub,
    _aten.mul.Tensor: torch.mul,
    _aten.div.Tensor: torch.div,
    _aten.pow.Tensor_Scalar: torch.pow,
    _aten.neg.default: torch.neg,
    _aten.square.default: torch.square,
}
_OUTPUT_PADDING, _GROUPS = 7, 8  # positions among the arguments of aten.convolution


def to_torch_functions(graph: fx.Graph) -> None:
    """Makes the operators of a graph that the rewrite's tables know calls of torch's functions."""
    for node in graph.nodes:
        if node.op != "call_function" or "self" in node.kwargs:
            continue
        if node.target in _FUNCTIONS:
            node.target = _FUNCTIONS[node.target]
        elif node.target is _aten.silu_.default:
            node.target, node.kwargs = F.silu, {"inplace": True}
        elif node.target is _aten.convolution.default and len(node.args) == _GROUPS + 1:
            _name_convolution(node)


def _name_convolution(node: fx.Node) -> None:
    """Makes aten.convolution a call of the function for its dimensions, if the tables have it."""
    *arguments, dilation, transposed = node.args[:_OUTPUT_PADDING]
    weight = value_of(node.args[1])
    dimensions = None if weight is None else weight.dim() - 2
    if transposed and dimensions == 1:
        node.target = torch.conv_transpose1d
        node.args = (*arguments, node.args[_OUTPUT_PADDING], node.args[_GROUPS], dilation)
    elif not transposed and dimensions in (1, 2):
        node.target = torch.conv1d if dimensions == 1 else torch.conv2d
        node.args = (*arguments, dilation, node.args[_GROUPS])
