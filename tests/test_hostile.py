"""Malformed input: an error that names the op, the argument and the value, before anything is read.

The public functions raise what torch's functions raise on the same call, and accept what they
accept; the raw ops raise RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import kernelopt
from conformance.raw import Arguments, op_names, raw_arguments
from conformance.samples import OP_INFOS, op_info


def _beyond_storage(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose last element lies past the end of its storage."""
    copy = tensor.clone()
    storage = copy.untyped_storage()
    storage.resize_(storage.nbytes() - copy.element_size())
    return copy


def _tensor(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


# Public functions


def _depthwise(input, weight, bias=None, stride=1, padding=0, dilation=1):
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups=4)


PUBLIC: dict[str, tuple[Callable, Callable[[], Arguments]]] = {
    "add": (torch.add, lambda: {"input": _tensor(3, 4), "other": _tensor(4), "alpha": 2}),
    "gelu": (F.gelu, lambda: {"input": _tensor(3, 4), "approximate": "tanh"}),
    "conv1d": (
        F.conv1d,
        lambda: {
            "input": _tensor(2, 4, 9),
            "weight": _tensor(6, 2, 3),
            "bias": _tensor(6),
            "stride": 1,
            "padding": 1,
            "dilation": 1,
            "groups": 2,
        },
    ),
    "conv_transpose1d": (
        F.conv_transpose1d,
        lambda: {
            "input": _tensor(2, 4, 9),
            "weight": _tensor(4, 3, 3),
            "bias": _tensor(6),
            "stride": 2,
            "padding": 1,
            "output_padding": 1,
            "groups": 2,
            "dilation": 1,
        },
    ),
    "depthwise_conv2d": (
        _depthwise,
        lambda: {
            "input": _tensor(2, 4, 7, 9),
            "weight": _tensor(8, 1, 3, 2),
            "bias": _tensor(8),
            "stride": 1,
            "padding": (1, 0),
            "dilation": 1,
        },
    ),
    "pointwise_conv2d": (
        F.conv2d,
        lambda: {
            "input": _tensor(2, 4, 7, 9),
            "weight": _tensor(6, 4, 1, 1),
            "bias": _tensor(6),
        },
    ),
}

NOT_TENSORS = {"a list": [1.0, 2.0], "a word": "x", "an object": object()}

TENSOR_CHANGES: dict[str, Callable[[torch.Tensor], Any]] = {
    "int64": torch.Tensor.long,
    "bool": torch.Tensor.bool,
    "float64": torch.Tensor.double,
    "bfloat16": torch.Tensor.bfloat16,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "sparse": torch.Tensor.to_sparse,
    "one rank more": lambda tensor: tensor.expand(1, 1, *tensor.shape),
    "one rank less": lambda tensor: tensor[0],
    "rank 0": lambda tensor: tensor.flatten()[0],
    "first size one more": lambda tensor: torch.cat([tensor, tensor[:1]]),
    "last size one more": lambda tensor: torch.cat([tensor, tensor[..., :1]], -1),
    "last size 0": lambda tensor: tensor[..., :0],
    "first size 0": lambda tensor: tensor[:0],
    "second size 0": lambda tensor: tensor[:, :0] if tensor.dim() > 1 else tensor[:0],
    "negative bit": lambda tensor: torch.complex(tensor, tensor).conj().imag,
}

# A kernel of 1x2 is a convolution, but no pointwise one.
OUTSIDE_OUR_FUNCTION = [("pointwise_conv2d", "weight", "last size one more")]

# Torch takes a list or a tuple of one or two ints as well as an int.
NUMBERS = {
    "zero": 0,
    "negative": -1,
    "negative in a tuple": (-1,),
    "a float": 1.5,
    "a float in a tuple": (1.5,),
    "a word": "x",
    "a word in a tuple": ("x",),
    "no numbers": (),
    "three numbers": (1, 1, 1),
    "two numbers": (1, 2),
    "None": None,
    "2^63": 2**63,
    "many": 1000,
}


def _public_calls() -> Iterator[Any]:
    for name, (_, make) in PUBLIC.items():
        for argument, value in make().items():
            if isinstance(value, torch.Tensor):
                for label, bad in NOT_TENSORS.items():
                    yield pytest.param(name, argument, bad, id=f"{name}-{argument}-{label}")
                for label in TENSOR_CHANGES:
                    if (name, argument, label) in OUTSIDE_OUR_FUNCTION:
                        continue
                    yield pytest.param(name, argument, label, id=f"{name}-{argument}-{label}")
            elif argument in ("stride", "padding", "output_padding", "dilation", "groups"):
                for label, bad in NUMBERS.items():
                    yield pytest.param(name, argument, bad, id=f"{name}-{argument}-{label}")
        if "stride" in make():
            for stride in (1, 2):
                yield pytest.param(name, "padding", ("same", stride), id=f"{name}-same-{stride}")
    yield pytest.param("gelu", "approximate", "erf", id="gelu-approximate-a word")
    yield pytest.param("gelu", "approximate", 1, id="gelu-approximate-an int")
    yield pytest.param("add", "alpha", "2", id="add-alpha-a word")
    yield pytest.param("add", "alpha", 1j, id="add-alpha-complex")


def _outcome(function: Callable, arguments: Arguments) -> Any:
    positional = dict(arguments)
    leading = [positional.pop(key) for key in ("input", "other", "weight") if key in positional]
    try:
        return function(*leading, **positional)
    except Exception as error:
        return error


@pytest.mark.parametrize(("name", "argument", "bad"), list(_public_calls()))
def test_public_function_raises_and_accepts_as_torch(name: str, argument: str, bad: Any) -> None:
    reference, make = PUBLIC[name]
    arguments = make()
    if isinstance(bad, str) and bad in TENSOR_CHANGES:
        bad = TENSOR_CHANGES[bad](arguments[argument])
    if isinstance(bad, tuple) and bad[:1] == ("same",):
        bad, arguments["stride"] = bad
    arguments[argument] = bad
    theirs = _outcome(reference, arguments)
    ours = _outcome(getattr(kernelopt, name), arguments)
    if isinstance(theirs, Exception):
        assert type(ours) is type(theirs), f"{ours!r}\ntorch: {theirs!r}"
        assert str(ours)
    else:
        assert not isinstance(ours, Exception), f"torch accepts this, ours: {ours!r}"
        torch.testing.assert_close(ours, theirs)


LARGE_FACTORS = {
    "2^63": 2**63,
    "2^64": 2**64,
    "less than -2^63": -(2**63) - 1,
    "no float": 10**400,
    "no float32": 1e300,
    "a large float32": 1e38,
    "inf": torch.inf,
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", LARGE_FACTORS.values(), ids=LARGE_FACTORS.keys())
def test_large_factors_in_every_dtype(alpha: float, dtype: torch.dtype, device: str) -> None:
    x = _tensor(3, 4).to(device, dtype)
    theirs = _outcome(torch.add, {"input": x, "other": x, "alpha": alpha})
    ours = _outcome(kernelopt.add, {"input": x, "other": x, "alpha": alpha})
    if isinstance(theirs, Exception):
        assert type(ours) is type(theirs), f"{ours!r}\ntorch: {theirs!r}"
    else:
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", [name for name in OP_INFOS if op_info(name).error_inputs_func])
def test_error_inputs_of_torch(name: str, device: str) -> None:
    """PyTorch's own error inputs: the same type of error. The two-dimensional ones, which are dense
    convolutions, are as wrong for the depthwise, pointwise and separable functions."""
    for error_input in op_info(name).error_inputs(device):
        sample = error_input.sample_input
        tensors, options = [sample.input, *sample.args], dict(sample.kwargs)
        if OP_INFOS[name] == "nn.functional.conv2d":
            options.pop("groups", None)
        if name == "pointwise_conv2d":
            options = {}
        if name == "separable_conv2d":
            weight, bias = tensors[1:]
            tensors[2:] = [torch.randn(2, weight.shape[0], 1, 1, device=device), bias]
        with pytest.raises(error_input.error_type):
            getattr(kernelopt, name)(*tensors, **options)


# Raw ops

RAW_TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "int64": torch.Tensor.long,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "sparse": torch.Tensor.to_sparse,
    "quantized": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.quint8),
    "beyond its storage": _beyond_storage,
    "a word": lambda tensor: "x",
    "a list": lambda tensor: [1.0],
}
# Beside other tensors, or where the op fixes the rank.
RAW_TENSORS_BESIDE_OTHERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "float64": torch.Tensor.double,
    "meta": lambda tensor: tensor.to("meta"),
}
RAW_RANKED_TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "one rank more": lambda tensor: tensor[None],
    "rank 0": lambda tensor: tensor.flatten()[0],
    "second size one more": lambda tensor: (
        torch.cat([tensor, tensor[:, :1]], 1)
        if tensor.dim() > 1
        else torch.cat([tensor, tensor[:1]])
    ),
}
RAW_NUMBERS: dict[str, list[Any]] = {
    "stride": [0, -1, -(2**62)],
    "padding": [-1, 2**61, 2**62, -(2**63)],
    "output_padding": [-1, 7, 2**62],
    "dilation": [0, -1, 2**62, 2**63 - 1],
}
RAW_ENUMERATIONS = ("activation", "depthwise_activation", "precision", "approximate")


def _raw_calls() -> Iterator[Any]:
    for op in op_names():
        arguments = raw_arguments(op)
        tensors = [name for name, value in arguments.items() if isinstance(value, torch.Tensor)]
        for name, value in arguments.items():
            changes: dict[str, Any] = {}
            if isinstance(value, torch.Tensor):
                changes = dict(RAW_TENSORS)
                if len(tensors) > 1:
                    changes |= RAW_TENSORS_BESIDE_OTHERS
                if op not in ("add", "gelu", "add_backward"):
                    changes |= RAW_RANKED_TENSORS
            elif name in RAW_NUMBERS:
                numbers = list(RAW_NUMBERS[name])
                if name == "stride" and op.startswith("conv_transpose1d"):
                    numbers += [2**59, 2**62]
                for number in numbers:
                    changes[str(number)] = [*value[:-1], number]
                changes |= {"no numbers": [], "a number more": [*value, 1], "a word": "x"}
            elif name == "groups":
                changes = {str(number): number for number in (0, -1, 3, 2**62, -(2**63))}
            elif name in RAW_ENUMERATIONS:
                changes = {str(number): number for number in (-1, 99, 2**40, -(2**63))}
            elif name == "output_mask":
                changes = {"a value less": value[1:], "a value more": [*value, True]}
            elif name in ("self_size", "other_size"):
                changes = {"longer": [2, 3, 4, 5], "larger": [5], "negative": [-1], "0": [0]}
            for label, change in changes.items():
                yield pytest.param(op, name, change, id=f"{op}-{name}-{label}")


@pytest.mark.parametrize(("op", "name", "change"), list(_raw_calls()))
@pytest.mark.parametrize("requires_grad", [False, True])
def test_raw_op_raises(op: str, name: str, change: Any, requires_grad: bool) -> None:
    arguments = raw_arguments(op)
    value = arguments[name]
    arguments[name] = change(value) if callable(change) else change
    if requires_grad:
        for key, tensor in arguments.items():
            if isinstance(tensor, torch.Tensor) and key != name and not op.endswith("_backward"):
                tensor.requires_grad_()
    with pytest.raises(RuntimeError) as raised:
        getattr(torch.ops.kernelopt, op)(*arguments.values())
    message = str(raised.value)
    assert f"kernelopt::{op}" in message
    assert len(message) > len(op) + 20


def test_messages_name_argument_value_and_expectation() -> None:
    x, w = _tensor(2, 4, 9), _tensor(6, 2, 3)
    expectations = {
        r"kernelopt::conv1d: expected stride to be at least 1, got \[0\]": ([0], [1], [1], 2),
        r"kernelopt::conv1d: expected padding to be at least 0, got \[-1\]": ([1], [-1], [1], 2),
        r"kernelopt::conv1d: expected dilation .*got .*4611686018427387904": (
            [1],
            [1],
            [2**62],
            2,
        ),
    }
    for expectation, arguments in expectations.items():
        with pytest.raises(RuntimeError, match=expectation):
            torch.ops.kernelopt.conv1d(x, w, None, *arguments)
    with pytest.raises(RuntimeError, match=r"kernelopt::gelu: expected self to lie inside its sto"):
        torch.ops.kernelopt.gelu(_beyond_storage(x))
    with pytest.raises(RuntimeError, match=r"kernelopt::add: expected other to have dtype|device"):
        torch.ops.kernelopt.add(x.to("meta"), x)


@pytest.mark.parametrize("name", ["conv1d", "depthwise_conv2d", "separable_conv2d"])
def test_a_stride_may_be_huge(name: str) -> None:
    """It leaves one output a dimension, as in torch."""
    for value in (2**40, 2**62):
        arguments = raw_arguments(name)
        arguments["stride"] = [value] * len(arguments["stride"])
        output = getattr(torch.ops.kernelopt, name)(*arguments.values())
        assert output.shape[2:].numel() == 1


@pytest.mark.gpu
@pytest.mark.parametrize("op", op_names())
def test_tensors_on_two_kinds_of_device(op: str) -> None:
    """Each tensor in turn stays on the CPU while the others are on a GPU."""
    tensors = [n for n, value in raw_arguments(op).items() if isinstance(value, torch.Tensor)]
    for name in tensors if len(tensors) > 1 else ():
        arguments = {
            key: value.cuda() if isinstance(value, torch.Tensor) and key != name else value
            for key, value in raw_arguments(op).items()
        }
        with pytest.raises(RuntimeError):
            getattr(torch.ops.kernelopt, op)(*arguments.values())


@pytest.mark.gpu
@pytest.mark.parametrize(("op", "name", "change"), list(_raw_calls()))
def test_raw_op_raises_on_a_gpu(op: str, name: str, change: Any) -> None:
    """The same checks, before any kernel; the GPU works on afterwards."""
    if change in (RAW_TENSORS["quantized"], RAW_TENSORS_BESIDE_OTHERS["meta"]):
        return
    arguments = {
        key: value.cuda() if isinstance(value, torch.Tensor) else value
        for key, value in raw_arguments(op).items()
    }
    arguments[name] = change(arguments[name]) if callable(change) else change
    with pytest.raises(RuntimeError):
        getattr(torch.ops.kernelopt, op)(*arguments.values())
    torch.cuda.synchronize()
