"""add and gelu against torch.add and torch.nn.functional.gelu."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

import kernelopt
from op_suite import OpSuite
from support import DTYPES, LAYOUTS, CountGraphs, pairwise

SHAPES = [
    ((5, 7), (5, 7)),
    ((3, 1, 9), (4, 1)),
    ((2, 65, 33), (33,)),
    ((6,), (5, 1, 6)),
    ((2, 3, 4, 5), (2, 3, 4, 5)),
]


class ElementwiseSuite(OpSuite):
    """Element-wise ops keep torch's output format."""

    ieee = True

    def check_formats(self, case, tensors, output, grad_first):
        assert output.stride() == self.theirs(case)(*tensors).stride()


class TestAdd(ElementwiseSuite):
    op = "add"
    num_results = 2
    dynamic_dim = 0
    cases = pairwise({"dtype": DTYPES, "layout": LAYOUTS, "shapes": SHAPES, "alpha": [1, -2, 0.3]})
    gradient_cases = pairwise({"shapes": SHAPES[:2] + SHAPES[3:4], "alpha": [1, 0.3]})
    examples = [
        {"shapes": ((3, 1, 5), (4, 1)), "alpha": 0.5},
        {"shapes": ((3, 5), (3, 5)), "alpha": 1},
        {"shapes": ((3, 1, 5), (4, 1)), "alpha": 1},
    ]

    def tensors(self, case, device, dtype):
        return [torch.randn(shape, dtype=dtype, device=device) for shape in case["shapes"]]

    def ours(self, case):
        return lambda *tensors: kernelopt.add(*tensors, alpha=case["alpha"])

    def theirs(self, case):
        return lambda *tensors: torch.add(*tensors, alpha=case["alpha"])

    def op_arguments(self, case, tensors):
        return *tensors, float(case["alpha"])

    def backward_arguments(self, case, grad, tensors):
        return grad, *(list(tensor.shape) for tensor in tensors), float(case["alpha"])


class TestGelu(ElementwiseSuite):
    op = "gelu"
    num_results = 1
    dynamic_dim = 0
    cases = pairwise(
        {
            "dtype": DTYPES,
            "layout": LAYOUTS,
            "shape": [(7, 9), (2, 65, 33), (2, 3, 4, 5), (1, 1)],
            "approximate": ["none", "tanh"],
        }
    )
    gradient_cases = pairwise({"shape": [(), (3,), (2, 3)], "approximate": ["none", "tanh"]})
    examples = [{"shape": (3, 4, 5), "approximate": form} for form in ("none", "tanh")]

    def tensors(self, case, device, dtype):
        return [3 * torch.randn(case["shape"], dtype=dtype, device=device)]

    def ours(self, case):
        return lambda x: kernelopt.gelu(x, approximate=case["approximate"])

    def theirs(self, case):
        return lambda x: F.gelu(x, approximate=case["approximate"])

    def op_arguments(self, case, tensors):
        return *tensors, int(case["approximate"] == "tanh")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.arange(4), torch.arange(4)),
        (torch.ones(3), torch.arange(3)),
        (torch.ones(3), torch.ones(3, dtype=torch.float64)),
        (torch.ones(3, dtype=torch.complex64), torch.ones(1)),
        (torch.ones(3), 2),
        (2.5, torch.ones(3)),
        (torch.ones(3).to_sparse(), torch.ones(3).to_sparse()),
    ],
)
def test_other_operands_go_to_torch(a, b):
    output, expected = kernelopt.add(a, b), torch.add(a, b)
    assert output.dtype == expected.dtype
    assert torch.equal(output.to_dense(), expected.to_dense())


def test_channels_last_is_kept(device):
    a = torch.randn(2, 3, 4, 5, device=device).to(memory_format=torch.channels_last)
    for output in (kernelopt.add(a, a.contiguous()), kernelopt.gelu(a)):
        assert output.is_contiguous(memory_format=torch.channels_last)


def _channels_last(x):
    return x.to(memory_format=torch.channels_last)


FORMATS = {
    "numbers": lambda ones: (ones(()), ones(())),
    "contiguous": lambda ones: (ones(3, 4, 5), ones(4, 5)),
    "broadcast": lambda ones: (ones(3, 1, 5), ones(4, 1)),
    "broadcast, permuted": lambda ones: (ones(2, 5, 3).permute(2, 0, 1), ones(4, 3, 2, 1)),
    "permuted": lambda ones: (ones(3, 4, 5).permute(2, 0, 1), ones(5, 3, 4)),
    "expanded": lambda ones: (ones(4, 1).expand(4, 5), ones(5, 4).t()),
    "channels_last": lambda ones: (_channels_last(ones(2, 3, 4, 5)), ones(3, 1, 1)),
    "gaps": lambda ones: (ones(6, 8, 2)[::2, 1::2, 0], ones(8, 6)[::2, ::2].t()),
    "empty": lambda ones: (ones(3, 0, 5), ones(0, 5)),
    "empty, permuted": lambda ones: (ones(3, 0, 5).permute(2, 0, 1), ones(5, 3, 1)),
    "empty, gaps": lambda ones: (ones(0).as_strided((0, 0), (2, 2)), ones(9, 0)[::9]),
}
"""Two operands of each layout, made by a function like torch.ones."""


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_torchs_and_foretold(device, name):
    a, b = FORMATS[name](functools.partial(torch.ones, device=device))
    for ours, theirs, tensors in (
        (kernelopt.gelu, F.gelu, [a]),
        (kernelopt.gelu, F.gelu, [b]),
        (kernelopt.add, torch.add, [a, b]),
        (kernelopt.add, torch.add, [b, a]),
    ):
        output = ours(*tensors)
        if output.numel():
            assert output.stride() == theirs(*tensors).stride()
        mode = FakeTensorMode()
        with mode:
            foretold = ours(*map(mode.from_tensor, tensors))
        assert (foretold.shape, foretold.stride()) == (output.shape, output.stride())


@pytest.mark.parametrize(
    "arrange",
    [torch.clone, _channels_last, lambda x: x.permute(3, 1, 0, 2), lambda x: x[:, :, ::2]],
    ids=["contiguous", "channels_last", "permuted", "gaps"],
)
def test_one_graph_serves_all_sizes_of_a_format(arrange):
    backend = CountGraphs()
    compiled = torch.compile(
        lambda x, y: kernelopt.add(kernelopt.gelu(x), y),
        backend=backend,
        dynamic=True,
        fullgraph=True,
    )
    for sizes in ((2, 3, 8, 5), (7, 3, 12, 4), (3, 8, 10, 33)):
        x, y = arrange(torch.randn(sizes)), torch.randn(1)
        output = compiled(x, y)
        expected = F.gelu(x) + y
        torch.testing.assert_close(output, expected)
        assert output.stride() == expected.stride()
    assert backend.count == 1


def test_special_values(device):
    values = [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, -30.0, 30.0]
    x = torch.tensor(values, device=device)
    for form in ("none", "tanh"):
        # In fp64, for torch's own float32 makes NaN of infinity on some CPUs.
        expected = F.gelu(x.double(), approximate=form).float()
        output = kernelopt.gelu(x, approximate=form)
        torch.testing.assert_close(output, expected, equal_nan=True)


def test_errors_are_torchs():
    for function in (torch.add, kernelopt.add):
        with pytest.raises(RuntimeError):
            function(torch.ones(3), torch.ones(4))
        with pytest.raises(TypeError):
            function([1.0], torch.ones(1))
    for function in (F.gelu, kernelopt.gelu):
        with pytest.raises(RuntimeError):
            function(torch.ones(3), approximate="exact")
        with pytest.raises(TypeError):
            function([1.0])
        with pytest.raises(NotImplementedError):
            function(torch.arange(3))
