"""What torch.utils.flop_counter counts for the ops, against torch's operators."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import kernelopt


def flops(function, tensors, wanted):
    """Of a forward and of a backward to the wanted tensors."""
    leaves = [
        None if tensor is None else tensor.clone().requires_grad_(index in wanted)
        for index, tensor in enumerate(tensors)
    ]
    with FlopCounterMode(display=False) as forward:
        output = function(*leaves)
    if not wanted:
        return forward.get_total_flops(), 0
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def _separable(x, depthwise, depthwise_bias, pointwise, bias):
    hidden = F.conv2d(x, depthwise, depthwise_bias, 2, 1, 1, depthwise.shape[0])
    return F.conv2d(hidden, pointwise, bias)


CASES = {
    "conv1d": (
        lambda x, w, b: kernelopt.conv1d(x, w, b, 2, 1),
        lambda x, w, b: F.conv1d(x, w, b, 2, 1),
        ((2, 4, 17), (6, 4, 3), (6,)),
    ),
    "conv1d in groups, dilated": (
        lambda x, w, b: kernelopt.conv1d(x, w, b, 1, 2, 2, 2),
        lambda x, w, b: F.conv1d(x, w, b, 1, 2, 2, 2),
        ((3, 4, 17), (6, 2, 3), (6,)),
    ),
    "conv_transpose1d": (
        lambda x, w, b: kernelopt.conv_transpose1d(x, w, b, 3, 1, 1),
        lambda x, w, b: F.conv_transpose1d(x, w, b, 3, 1, 1),
        ((2, 4, 9), (4, 5, 4), (5,)),
    ),
    "depthwise_conv2d": (
        lambda x, w, b: kernelopt.depthwise_conv2d(x, w, b, 2, 1),
        lambda x, w, b: F.conv2d(x, w, b, 2, 1, 1, 4),
        ((2, 4, 9, 11), (4, 1, 3, 3), (4,)),
    ),
    "pointwise_conv2d": (
        kernelopt.pointwise_conv2d,
        F.conv2d,
        ((2, 4, 9, 11), (6, 4, 1, 1), (6,)),
    ),
    "separable_conv2d": (
        lambda x, d, e, p, b: kernelopt.separable_conv2d(x, d, p, e, b, stride=2, padding=1),
        _separable,
        ((2, 4, 9, 11), (4, 1, 3, 3), (4,), (6, 4, 1, 1), (6,)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_as_many_as_torchs_operators(device, name):
    ours, theirs, shapes = CASES[name]
    tensors = [torch.randn(shape, device=device) for shape in shapes]
    everything = range(len(tensors))
    for wanted in ([], everything, [0], [1], [2], everything[1:], everything[-2:]):
        counted = flops(ours, tensors, wanted)
        assert counted == flops(theirs, tensors, wanted), wanted
        assert counted[0] > 0


def test_an_activation_counts_nothing(device):
    x, w = torch.randn(2, 4, 17, device=device), torch.randn(6, 4, 3, device=device)
    plain = flops(lambda x, w: kernelopt.conv1d(x, w), [x, w], [0, 1])
    assert flops(lambda x, w: kernelopt.conv1d(x, w, activation="gelu"), [x, w], [0, 1]) == plain


@pytest.mark.parametrize("first", ["kernelopt", "torch.utils.flop_counter"])
def test_in_either_order_of_import(first):
    code = (
        f"import torch, {first}\n"
        "import kernelopt\n"
        "from torch.utils.flop_counter import FlopCounterMode\n"
        "with FlopCounterMode(display=False) as counter:\n"
        "    kernelopt.conv1d(torch.ones(2, 3, 8), torch.ones(4, 3, 1))\n"
        "print(counter.get_total_flops())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == [str(2 * 2 * 3 * 4 * 8)], result.stderr


def test_import_leaves_the_counter_alone():
    code = "import sys, kernelopt; print('torch.utils.flop_counter' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False"], result.stderr
