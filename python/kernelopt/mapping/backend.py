"""The ``torch.compile`` backend "kernelopt": the rewrite, then Inductor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .rewrite import rewrite

NAME = "kernelopt"


def compile_with_kernelopt(
    graph_module: torch.fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """Compiles a graph with Inductor, its convolutions running on kernelopt's ops.

    ``torch.compile(model, backend="kernelopt")`` calls it. Convolutions are replaced, with the
    activation that follows, and depthwise and 1x1 convolutions are fused. Lone additions and GELUs
    are left to Inductor, which fuses them with their neighbours.

    Args:
        graph_module: a torch-level graph, as Dynamo captures it.
        example_inputs: its inputs.
        mode: as in :func:`torch.compile`: "reduce-overhead", "max-autotune", ...
        options: Inductor's options, as in :func:`torch.compile`; they win over those of ``mode``.
    """
    from torch._inductor import list_mode_options
    from torch._inductor.compile_fx import compile_fx

    rewrite(graph_module, compiled=True)
    patches = {**(list_mode_options(mode) if mode else {}), **(options or {})}
    patches = {name.replace("-", "_"): value for name, value in patches.items()}
    compiled: Any = compile_fx(graph_module, example_inputs, config_patches=patches)
    return compiled


def register() -> None:
    """Makes the name "kernelopt" known to ``torch.compile``.

    An installed kernelopt needs no call: torch finds the backend by its entry point. A source tree
    on ``PYTHONPATH`` has none: call this, or give ``backend=compile_with_kernelopt``. Models that
    :func:`kernelopt.optimize` gave a graph layer call it, too.
    """
    from torch._dynamo.backends import registry

    if NAME not in registry._COMPILER_FNS:
        registry.register_backend(compile_with_kernelopt, name=NAME)
