"""The tests that every op has to pass, whatever it computes.

A test file derives a class from :class:`OpSuite`, which says what the op is and what to try.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.library import opcheck
from torch.utils._python_dispatch import TorchDispatchMode

import kernelopt
from kernelopt import Precision
from support import (
    Case,
    CountGraphs,
    arrange,
    as_tuple,
    assert_accurate,
    gradients,
    strict_float32,
    strides,
    vjp_of,
)


class OpSuite:
    """Tests of one op.

    ``cases`` are for values (with "dtype" and "layout"), ``gradient_cases`` are small ones for
    gradcheck, ``examples`` are few, for what takes long. A case is turned into tensors and two
    functions of them, kernelopt's and torch's.
    """

    op: str
    cases: list[Case]
    gradient_cases: list[Case]
    examples: list[Case]
    ieee = False  # whether float32 is computed with IEEE precision by default
    dynamic_dim = -1  # of the first tensor: a size that varies between calls
    num_results = 3  # of the backward op

    def tensors(self, case: Case, device: str, dtype: torch.dtype) -> list[torch.Tensor | None]:
        raise NotImplementedError

    def ours(self, case: Case) -> Callable[..., torch.Tensor]:
        raise NotImplementedError

    def theirs(self, case: Case) -> Callable[..., torch.Tensor]:
        raise NotImplementedError

    def op_arguments(self, case: Case, tensors: list) -> tuple:
        raise NotImplementedError

    def backward_arguments(self, case: Case, grad: torch.Tensor, tensors: list) -> tuple:
        """The backward op's arguments but for its output mask."""
        return grad, *self.op_arguments(case, tensors)

    def check_formats(
        self, case: Case, tensors: list, output: torch.Tensor, grad_first: torch.Tensor
    ) -> None:
        """The strides of the output and of the first tensor's gradient."""
        raise NotImplementedError

    def gradients_torch_gets_wrong(self, case: Case, device: str) -> tuple[int, ...]:
        """Places of gradients that ATen, which kernelopt calls there, does not compute right."""
        return ()

    def present(self, case: Case, device: str, dtype: torch.dtype) -> tuple[list, Callable]:
        """The tensors that are there, and kernelopt's and torch's functions of them alone."""
        tensors = self.tensors(case, device, dtype)
        indices = [index for index, tensor in enumerate(tensors) if tensor is not None]

        def of_present(function: Callable) -> Callable:
            def wrapped(*given: torch.Tensor) -> torch.Tensor:
                arguments: list = [None] * len(tensors)
                for index, tensor in zip(indices, given, strict=True):
                    arguments[index] = tensor
                return function(*arguments)

            return wrapped

        return [tensors[index] for index in indices], of_present

    # Values

    def test_values_and_gradients(self, device: str, case: Case) -> None:
        tensors = self.tensors(case, device, case["dtype"])
        tensors[0] = arrange(tensors[0], case["layout"])
        output = self.ours(case)(*tensors)
        assert_accurate(output, self.theirs(case), tensors, ieee=self.ieee)
        grad = arrange(torch.randn_like(output), case["layout"])
        results = gradients(self.ours(case), tensors, grad)
        self.check_formats(case, tensors, output, results[0])
        left_out = self.gradients_torch_gets_wrong(case, device)
        vjp = vjp_of(self.theirs(case))

        def kept(gradients: tuple) -> list:
            return [value for index, value in enumerate(gradients) if index not in left_out]

        def kept_of_torch(*given: torch.Tensor) -> list:
            return kept(vjp(*given))

        assert_accurate(kept(results), kept_of_torch, [grad, *tensors], ieee=self.ieee)

    def test_strict_float32(self, device: str, example: Case, ieee: None) -> None:
        tensors = self.tensors(example, device, torch.float32)
        output = self.ours(example)(*tensors)
        assert_accurate(output, self.theirs(example), tensors, ieee=True)
        grad = torch.randn_like(output)
        results = gradients(self.ours(example), tensors, grad)
        assert_accurate(results, vjp_of(self.theirs(example)), [grad, *tensors], ieee=True)

    def test_only_the_gradients_asked_for(self, device: str, example: Case) -> None:
        tensors, of_present = self.present(example, device, torch.float64)
        ours, theirs = of_present(self.ours(example)), of_present(self.theirs(example))
        for position in range(len(tensors)):
            leaves = [t.detach().requires_grad_(i == position) for i, t in enumerate(tensors)]
            (mine,) = torch.autograd.grad(ours(*leaves).sum(), leaves[position])
            (reference,) = torch.autograd.grad(theirs(*leaves).sum(), leaves[position])
            torch.testing.assert_close(mine, reference)

    # Derivatives

    def test_gradcheck(self, device: str, gradient_case: Case) -> None:
        tensors, of_present = self.present(gradient_case, device, torch.float64)
        leaves = tuple(tensor.requires_grad_() for tensor in tensors)
        function = of_present(self.ours(gradient_case))
        assert gradcheck(function, leaves)
        assert gradgradcheck(function, leaves, fast_mode=True)

    def test_forward_mode(self, device: str, example: Case) -> None:
        tensors, of_present = self.present(example, device, torch.float64)
        ours, theirs = of_present(self.ours(example)), of_present(self.theirs(example))
        tangents = [torch.randn_like(tensor) for tensor in tensors]
        expected = torch.func.jvp(theirs, tuple(tensors), tuple(tangents))
        torch.testing.assert_close(torch.func.jvp(ours, tuple(tensors), tuple(tangents)), expected)
        with forward_ad.dual_level():
            pairs = zip(tensors, tangents, strict=True)
            output = ours(*(forward_ad.make_dual(*pair) for pair in pairs))
            torch.testing.assert_close(tuple(forward_ad.unpack_dual(output)), expected)

    def test_transforms(self, device: str, example: Case) -> None:
        tensors, of_present = self.present(example, device, torch.float64)
        stacked = [torch.stack([tensor, tensor.flip(-1) * 0.5]) for tensor in tensors]

        def loss(function: Callable) -> Callable:
            return lambda *arguments: function(*arguments).sin().sum()

        everything = tuple(range(len(tensors)))

        def results(function: Callable) -> tuple:
            return (
                torch.func.grad(loss(function), argnums=everything)(*tensors),
                torch.vmap(function)(*stacked),
                torch.vmap(function, in_dims=(0, *[None] * (len(tensors) - 1)))(
                    stacked[0], *tensors[1:]
                ),
                torch.vmap(torch.func.grad(loss(function), argnums=everything))(*stacked),
                torch.func.jvp(torch.func.grad(loss(function)), tuple(tensors), tuple(tensors)),
            )

        torch.testing.assert_close(
            results(of_present(self.ours(example))), results(of_present(self.theirs(example)))
        )

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    def test_autocast(self, device: str, example: Case, dtype: torch.dtype) -> None:
        tensors = self.tensors(example, device, torch.float32)
        with torch.autocast(device, dtype=dtype):
            output = self.ours(example)(*tensors)
            expected = self.theirs(example)(*tensors)
            leaves = [tensor if tensor is None else tensor.requires_grad_() for tensor in tensors]
            differentiable = self.ours(example)(*leaves)
            results = gradients(self.ours(example), tensors, torch.ones_like(expected))
        assert output.dtype == differentiable.dtype == expected.dtype
        lowered = [tensor if tensor is None else tensor.to(expected.dtype) for tensor in tensors]
        assert_accurate(output, self.theirs(example), lowered, ieee=self.ieee)
        assert {result.dtype for result in results} == {torch.float32}

    # What torch asks of an op

    @pytest.mark.parametrize("requires_grad", [False, True])
    @pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_traced(self, device: str, requires_grad: bool) -> None:
        """A trace has the op itself, whether or not its tensors require gradients."""
        tensors, of_present = self.present(self.examples[0], device, torch.float32)
        leaves = tuple(tensor.requires_grad_(requires_grad) for tensor in tensors)
        ours = of_present(self.ours(self.examples[0]))
        traced = torch.jit.trace(ours, leaves)  # and again without gradients, to compare
        kinds = [node.kind() for node in traced.graph.nodes()]
        assert kinds.count(f"kernelopt::{self.op}") == 1
        torch.testing.assert_close(traced(*leaves), ours(*leaves))

    def test_opcheck(self, device: str, example: Case) -> None:
        tensors = self.tensors(example, device, torch.float32)
        leaves = [tensor if tensor is None else tensor.requires_grad_() for tensor in tensors]
        arguments = self.op_arguments(example, leaves)
        forward = getattr(torch.ops.kernelopt, self.op).default
        opcheck(forward, arguments)
        backward = getattr(torch.ops.kernelopt, f"{self.op}_backward").default
        grad = torch.randn_like(forward(*arguments)).requires_grad_()
        arguments = self.backward_arguments(example, grad, leaves)
        everything = () if self.num_results == 1 else ([True] * self.num_results,)
        opcheck(backward, (*arguments, *everything))
        if everything and example == self.examples[-1]:
            for mask in torch.eye(self.num_results).bool().tolist():
                opcheck(backward, (*arguments, mask), test_utils="test_faketensor")

    @pytest.mark.filterwarnings("ignore:kernelopt. running on ATen")
    def test_fake_and_aten_path(self, device: str, example: Case) -> None:
        """The fake functions, and what serves a GPU that kernelopt's kernels cannot run on: both
        have the kernels' formats."""
        for layout in ("contiguous", "channels_last"):
            tensors = self.tensors(example, device, torch.float32)
            tensors[0] = arrange(tensors[0], layout)
            arguments = self.op_arguments(example, tensors)
            grad = torch.randn_like(self.ours(example)(*tensors))
            for name, given in (
                (self.op, arguments),
                (f"{self.op}_backward", self.backward_arguments(example, grad, tensors)),
            ):
                kernels = as_tuple(getattr(torch.ops.kernelopt, name)(*given))
                with strict_float32():
                    by_aten = as_tuple(getattr(torch.ops.kernelopt_aten, name)(*given))
                torch.testing.assert_close(by_aten, kernels, rtol=1e-3, atol=1e-3)
                assert list(map(strides, by_aten)) == list(map(strides, kernels))
                with FakeTensorMode(allow_non_fake_inputs=True):
                    fakes = as_tuple(getattr(torch.ops.kernelopt, name)(*given))
                assert list(map(strides, fakes)) == list(map(strides, kernels))

    def test_compiled(self, device: str, example: Case) -> None:
        tensors = self.tensors(example, device, torch.float32)
        compiled = torch.compile(self.ours(example), backend="aot_eager", fullgraph=True)
        expected = self.ours(example)(*tensors)
        torch.testing.assert_close(compiled(*tensors), expected)
        grad = torch.randn_like(expected)
        torch.testing.assert_close(
            gradients(compiled, tensors, grad), gradients(self.ours(example), tensors, grad)
        )

    def test_inductor(self, device: str) -> None:
        example = self.examples[-1]
        tensors = self.tensors(example, device, torch.float32)
        ours = self.ours(example)
        compiled = torch.compile(lambda *given: ours(*given) * 2, fullgraph=True)
        expected = ours(*tensors) * 2
        torch.testing.assert_close(compiled(*tensors), expected)
        grad = torch.randn_like(expected)
        torch.testing.assert_close(
            gradients(compiled, tensors, grad), gradients(ours, tensors, 2 * grad)
        )

    @pytest.mark.parametrize("requires_grad", [False, True])
    def test_dynamic_shapes_are_one_graph(self, device: str, requires_grad: bool) -> None:
        example = self.examples[-1]
        ours, theirs = self.ours(example), self.theirs(example)
        fixed, automatic = CountGraphs(), CountGraphs()
        always = torch.compile(ours, backend=fixed, dynamic=True, fullgraph=True)
        found = torch.compile(ours, backend=automatic, fullgraph=True)
        for repeats in (2, 3, 5):
            tensors = self.tensors(example, device, torch.float32)
            tensors[0] = torch.cat([tensors[0]] * repeats, self.dynamic_dim)
            if requires_grad:
                tensors = [t if t is None else t.requires_grad_() for t in tensors]
            with strict_float32():
                expected = theirs(*tensors)
            torch.testing.assert_close(always(*tensors), expected, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(found(*tensors), expected, rtol=1e-3, atol=1e-3)
        assert fixed.count == 1
        assert automatic.count <= 2

    def exported(self, device: str) -> tuple[torch.export.ExportedProgram, list, torch.Tensor]:
        """The last example as an exported program, with its tensors and its result."""
        tensors, of_present = self.present(self.examples[-1], device, torch.float32)
        function = of_present(self.ours(self.examples[-1]))

        class Wrapper(torch.nn.Module):
            def forward(self, *given: torch.Tensor) -> torch.Tensor:
                return function(*given)

        return torch.export.export(Wrapper(), tuple(tensors)), tensors, function(*tensors)

    def test_export(self, device: str) -> None:
        program, tensors, expected = self.exported(device)
        torch.testing.assert_close(program.module()(*tensors), expected)
        decomposed = program.run_decompositions(kernelopt.decompositions())
        assert "kernelopt" not in decomposed.graph_module.code
        with strict_float32():
            by_aten = decomposed.module()(*tensors)
        torch.testing.assert_close(by_aten, expected, rtol=1e-3, atol=1e-3)

    def test_aot_inductor(self, device: str, aot_inductor: Any, tmp_path: Any) -> None:
        program, tensors, expected = self.exported(device)
        loaded = aot_inductor(program, tmp_path)
        torch.testing.assert_close(loaded(*tensors), expected)

    @pytest.mark.gpu
    def test_cuda_graph(self, example: Case) -> None:
        tensors = self.tensors(example, "cuda", torch.float32)
        leaves = [tensor if tensor is None else tensor.requires_grad_() for tensor in tensors]
        present = [leaf for leaf in leaves if leaf is not None]
        grad = torch.randn_like(self.ours(example)(*leaves))

        def step() -> tuple:
            output = self.ours(example)(*leaves)
            return output.detach(), *torch.autograd.grad(output, present, grad)

        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            step()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = step()
        for _ in range(2):
            with torch.no_grad():
                for tensor in (*present, grad):
                    tensor.normal_()
            graph.replay()
            for mine, expected in zip(captured, step(), strict=True):
                assert torch.equal(mine, expected)


class RecordCalls(TorchDispatchMode):
    """The arguments of kernelopt's ops, by op, of the calls inside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, Any]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "kernelopt":
            declared = func._schema.arguments
            defaults = {argument.name: argument.default_value for argument in declared}
            given = {argument.name: value for argument, value in zip(declared, args, strict=False)}
            self.found[func._schema.name.removeprefix("kernelopt::")] = {**defaults, **given}
        return func(*args, **(kwargs or {}))


class ConvolutionSuite(OpSuite):
    """Tests of one convolution op: its output format, and the forms of its arguments."""

    def check_formats(self, case, tensors, output, grad_first):
        is_channels_last = output.dim() == 4 and case["layout"] == "channels_last"
        expected = torch.channels_last if is_channels_last else torch.contiguous_format
        assert output.is_contiguous(memory_format=expected)
        assert grad_first.is_contiguous(memory_format=expected)

    def test_unbatched(self, device: str, example: Case) -> None:
        first, *others = self.tensors(example, device, torch.float64)
        items = [first[0]]
        if first.dim() == 4:
            items.append(first.contiguous(memory_format=torch.channels_last)[0])
        for item in items:
            output = self.ours(example)(item, *others)
            torch.testing.assert_close(output, self.theirs(example)(item, *others))
            assert output.is_contiguous()

    def test_zero_batch(self, device: str, example: Case) -> None:
        first, *others = self.tensors(example, device, torch.float32)
        tensors = [first[:0], *others]
        output = self.ours(example)(*tensors)
        assert output.shape == self.theirs(example)(*tensors).shape
        for result in gradients(self.ours(example), tensors, output):
            assert not result.any()

    @pytest.mark.parametrize("setting", ["tf32", "ieee"])
    def test_precision_follows_torchs_setting(self, setting: str, ieee: None) -> None:
        torch.backends.cudnn.conv.fp32_precision = setting
        tensors = self.tensors(self.examples[0], "cpu", torch.float32)
        with RecordCalls() as calls:
            leaves = [t if t is None else t.requires_grad_() for t in tensors]
            self.ours(self.examples[0])(*leaves).sum().backward()
        precisions = {name: given["precision"] for name, given in calls.found.items()}
        expected = Precision.IEEE if setting == "ieee" else Precision.DEFAULT
        assert precisions == {self.op: expected, f"{self.op}_backward": expected}

    @pytest.mark.parametrize("dtype", [torch.complex64, torch.int64], ids=str)
    def test_other_dtypes_go_to_torch(self, dtype: torch.dtype) -> None:
        example = self.examples[0]
        assert example["activation"] is None
        tensors = self.tensors(example, "cpu", torch.float32)
        tensors = [tensor if tensor is None else (4 * tensor).to(dtype) for tensor in tensors]
        torch.testing.assert_close(self.ours(example)(*tensors), self.theirs(example)(*tensors))

    def test_tensors_of_different_dtypes_or_devices(self) -> None:
        first, *others = self.tensors(self.examples[0], "cpu", torch.float32)
        for wrong in (first.double(), first.to("meta")):
            with pytest.raises(RuntimeError, match=f"{self.op}.*expected .*weight to have"):
                self.ours(self.examples[0])(wrong, *others)
        for index in range(1 + len(others)):
            tensors: list = [first, *others]
            tensors[index] = [1.0]
            with pytest.raises(TypeError, match=rf"kernelopt.{self.op}\(\): expected"):
                self.ours(self.examples[0])(*tensors)

    def test_unknown_activation(self) -> None:
        example = dict(self.examples[0], activation="tanh")
        tensors = self.tensors(example, "cpu", torch.float32)
        with pytest.raises(ValueError, match="expected activation to be one of"):
            self.ours(example)(*tensors)
