"""One call of a model, forward and backward, with everything it produced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .problem import seed_all
from .state import state_tensors, unchanged
from .values import is_array, is_inexact, map_tensors, named_leaves, tensors_in


class NoGradient(Exception):
    """Nothing to differentiate, and why."""


@dataclass
class Outcome:
    """What a call produced.

    Attributes:
        results: outputs, buffers and inputs that the call changed, by name.
        others: output values that are no tensors.
        gradients: by name; None where torch gives none.
        cotangents: the gradients of the outputs that the backward pass began with.
    """

    results: dict[str, torch.Tensor]
    others: dict[str, Any]
    gradients: dict[str, torch.Tensor | None] = field(default_factory=dict)
    cotangents: dict[str, torch.Tensor] = field(default_factory=dict)

    def on_cpu(self) -> Outcome:
        """The same, in the CPU's memory."""
        return Outcome(
            {name: value.cpu() for name, value in self.results.items()},
            self.others,
            {n: None if value is None else value.cpu() for n, value in self.gradients.items()},
            {name: value.cpu() for name, value in self.cotangents.items()},
        )

    def everything(self) -> dict[str, torch.Tensor | None]:
        return {**self.results, **self.gradients}


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype | None) -> Iterator[None]:
    """What a forward pass creates without naming a dtype has this one."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype or previous)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


def random_like(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator(tensor.device).manual_seed(seed)
    dtype = torch.complex64 if tensor.is_complex() else torch.float32
    values = torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=dtype)
    return values.to(tensor.dtype)


def _storage(tensor: torch.Tensor) -> int | None:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else None


def _own_memory(tensor: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """A result that will not change when the model gets its state back."""
    tensor = tensor.detach()
    if tensor.layout == torch.strided and _storage(tensor) in map(_storage, state_tensors(model)):
        return tensor.clone()
    return tensor


def _as_tensor(leaf: Any) -> Any:
    """A number that the model took out of a tensor, or an array, is compared as a tensor is."""
    if is_array(leaf):
        with contextlib.suppress(TypeError):  # strings, objects
            return torch.tensor(leaf.copy())
    if isinstance(leaf, (float, complex)):
        return torch.tensor(
            leaf, dtype=torch.promote_types(torch.float64, torch.tensor(leaf).dtype)
        )
    return leaf


def evaluate(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    seed: int,
    backward: bool,
    dtype: torch.dtype | None = None,
    cotangents: dict[str, torch.Tensor] | None = None,
) -> Outcome:
    """Calls a model on copies of the inputs; the model and the inputs stay as they were.

    Args:
        model: called with ``args`` and ``kwargs``, of tensors on its device.
        seed: of the random numbers that the call may draw.
        backward: also differentiate the outputs with respect to the floating inputs and the
            parameters; without it the call runs under ``torch.no_grad``.
        dtype: the default dtype during the call; default the current one.
        cotangents: the outputs' gradients by name; default random ones.

    Raises:
        NoGradient: with ``backward``, where no output depends on anything differentiable.
        Exception: whatever the model raises.
    """
    leaves: dict[str, torch.Tensor] = {}
    names = iter(
        name
        for prefix, value in (("input", list(args)), ("input", kwargs))
        for name, leaf in named_leaves(value, prefix)
        if isinstance(leaf, torch.Tensor)
    )

    def leaf_copy(tensor: torch.Tensor) -> torch.Tensor:
        # The model gets a copy, so that it may write to its inputs even where they need gradients.
        leaf = leaves[next(names)] = tensor.detach()
        return leaf.requires_grad_(backward and is_inexact(leaf)).clone()

    with unchanged(model), default_dtype(dtype), torch.set_grad_enabled(backward):
        copies = map_tensors(leaf_copy, list(args)), map_tensors(leaf_copy, kwargs)
        given = dict(zip(leaves, tensors_in(copies), strict=True))
        versions = {name: tensor._version for name, tensor in given.items()}
        seed_all(seed)
        output = model(*copies[0], **copies[1])

        produced = {name: _as_tensor(leaf) for name, leaf in named_leaves(output, "output")}
        tensors = {name: leaf for name, leaf in produced.items() if isinstance(leaf, torch.Tensor)}
        outcome = Outcome(
            results={name: _own_memory(tensor, model) for name, tensor in tensors.items()},
            others={name: leaf for name, leaf in produced.items() if name not in tensors},
        )
        for name, tensor in given.items():
            if tensor._version != versions[name]:
                outcome.results[f"{name} afterwards"] = tensor.detach()
        for name, buffer in model.named_buffers():
            outcome.results[f"buffer {name} afterwards"] = buffer.detach().clone()
        if backward:
            wanted = {
                **{f"gradient of {n}": leaf for n, leaf in leaves.items() if leaf.requires_grad},
                **{f"gradient of {n}": p for n, p in model.named_parameters() if p.requires_grad},
            }
            _differentiate(outcome, tensors, wanted, seed, cotangents)
    return outcome


def _differentiate(
    outcome: Outcome,
    outputs: dict[str, torch.Tensor],
    wanted: dict[str, torch.Tensor],
    seed: int,
    cotangents: dict[str, torch.Tensor] | None,
) -> None:
    outputs = {name: tensor for name, tensor in outputs.items() if tensor.requires_grad}
    if not wanted:
        raise NoGradient("neither an input nor a parameter is differentiable")
    if not outputs:
        raise NoGradient("no output depends on a differentiable input or parameter")
    if cotangents is None:
        cotangents = {name: random_like(tensor, seed) for name, tensor in outputs.items()}
    if cotangents.keys() != outputs.keys():
        raise RuntimeError(
            f"differentiable outputs are {', '.join(outputs)}, expected {', '.join(cotangents)}"
        )
    outcome.cotangents = cotangents
    gradients = torch.autograd.grad(
        list(outputs.values()),
        list(wanted.values()),
        [cotangents[name].to(tensor) for name, tensor in outputs.items()],
        allow_unused=True,
    )
    outcome.gradients = dict(zip(wanted, gradients, strict=True))


def builds_layers(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dtype: torch.dtype | None
) -> bool:
    """Whether a call adds modules or parameters to the model. Where it does, they stay."""

    def names() -> set[str]:
        return {name for name, _ in (*model.named_modules(), *model.named_parameters())}

    before = names()
    copies = map_tensors(torch.clone, list(args)), map_tensors(torch.clone, kwargs)
    with unchanged(model), default_dtype(dtype), torch.no_grad():
        seed_all(0)
        model(*copies[0], **copies[1])
    return names() != before


def draws_random_numbers(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dtype: torch.dtype | None
) -> bool:
    """Whether a call advances a random number generator of torch's."""
    devices = {tensor.device for tensor in [*tensors_in(args), *model.parameters()]}

    def states() -> list[torch.Tensor]:
        gpu = [torch.cuda.get_rng_state(device) for device in devices if device.type == "cuda"]
        return [torch.get_rng_state(), *gpu]

    copies = map_tensors(torch.clone, list(args)), map_tensors(torch.clone, kwargs)
    with unchanged(model), default_dtype(dtype), torch.no_grad():
        seed_all(0)
        before = states()
        model(*copies[0], **copies[1])
        return any(not torch.equal(a, b) for a, b in zip(before, states(), strict=True))
