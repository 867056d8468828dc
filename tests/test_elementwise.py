"""add and gelu against torch.add and torch.nn.functional.gelu."""

from __future__ import annotations

import functools
import itertools
import math

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


def test_sum_into_out(device):
    a, b = torch.randn(3, 1, 5, device=device), torch.randn(4, 1, device=device)
    expected = torch.add(a, b, alpha=-2)
    wide = torch.full((3, 4, 10), 7.0, device=device)
    for out in (
        torch.empty(3, 4, 5, device=device),
        torch.empty(0, device=device),  # resized
        torch.empty(3, 4, 5, device=device, dtype=torch.float64),
        torch.empty(5, 4, 3, device=device).permute(2, 1, 0),
        wide[..., ::2],
    ):
        strides = out.stride() if out.numel() else expected.stride()
        assert kernelopt.add(a, b, alpha=-2, out=out) is out
        assert torch.equal(out, expected.to(out.dtype))
        assert out.stride() == strides
    assert (wide[..., 1::2] == 7).all()
    a = expected.clone()
    assert torch.equal(kernelopt.add(a, b, out=a), expected + b)


def test_out_reaches_a_subclass():
    class Recorder(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is kernelopt.add:
                return kwargs["out"]
            return super().__torch_function__(func, types, args, kwargs or {})

    plain, other = torch.ones(3), torch.ones(3).as_subclass(Recorder)
    for input, out in ((other, torch.empty(3)), (plain, other)):
        assert kernelopt.add(input, plain, out=out) is out


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("out", "grad", "error"),
    [
        (torch.empty(2), False, UserWarning),  # resized, though it has elements
        (torch.empty(3, dtype=torch.int64), False, RuntimeError),
        (torch.empty(1).expand(3), False, RuntimeError),
        (torch.empty(3), True, RuntimeError),
        ([0.0, 0.0, 0.0], False, TypeError),
    ],
)
def test_out_that_torch_refuses(out, grad, error):
    x = torch.ones(3, requires_grad=grad)
    for function in (torch.add, kernelopt.add):
        with pytest.raises(error):
            function(x, torch.ones(3), out=out.clone() if error is UserWarning else out)


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


def _spacing(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance of a dtype's numbers around fp64 values."""
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(values.abs().clamp(info.smallest_normal, info.max))
    return info.eps * torch.exp2(exponent.double() - 1)


def _exact_gelu(x: torch.Tensor, form: str, derivative: bool) -> torch.Tensor:
    """In fp64, accurate in the lower tail too, where torch's own is not."""
    if form == "none":
        cdf = 0.5 * torch.special.erfc(-x / math.sqrt(2))
        if not derivative:
            return x * cdf
        return cdf + x * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    factor = 2 * math.sqrt(2 / math.pi)
    logistic = torch.sigmoid(factor * (x + 0.044715 * x**3))
    if not derivative:
        return x * logistic
    slope = factor * (1 + 3 * 0.044715 * x * x)
    return logistic + x * logistic * torch.sigmoid(-factor * (x + 0.044715 * x**3)) * slope


@pytest.mark.parametrize("derivative", [False, True])
@pytest.mark.parametrize("form", ["none", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_16_bit_number(device, dtype, form, derivative):
    """Rounded as well as can be, but for a small part of the rounding's own error."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    x = x[x.isfinite() & (x.abs() < 2.0**60)]
    if derivative:
        ones = torch.ones_like(x, device=device)
        output = torch.ops.kernelopt.gelu_backward(ones, x.to(device), int(form == "tanh"))
    else:
        output = kernelopt.gelu(x.to(device), approximate=form)
    expected = _exact_gelu(x.double(), form, derivative)
    error = (output.cpu().double() - expected).abs() / _spacing(expected, dtype)
    if device == "cpu":
        # Its exp ends at 2^-127, and a slope near its zero is a difference of float32 numbers.
        error = error[expected.abs() > 2.0**-100]
    assert error.max() < LARGEST_ERROR[derivative], x[error.argmax()]


def test_float32_gelu_is_as_close_as_torchs(device):
    """Which is erff's error in units of x, and in the lower tail all of the result."""
    x = torch.linspace(-12, 12, 2**18 + 1)
    error = (
        kernelopt.gelu(x.to(device)).cpu().double() - _exact_gelu(x.double(), "none", False)
    ).abs()
    assert (error <= 2.0**-23 * x.abs()).all()


@pytest.mark.parametrize("derivative", [False, True])
@pytest.mark.parametrize("form", ["none", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gelu_on_the_cpu_keeps_the_digits_of_its_tail(dtype, form, derivative):
    """Close in units of x everywhere, and in units of the result where 1 + erf has no digits."""
    x = torch.cat([torch.linspace(-12.5, 12.5, 20001), torch.logspace(-12, 0, 200)]).to(dtype)
    x = torch.cat([x, -x])
    if derivative:
        output = torch.ops.kernelopt.gelu_backward(torch.ones_like(x), x, int(form == "tanh"))
    else:
        output = kernelopt.gelu(x, approximate=form)
    expected = _exact_gelu(x.double(), form, derivative)
    error = (output.double() - expected).abs()
    eps = torch.finfo(dtype).eps
    assert (error <= 2 * eps * (1 if derivative else x.double().abs())).all()
    relative = error / expected.abs()
    # Of float32, the forward's exponent is a sum of terms that nearly cancel below -8.
    near, far = (2.0**-15, 2.0**-10) if dtype == torch.float32 else (1e-12, 1e-12)
    counts = expected.abs() > 2.0**-100  # exp ends at 2^-127, and a slope is x^3 times that
    assert (relative[counts & (x < -2) & (x >= -8)] <= near).all()
    assert (relative[counts & (x < -8)] <= far).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_on_the_cpu_do_not_depend_on_where_they_stand(dtype):
    """Not on the length, the start, the strides or the share of a thread."""
    x, grad = (3 * torch.randn(300, 257).to(dtype) for _ in range(2))
    for form in ("none", "tanh"):
        code = int(form == "tanh")
        values = kernelopt.gelu(x, approximate=form)
        slopes = torch.ops.kernelopt.gelu_backward(grad, x, code)
        for part in (
            lambda t: t[1:, 5:],
            lambda t: t[:, ::3],
            lambda t: t[7],
            lambda t: t.t(),
            lambda t: t[3, 2:3],
            lambda t: t.view(-1)[1:70000],
            lambda t: t.view(-1)[11:300],
        ):
            assert torch.equal(kernelopt.gelu(part(x), approximate=form), part(values))
            result = torch.ops.kernelopt.gelu_backward(part(grad), part(x), code)
            assert torch.equal(result, part(slopes))
            mixed = torch.ops.kernelopt.gelu_backward(part(grad).contiguous(), part(x), code)
            assert torch.equal(mixed, part(slopes))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_on_the_cpu_of_many_blocks(dtype):
    for first, second in (
        ((70001,), (70001,)),
        ((300, 257), (257,)),
        ((257, 300), (257, 1)),
        ((5, 1, 301), (67, 1)),
        ((40, 3, 50, 3), (3, 1, 1)),
        ((1,), (1000, 3)),
    ):
        a, b = (torch.randn(sizes).to(dtype) for sizes in (first, second))
        for x, y in itertools.product((a, a.t() if a.dim() == 2 else a[::2]), (b,)):
            if x is not a and x.shape != y.shape:
                y = torch.randn(x.shape[-1:]).to(dtype)
            assert torch.equal(kernelopt.add(x, y), x + y)
            assert torch.equal(kernelopt.add(y, x), y + x)


def test_special_values_on_the_cpu():
    values = [math.inf, -math.inf, math.nan, 0.0, -0.0, 1e30, -1e30, 3e38, -3e38, 1e-40, -1e-40]
    x = torch.tensor(values).repeat(40)  # in whole blocks and in a part of one
    for dtype, form in itertools.product((torch.float32, torch.float64), ("none", "tanh")):
        expected = F.gelu(x.double(), approximate=form).to(dtype)
        output = kernelopt.gelu(x.to(dtype), approximate=form)
        torch.testing.assert_close(output, expected, equal_nan=True, rtol=1e-6, atol=0)
        ones = torch.ones_like(x, dtype=dtype)
        slope = torch.ops.kernelopt.gelu_backward(ones, x.to(dtype), int(form == "tanh"))
        expected = torch.ops.aten.gelu_backward(ones.double(), x.double(), approximate=form)
        torch.testing.assert_close(slope.double(), expected, equal_nan=True, rtol=1e-6, atol=1e-30)


LARGEST_ERROR = {False: 0.56, True: 0.6}  # of a 16-bit result, in units of its last place


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 7, 40, 4096, 5003])
def test_operands_that_start_anywhere(device, dtype, length):
    storages = [torch.randn(length + 8, device=device).to(dtype) for _ in range(2)]
    for starts in itertools.product((0, 1, 3), repeat=2):
        a, b = (x[start : start + length] for x, start in zip(storages, starts, strict=True))
        assert torch.equal(kernelopt.add(a, b), a + b)
        grad = torch.ops.kernelopt.gelu_backward(a, b, 0)
        assert torch.equal(grad, torch.ops.kernelopt.gelu_backward(a.clone(), b.clone(), 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "sizes", [(3, 5, 16), (2, 3, 7), (4, 1, 8), (70, 130, 24), (2, 3, 4, 5, 6)]
)
def test_operands_broadcast_along_any_dimensions(device, dtype, sizes):
    patterns = list(itertools.product((False, True), repeat=len(sizes)))
    for first, second in itertools.product(patterns, repeat=2):
        a, b = (
            torch.randn([1 if one else n for one, n in zip(pattern, sizes, strict=True)])
            for pattern in (first, second)
        )
        a, b = a.to(device, dtype), b.to(device, dtype)
        assert torch.equal(kernelopt.add(a, b), a + b)
    table = torch.randn(sizes, device=device).to(dtype)
    transposed = torch.randn(sizes[::-1], device=device).to(dtype).permute(*range(len(sizes))[::-1])
    assert torch.equal(kernelopt.add(table, transposed), table + transposed)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_of_whole_vectors(device, dtype):
    """Beside a row, a column, rows with a gap, a row that begins off a vector, every second
    element; and into an output that begins off one."""
    x = torch.randn(24, 64, device=device).to(dtype)
    wide = torch.randn(24, 192, device=device).to(dtype)
    for y in (
        wide[0, :64],
        wide[:, :1],
        wide[:, 64:128],
        wide[:, :65][:, 1:],
        wide[0, 1:65],
        wide[:, :128:2],
    ):
        assert torch.equal(kernelopt.add(x, y), x + y)
        out = torch.empty(24 * 64 + 1, device=device, dtype=dtype)[1:].view(24, 64)
        kernelopt.add(x, y, out=out)
        assert torch.equal(out, x + y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ((3000, 520), (520,)),
        ((9000, 24), (24,)),
        ((9, 70000), (9, 1)),
        ((5, 130, 3001), (130, 1)),
        ((40, 130, 3001), (130, 1)),
    ],
)
def test_sums_in_several_shares(device, dtype, sizes, kept):
    """Whole numbers, whose sums are exact in float32 and rounded once."""
    grad = torch.randint(-40, 41, sizes, device=device).to(dtype)
    for tensor in (grad, grad.mT.contiguous().mT):
        total = torch.ops.kernelopt.add_backward(tensor, sizes, kept, 1.0, [False, True])[1]
        assert torch.equal(total, tensor.double().sum_to_size(kept).to(dtype))


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
