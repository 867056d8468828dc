"""Everything torch asks of an op besides its kernels, registered in one place.

An op is described once, as an :class:`OpSpec`, and :func:`register` derives from it the fake
(shape) function, the autograd kernel, the batching rule, the autocast rule, the ATen path and the
decomposition for export. The key is ``aten``: the same function written with ATen operators, which
torch can differentiate, batch and export by itself. kernelopt's kernels serve plain eager, compiled
and first-order autograd calls; whatever else torch does to an op (``torch.func``, forward mode,
double backward, ONNX) goes through ``aten``, so it is right or raises as torch does.

The autograd kernel is written in Python at the Autograd key, because ``torch.library``'s own
``register_autograd`` lets ``torch.func.jvp`` return zero tangents.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import forward_ad

from . import _extension

_OPS = torch.library.Library("kernelopt", "FRAGMENT")
_ATEN_PATH = torch.library.Library("kernelopt_aten", "DEF")
_AFTER_AUTOGRAD = torch._C._after_autograd_keyset
# Below ADInplaceOrView too: what ATen returns as a view of its own making is no view to the caller,
# who may change it in place.
_BelowAutograd = torch._C._AutoDispatchBelowADInplaceOrView

Tensors = tuple["torch.Tensor | None", ...]
Values = tuple[Any, ...]
# What a public function calls an op by: its tensors, and its other arguments, all of them.
Call = Callable[[Tensors, Values], Any]


@dataclass(frozen=True)
class OpSpec:
    """What an op is to torch.

    Attributes:
        name: the op's name in ``torch.ops.kernelopt``.
        fake: takes the op's arguments as fake tensors, returns empty outputs of the same shape,
            dtype, device and strides as the kernels'; raises where they would.
        aten: the same function out of ATen operators; also the op's ATen path.
        save: from the op's tensors and its other arguments, what the backward needs of either.
        backward: ``(saved tensors, saved values, grad_output, needs)`` to one gradient a tensor
            (None where it has none); an op of several outputs gets a tuple of gradients, None for
            those that nothing depends on. An op without one is differentiated through ``aten``.
        expand: the op out of other ops of kernelopt that are differentiable by themselves, for
            arguments that ``backward`` does not cover; None for those that it does.
        autocast: whether autocast casts the op's floating arguments, as it does for convolutions.
    """

    name: str
    fake: Callable[..., Any]
    aten: Callable[..., Any]
    save: Callable[[Tensors, Values], tuple[Tensors, Any]] | None = None
    backward: Callable[..., Sequence[torch.Tensor | None]] | None = None
    expand: Callable[..., Any] | None = None
    autocast: bool = False

    @functools.cached_property
    def op(self) -> torch._ops.OpOverload:
        return getattr(torch.ops.kernelopt, self.name).default

    @functools.cached_property
    def defaults(self) -> tuple[Any, ...]:
        return tuple(
            argument.default_value if argument.has_default_value() else None
            for argument in self.op._schema.arguments
        )

    @functools.cached_property
    def num_tensors(self) -> int:
        """The arguments that are tensors: the first ones, in every op."""
        tensors = ("Tensor", "Optional[Tensor]")
        return sum(str(argument.type) in tensors for argument in self.op._schema.arguments)

    @functools.cached_property
    def node(self) -> type[_Node]:
        """The op's class of autograd nodes, whose name is what ``grad_fn`` shows."""
        words = ("kernelopt", *self.name.split("_"))
        return type("".join(map(str.capitalize, words)), (_Node,), {})

    def complete(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with the trailing defaults that the dispatcher strips."""
        return args + self.defaults[len(args) :]


_SPECS: dict[str, OpSpec] = {}


class _Node(torch.autograd.Function):
    """The autograd node of any op: runs the kernel below autograd, saves what the spec says."""

    @staticmethod
    def forward(ctx, spec: OpSpec, values: Values, *tensors):  # type: ignore[override]
        saved, ctx.values = spec.save(tensors, values)  # type: ignore[misc]
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        ctx.spec = spec
        with _BelowAutograd():
            return spec.op(*tensors, *values)

    @staticmethod
    def backward(ctx, *grad_outputs):  # type: ignore[override]
        needs = ctx.needs_input_grad[2:]
        if all(grad is None for grad in grad_outputs):
            return (None, None, *[None] * len(needs))
        grad_output = grad_outputs[0] if len(grad_outputs) == 1 else grad_outputs
        gradients = ctx.spec.backward(ctx.saved_tensors, ctx.values, grad_output, needs)
        return (None, None, *gradients)


def in_transform() -> bool:
    """Whether a torch.func transform or a forward-mode level is active."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    )


# A constant to Dynamo, which is inside the transforms that it traces and guards those around it.
# torch.compiler.assume_constant_result sets this mark, but would import Dynamo with kernelopt.
in_transform._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _autograd_kernel(spec: OpSpec) -> Callable[..., Any]:
    def run(keyset: torch._C.DispatchKeySet, args: tuple[Any, ...]) -> Any:
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*args):
            args = spec.complete(args)
            expanded = None if spec.expand is None else spec.expand(*args)
            if expanded is not None:
                return expanded
            if spec.backward is None:
                return spec.aten(*args)
            return spec.node.apply(spec, args[spec.num_tensors :], *args[: spec.num_tensors])
        with _BelowAutograd():
            return spec.op.redispatch(keyset & _AFTER_AUTOGRAD, *args)

    def kernel(keyset: torch._C.DispatchKeySet, *args: Any) -> Any:
        if not in_transform():
            try:
                return run(keyset, args)
            except RuntimeError as error:
                if not _lost_in_aten(error):
                    raise
        return spec.aten(*spec.complete(args))

    return kernel


def _autocast_kernel(spec: OpSpec, device_type: str, key: str) -> Callable[..., Any]:
    excluded = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))

    def cast(value: Any) -> Any:
        lowered = (
            isinstance(value, torch.Tensor)
            and value.is_floating_point()
            and value.dtype != torch.float64
            and value.device.type == device_type
        )
        # Read at call time: the user chooses the dtype on entering the autocast region.
        return value.to(torch.get_autocast_dtype(device_type)) if lowered else value

    def kernel(*args: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(excluded):
            return spec.op(*map(cast, args))

    return kernel


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"kernelopt: running on ATen's operators, because {reason}", stacklevel=4)


def _aten_path_kernel(spec: OpSpec) -> Callable[..., Any]:
    def kernel(*args: Any) -> Any:
        device = next(arg.device for arg in args if isinstance(arg, torch.Tensor))
        _warn_once(_extension.unavailable_reason(device))
        return spec.aten(*spec.complete(args))

    return kernel


def register(spec: OpSpec) -> Call:
    """Registers everything an :class:`OpSpec` describes, and returns what calls the op from a
    public function."""
    _SPECS[spec.name] = spec
    torch.library.register_fake(f"kernelopt::{spec.name}", spec.fake, lib=_OPS)
    _OPS.impl(spec.name, _autograd_kernel(spec), "Autograd", with_keyset=True)
    _OPS.impl(spec.name, lambda *args: spec.aten(*spec.complete(args)), "FuncTorchBatched")
    if spec.autocast:
        for device_type, key in (("cuda", "AutocastCUDA"), ("cpu", "AutocastCPU")):
            _OPS.impl(spec.name, _autocast_kernel(spec, device_type, key), key)
    _ATEN_PATH.define(str(spec.op._schema).removeprefix("kernelopt::"))
    _ATEN_PATH.impl(spec.name, _aten_path_kernel(spec), "CompositeExplicitAutograd")
    return _caller(spec)


def decompositions() -> dict[torch._ops.OpOverload, Callable[..., Any]]:
    """Every op's decomposition into ATen operators, for ``ExportedProgram.run_decompositions``.

    With it a model that holds kernelopt's ops exports to ONNX as plain Conv and Gelu nodes::

        program = torch.export.export(model, args).run_decompositions(kernelopt.decompositions())
    """
    return {
        spec.op: lambda *args, _spec=spec: _spec.aten(*_spec.complete(args))
        for spec in _SPECS.values()
    }


def _lost_in_aten(error: RuntimeError) -> bool:
    """Whether an op raised ``error`` because ATen's operators, which its C++ had called, failed.

    On the way through C++ they lose the type and the message of what they raised. Called from
    Python, by ``OpSpec.aten``, they raise it as it is, or succeed where memory has become free. A
    failed allocation of the op's own has lost its type alone, and is raised here.
    """
    message = str(error)
    if message.startswith("CUDA out of memory"):
        raise torch.OutOfMemoryError(message) from None
    return message.startswith("kernelopt: ATen's operators failed")


def _caller(spec: OpSpec) -> Call:
    """What calls an op from a public function, by the shortest way: much of a small call's time is
    the host's.

    The dispatcher and the autograd kernel, which is in Python, come first only where something
    needs them: a transform, autocast, a tracer. Elsewhere they would do nothing but find out
    whether a tensor requires a gradient.
    """
    op = spec.op
    # What calling `op` calls, without a frame and two packings of the arguments.
    direct = getattr(op, "_op", op)
    is_node = spec.backward is not None and spec.expand is None  # for any arguments

    def call(tensors: Tensors, values: Values) -> Any:
        if torch.compiler.is_compiling():
            return op(*tensors, *values)
        try:
            # A tracer is told of ops one way, so that two traces of a model are alike.
            if in_transform() or torch._C._get_tracing_state() is not None:
                return op(*tensors, *values)
            if not (torch.is_grad_enabled() and torch._C._any_requires_grad(*tensors)):
                with _BelowAutograd():
                    return direct(*tensors, *values)
            if not is_node or torch._C._is_any_autocast_enabled():
                return op(*tensors, *values)
            return spec.node.apply(spec, values, *tensors)
        except RuntimeError as error:
            if not _lost_in_aten(error):
                raise
        return spec.aten(*tensors, *values)

    return call
