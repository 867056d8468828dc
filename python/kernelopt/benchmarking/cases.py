"""What is measured: one call of an op, described without tensors."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

FAMILIES = ("elementwise", "conv1d", "conv_transpose1d", "depthwise", "separable")
SUITES = ("seeds", "grid", "overhead")

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One call of an op.

    Attributes:
        problem: a problem's number ("67"), or "net/layer" in the grid.
        op: the op's public name, "conv1d" for instance.
        shape: the input's shape, batch first.
        other: shape of the second operand of ``add``.
        out_channels: channels of the output of a convolution.
        kernel_size: taps of a convolution; of the depthwise stage of a separable one.
        activation: what follows the (last) convolution, or the form of ``gelu``.
        depthwise_activation: what follows the depthwise stage of a separable convolution.
        written_out: peers compute the tanh GELU as models write it out, with ``pow`` and ``tanh``.
        channels_last: the inputs lie in channels-last memory format.
        backward: whether the backward does any work (that of a same-shape add does none).
    """

    problem: str
    op: str
    shape: Ints
    other: Ints = ()
    out_channels: int = 0
    kernel_size: Ints = ()
    stride: Ints = ()
    padding: Ints = ()
    output_padding: Ints = ()
    dilation: Ints = ()
    groups: int = 1
    bias: bool = False
    activation: str | None = None
    depthwise_activation: str | None = None
    written_out: bool = False
    channels_last: bool = False
    backward: bool = True

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Case:
        """The inverse of ``dataclasses.asdict`` after a trip through JSON."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fields)

    @property
    def output_shape(self) -> Ints:
        """The shape of the op's result."""
        if self.op in ("add", "gelu"):
            return _broadcast(self.shape, self.other)
        spatial = tuple(
            (
                (size - 1) * stride - 2 * padding + dilation * (taps - 1) + output_padding + 1
                if self.op == "conv_transpose1d"
                else (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
            )
            for size, taps, stride, padding, output_padding, dilation in zip(
                self.shape[2:],
                self.kernel_size,
                self.stride,
                self.padding,
                self.output_padding,
                self.dilation,
                strict=True,
            )
        )
        return (self.shape[0], self.out_channels, *spatial)

    def describe(self) -> str:
        """The shape as tables show it: "32x64x131072 -> 128, k3 s2", without default arguments."""
        text = _times(self.shape)
        if self.op == "add":
            return f"{text} + {_times(self.other)}"
        if self.op == "gelu":
            return f"{text} {'tanh' if self.activation == 'gelu_tanh' else 'exact'}"
        words = [f"k{_dims(self.kernel_size)}"]
        for letter, values, default in (
            ("s", self.stride, 1),
            ("p", self.padding, 0),
            ("op", self.output_padding, 0),
            ("d", self.dilation, 1),
        ):
            if any(value != default for value in values):
                words.append(letter + _dims(values))
        if self.groups > 1 and self.op in ("conv1d", "conv_transpose1d"):
            words.append(f"g{self.groups}")
        if self.bias:
            words.append("bias")
        words += [word for word in (self.depthwise_activation, self.activation) if word]
        if self.channels_last:
            words.append("channels_last")
        return f"{text} -> {self.out_channels}, {' '.join(words)}"


def _broadcast(first: Ints, second: Ints) -> Ints:
    rank = max(len(first), len(second))
    padded = [(1,) * (rank - len(shape)) + shape for shape in (first, second)]
    return tuple(max(sizes) for sizes in zip(*padded, strict=True))


def _times(shape: Ints) -> str:
    return "x".join(map(str, shape))


def _dims(values: Ints) -> str:
    return str(values[0]) if len(set(values)) == 1 else _times(values)


def _spread(value: int | Ints, count: int) -> Ints:
    return (value,) * count if isinstance(value, int) else tuple(value)


def convolution(
    op: str,
    problem: str,
    shape: Ints,
    out_channels: int,
    kernel_size: int | Ints = 1,
    stride: int | Ints = 1,
    padding: int | Ints = 0,
    dilation: int | Ints = 1,
    output_padding: int | Ints = 0,
    groups: int = 1,
    **options: Any,
) -> Case:
    """A case of any convolution op, its arguments as torch's: an int stands for each dimension."""
    count = len(shape) - 2
    return Case(
        problem,
        op,
        tuple(shape),
        out_channels=out_channels,
        kernel_size=_spread(kernel_size, count),
        stride=_spread(stride, count),
        padding=_spread(padding, count),
        dilation=_spread(dilation, count),
        output_padding=_spread(output_padding, count),
        groups=groups,
        **options,
    )


def add(problem: str, shape: Ints, other: Ints | None = None) -> Case:
    """A case of ``add``; without ``other`` both operands have one shape."""
    other = shape if other is None else other
    return Case(problem, "add", tuple(shape), other=tuple(other), backward=shape != other)


def gelu(problem: str, shape: Ints, form: str = "gelu", written_out: bool = False) -> Case:
    """A case of ``gelu``, exact or "gelu_tanh"."""
    return Case(problem, "gelu", tuple(shape), activation=form, written_out=written_out)


@dataclass(frozen=True)
class CaseList:
    """The cases of one family: what ``benchmarks/bench_<family>.py`` defines.

    Attributes:
        compiled: the (problem, shape) pairs of the grid that the compiled peers run on as well.
    """

    family: str
    seeds: tuple[Case, ...]
    grid: tuple[Case, ...]
    compiled: frozenset[tuple[str, str]]

    def suite(self, name: str) -> tuple[Case, ...]:
        return self.seeds if name == "seeds" else self.grid


def find_directory(given: str | None = None) -> Path:
    """The folder of the case lists: as given, of the working directory's tree, or the package's."""
    candidates = (
        [Path(given)]
        if given
        else [
            *(folder / "benchmarks" for folder in (Path.cwd(), *Path.cwd().parents)),
            Path(__file__).parents[3] / "benchmarks",
        ]
    )
    for candidate in candidates:
        if (candidate / "bench_conv1d.py").exists():
            return candidate.resolve()
    raise FileNotFoundError(
        "no benchmarks folder with bench_<family>.py here: run in a checkout of kernelopt, "
        "or name the folder with --benchmarks"
    )


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"kernelopt_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(directory: Path, families: Iterable[str] = FAMILIES) -> list[CaseList]:
    """The case lists of the families.

    Raises:
        ValueError: a list names a case twice, or a compiled one that is not in its grid.
    """
    lists = []
    for family in families:
        module = _load_module(directory / f"bench_{family}.py")
        cases = CaseList(
            family, tuple(module.SEEDS), tuple(module.GRID), frozenset(module.COMPILED)
        )
        names = [(case.problem, case.describe()) for case in cases.grid]
        if len(set(names)) < len(names):
            raise ValueError(f"bench_{family}.py: a case is in the grid twice")
        unknown = cases.compiled - set(names)
        if unknown:
            raise ValueError(f"bench_{family}.py: not in the grid: {sorted(unknown)}")
        lists.append(cases)
    return lists


def matches(case: Case, family: str, patterns: Iterable[str]) -> bool:
    """Whether a case is chosen by ``--only``: words found in its family, op, problem or shape.

    A word that is a number is a problem's number, and nothing else.
    """
    text = f"{family} {case.op} {case.problem} {case.describe()}".lower()
    words = [pattern.lower() for pattern in patterns]
    return not words or any(
        case.problem == word if re.fullmatch(r"\d+", word) else word in text for word in words
    )
