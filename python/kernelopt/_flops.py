"""The convolution ops' FLOPs for :class:`torch.utils.flop_counter.FlopCounterMode`: as many as it
counts for the torch operators that they stand for.

The counter's module is slow to import (it looks for Triton), so it is told of the ops when somebody
else imports it.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

_COUNTER = "torch.utils.flop_counter"
Shape = Sequence[int]


def _hidden_shape(input: torch.Tensor, weight: torch.Tensor, output: torch.Tensor) -> Shape:
    """The shape between the two convolutions of a separable one."""
    return [input.shape[0], weight.shape[0], *output.shape[2:]]


def register_formulas(counter: ModuleType) -> None:
    """Adds the formulas to the counter's registry."""
    ops = torch.ops.kernelopt

    def backward(
        grad_output: Shape,
        input: Shape,
        weight: Shape,
        transposed: bool,
        of_input: bool,
        of_weight: bool,
    ) -> int:
        """FLOPs of ``aten::convolution_backward``."""
        geometry = (None, None, None, None, transposed, None, None)
        return counter.conv_backward_flop(
            *(grad_output, input, weight, *geometry, [of_input, of_weight, False]),
            out_val=(input, weight),
        )

    # Called with an op's arguments, without the trailing ones that have their default, and its
    # results. Gradients that nobody asked for have no elements.

    def register(op: str, transposed: bool) -> None:
        @counter.register_flop_formula(getattr(ops, op), get_raw=True)
        def forward_flops(input, weight, *_, out_val: Any) -> int:
            return counter.conv_flop_count(input.shape, weight.shape, out_val.shape, transposed)

        @counter.register_flop_formula(getattr(ops, f"{op}_backward"), get_raw=True)
        def backward_flops(grad_output, input, weight, *_, out_val: Any) -> int:
            shapes = (grad_output.shape, input.shape, weight.shape)
            asked = [gradient.numel() > 0 for gradient in out_val]
            return backward(*shapes, transposed, asked[0], asked[1])

    register("conv1d", transposed=False)
    register("conv_transpose1d", transposed=True)
    register("depthwise_conv2d", transposed=False)
    register("pointwise_conv2d", transposed=False)

    @counter.register_flop_formula(ops.separable_conv2d, get_raw=True)
    def separable_flops(input, depthwise, _, pointwise, *__, out_val: Any) -> int:
        hidden = _hidden_shape(input, depthwise, out_val)
        return counter.conv_flop_count(
            input.shape, depthwise.shape, hidden
        ) + counter.conv_flop_count(hidden, pointwise.shape, out_val.shape)

    @counter.register_flop_formula(ops.separable_conv2d_backward, get_raw=True)
    def separable_backward_flops(
        grad_output, input, depthwise, _, pointwise, *__, out_val: Any
    ) -> int:
        hidden = _hidden_shape(input, depthwise, grad_output)
        asked = [gradient.numel() > 0 for gradient in out_val]
        into_depthwise = any(asked[:3])
        return backward(
            grad_output.shape, hidden, pointwise.shape, False, into_depthwise, asked[3]
        ) + backward(hidden, input.shape, depthwise.shape, False, asked[0], asked[1])


class _Watcher(importlib.abc.MetaPathFinder):
    """Finds the counter's module as Python does, and has the formulas added once it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader = spec.loader
            execute = loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                register_formulas(module)

            loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def watch() -> None:
    """Registers the formulas now or when the counter's module is imported."""
    if _COUNTER in sys.modules:
        register_formulas(sys.modules[_COUNTER])
    else:
        sys.meta_path.insert(0, _Watcher())
