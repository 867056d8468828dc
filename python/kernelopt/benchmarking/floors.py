"""The least time a call can take on a card whose three rates are known.

The floor is the largest of three times: the fewest bytes (every input read once, every output
written once) over copy bandwidth, tensor-core FLOPs over their rate, CUDA-core FLOPs over theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .cases import Case, Ints

ITEM_SIZE = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}

# One float32 product on tensor cores is three of bfloat16: high x high, high x low, low x high.
BF16X3 = 3

# A GELU costs about this many FLOPs an element (an exponential or erf polynomial, and a division).
# It never decides a floor; it shows that it does not.
GELU_FLOPS = 20


@dataclass(frozen=True)
class Rates:
    """What the card does, measured."""

    copy_gbps: float
    tensor_tflops: float
    fp32_tflops: float


@dataclass(frozen=True)
class Work:
    """What a call must do: bytes through device memory, FLOPs on either kind of core."""

    bytes: int
    tensor_flops: int
    core_flops: int

    def floor_ms(self, dtype: str, rates: Rates) -> float:
        passes = BF16X3 if dtype == "float32" else 1
        return 1e3 * max(
            self.bytes / (rates.copy_gbps * 1e9),
            passes * self.tensor_flops / (rates.tensor_tflops * 1e12),
            self.core_flops / (rates.fp32_tflops * 1e12),
        )


def valid_taps(few: int, many: int, taps: int, stride: int, padding: int, dilation: int) -> int:
    """Pairs of a position and a tap that meet inside the longer side, along one dimension.

    Position ``i`` of the ``few`` meets ``i * stride - padding + tap * dilation`` of the ``many``,
    which are the input of a convolution, the output of a transposed one. Taps in the padding do no
    work.
    """
    count = 0
    for tap in range(taps):
        shift = tap * dilation - padding
        first = max(0, -(shift // stride))
        last = min(few - 1, (many - 1 - shift) // stride)
        count += max(0, last - first + 1)
    return count


def _tap_pairs(case: Case) -> int:
    output = case.output_shape[2:]
    sides = (case.shape[2:], output) if case.op == "conv_transpose1d" else (output, case.shape[2:])
    return prod(
        valid_taps(*arguments)
        for arguments in zip(
            *sides, case.kernel_size, case.stride, case.padding, case.dilation, strict=True
        )
    )


def weight_shapes(case: Case) -> list[Ints]:
    """The shapes of a convolution's weights and biases, in the order of the public function."""
    channels = case.shape[1]
    out = case.out_channels
    weights_of: dict[str, list[Ints]] = {
        "conv1d": [(out, channels // case.groups, *case.kernel_size)],
        "conv_transpose1d": [(channels, out // case.groups, *case.kernel_size)],
        "depthwise_conv2d": [(out, 1, *case.kernel_size)],
        "pointwise_conv2d": [(out, channels, 1, 1)],
        "separable_conv2d": [(channels, 1, *case.kernel_size), (out, channels, 1, 1)],
    }
    weights = weights_of[case.op]
    biases: list[Ints] = [(out,)]
    if case.op == "separable_conv2d":
        biases = [(channels,), (out,)]
    return weights + biases if case.bias else weights


def input_shapes(case: Case) -> list[Ints]:
    """The shapes of all tensors of a call, in the order of the public function."""
    if case.op == "gelu":
        return [case.shape]
    if case.op == "add":
        return [case.shape, case.other]
    return [case.shape, *weight_shapes(case)]


def _convolution_flops(case: Case) -> tuple[int, int]:
    """FLOPs of one forward on tensor cores and on CUDA cores."""
    batch, channels = case.shape[:2]
    out = case.out_channels
    if case.op == "pointwise_conv2d":
        return 2 * batch * channels * out * prod(case.shape[2:]), 0
    pairs = batch * _tap_pairs(case)
    if case.op == "depthwise_conv2d":
        return 0, 2 * pairs * out
    if case.op == "separable_conv2d":
        return 2 * batch * channels * out * prod(case.output_shape[2:]), 2 * pairs * channels
    flops = 2 * pairs * channels * (out // case.groups)
    # Nothing is shared between outputs of a depthwise convolution: no matrix product in it.
    return (0, flops) if case.groups == channels else (flops, 0)


def _elementwise_work(case: Case, direction: str, item: int) -> Work:
    count = prod(case.output_shape)
    if case.op == "gelu":
        passes = 2 if direction == "forward" else 3
        return Work(passes * count * item, 0, GELU_FLOPS * count)
    if direction == "forward":
        return Work((prod(case.shape) + prod(case.other) + count) * item, 0, count)
    # A gradient in the output's shape is grad_output itself; only the reduced ones are written.
    reduced = [prod(shape) for shape in (case.shape, case.other) if shape != case.output_shape]
    return Work((count + sum(reduced)) * item if reduced else 0, 0, count * len(reduced))


def work(case: Case, dtype: str, direction: str) -> Work:
    """The least a call must do.

    Forward reads the inputs and writes the output. Backward reads the output's gradient and the
    inputs and writes a gradient for each input, with twice the forward's FLOPs.
    """
    item = ITEM_SIZE[dtype]
    if case.op in ("add", "gelu"):
        return _elementwise_work(case, direction, item)
    inputs = sum(prod(shape) for shape in input_shapes(case))
    output = prod(case.output_shape)
    tensor, core = _convolution_flops(case)
    if direction == "forward":
        return Work((inputs + output) * item, tensor, core)
    return Work((2 * inputs + output) * item, 2 * tensor, 2 * core)
