"""Arguments of the raw ops, in schema order."""

from __future__ import annotations

from typing import Any

import torch

Arguments = dict[str, Any]


def op_names() -> list[str]:
    """Every op in torch.ops.kernelopt, forward and backward."""
    qualified = torch._C._dispatch_get_all_op_names()
    names = {name.split("::")[1].split(".")[0] for name in qualified if "kernelopt::" in name}
    return sorted(name for name in names if hasattr(torch.ops.kernelopt, name))


def _forward_arguments(length: int, requires_grad: bool) -> dict[str, Arguments]:
    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(shape, requires_grad=requires_grad)

    fused = {"activation": 1, "precision": 0}
    window = {"stride": [1, 1], "padding": [1, 0], "dilation": [1, 1]}
    depthwise = {"weight": tensor(8, 1, 3, 2), "bias": tensor(8)}
    pointwise = {"weight": tensor(6, 4, 1, 1), "bias": tensor(6)}
    image = {"input": tensor(2, 4, 7, length)}
    return {
        "add": {"self": tensor(3, length), "other": tensor(length), "alpha": 1.0},
        "gelu": {"self": tensor(3, length), "approximate": 0},
        "conv1d": {
            "input": tensor(2, 4, length),
            "weight": tensor(6, 2, 3),
            "bias": tensor(6),
            "stride": [1],
            "padding": [1],
            "dilation": [1],
            "groups": 2,
            **fused,
        },
        "conv_transpose1d": {
            "input": tensor(2, 4, length),
            "weight": tensor(4, 3, 3),
            "bias": tensor(6),
            "stride": [2],
            "padding": [1],
            "output_padding": [1],
            "groups": 2,
            "dilation": [1],
            **fused,
        },
        "depthwise_conv2d": image | depthwise | window | fused,
        "pointwise_conv2d": image | pointwise | fused,
        "separable_conv2d": {
            **image,
            **{f"depthwise_{name}": value for name, value in depthwise.items()},
            "pointwise_weight": tensor(6, 8, 1, 1),
            "pointwise_bias": tensor(6),
            **window,
            "depthwise_activation": 1,
            **fused,
        },
    }


def raw_arguments(op: str, length: int = 9, requires_grad: bool = False) -> Arguments:
    """Arguments that are all right; ``length`` is the input's last size."""
    forward = op.removesuffix("_backward")
    known = _forward_arguments(length, requires_grad)
    if forward not in known:
        raise LookupError(f"no arguments for {op}: add them to {__name__}")
    arguments = known[forward]
    if op == forward:
        return arguments
    with torch.no_grad():
        output = getattr(torch.ops.kernelopt, forward)(*arguments.values())
    schema = getattr(torch.ops.kernelopt, op).default._schema
    values: Arguments = {}
    for argument in schema.arguments:
        if argument.name == "grad_output":
            values[argument.name] = torch.randn_like(output)
        elif argument.name == "output_mask":
            values[argument.name] = [True] * len(schema.returns)
        elif argument.name.endswith("_size"):
            values[argument.name] = list(arguments[argument.name.removesuffix("_size")].shape)
        else:
            values[argument.name] = arguments[argument.name]
    return values
