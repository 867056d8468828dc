"""The float64 result that both the original and the mapped model are measured against."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .evaluate import NoGradient, Outcome, evaluate
from .problem import one_line
from .values import cast, map_tensors, move_model, tensors_in, widened

# Of memory, how much one float64 chunk on a CPU may take: inputs, outputs, gradients, and as much
# again inside the model.
_CPU_SHARE = 1 / 8


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def release(device: torch.device) -> None:
    """Gives memory that nothing uses any more back to the device, cycles of objects included."""
    gc.collect()  # takes a fifth of a second: for use after an error or a file
    if device.type == "cuda":
        torch.cuda.empty_cache()


def available_cpu_memory() -> int:
    """Bytes that can be had without swapping; a large number where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 1 << 62


class Reference:
    """Evaluates the original in float64, wherever that fits: see :attr:`place`.

    Attributes:
        place: "float64", "float64 in chunks of N rows" or "float64 on the CPU"; or "the original",
            where the model does not run in float64 or is random: then the mapped model is compared
            with the original itself.
        reason: why it is not plain float64; empty where it is.
    """

    def __init__(
        self,
        make_model: Callable[[], nn.Module],
        device: torch.device,
        dtype: torch.dtype | None,
    ) -> None:
        self.place = "float64"
        self.reason = ""
        self._make_model = make_model
        self._model: nn.Module | None = None
        self._device = device
        self._dtype = dtype
        self._rows = 0

    def use_original(self, reason: str) -> None:
        self.place, self.reason = "the original", reason
        self._model = None

    def evaluate(
        self,
        original: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outcome: Outcome,
        seed: int,
    ) -> Outcome:
        """The reference for ``outcome``, which the original produced from these inputs."""
        while self.place != "the original":
            try:
                return self._attempt(original, args, kwargs, outcome, seed)
            except NoGradient:
                self.use_original("in float64 no output is differentiable")
            except Exception as error:
                # Only the text may be kept: the traceback holds the tensors that took the memory.
                problem, short = one_line(error), is_out_of_memory(error)
                if not short:
                    self.use_original(f"the model does not run in float64: {problem}")
                    continue
            release(self._device)
            self._retreat(original, args, kwargs, outcome, seed)
        return outcome

    def _attempt(self, original, args, kwargs, outcome, seed) -> Outcome:
        if self._model is None:
            self._model = move_model(self._make_model(), self._device, torch.float64)
            modes = {name: module.training for name, module in original.named_modules()}
            for name, module in self._model.named_modules():
                module.training = modes.get(name, original.training)
        if self._device.type == "cpu":
            values = [*tensors_in((args, kwargs)), *outcome.results.values()]
            needed = sum(8 * value.numel() for value in values)
            if self._rows:
                needed = needed * self._rows // batch_size(args, kwargs)
            if needed > _CPU_SHARE * available_cpu_memory():
                raise MemoryError("float64 copies of inputs and outputs")
        backward = bool(outcome.gradients)
        if self._rows:
            return self._by_rows(args, kwargs, outcome, seed, backward)
        args, kwargs = self._wide(args), self._wide(kwargs)
        return evaluate(
            self._model,
            args,
            kwargs,
            seed=seed,
            backward=backward,
            dtype=torch.float64,
            cotangents=outcome.cotangents,
        )

    def _wide(self, value: Any) -> Any:
        return map_tensors(lambda tensor: cast(tensor, self._device, torch.float64), value)

    def _retreat(self, original, args, kwargs, outcome, seed) -> None:
        """Picks the next place after one ran out of memory."""
        batch = batch_size(args, kwargs)
        divisible = self._rows > 1 or (
            self._rows == 0
            and batch > 1
            and rows_are_independent(original, args, kwargs, outcome, seed, self._dtype)
        )
        if divisible:
            self._rows = (self._rows or batch) // 2
            self.place = f"float64 in chunks of {self._rows} rows"
            self.reason = "float64 does not fit the memory at once"
            return
        if self._device.type == "cuda":
            self._device, self._model, self._rows = torch.device("cpu"), None, 0
            self.place = "float64 on the CPU"
            self.reason = "float64 does not fit the GPU's memory"
            return
        self.use_original("float64 does not fit the memory")

    def _by_rows(self, args, kwargs, outcome, seed, backward) -> Outcome:
        """The reference in chunks of rows: outputs and input gradients joined, others added."""
        assert self._model is not None
        batch = batch_size(args, kwargs)
        joined: dict[str, torch.Tensor] = {}
        sums: dict[str, torch.Tensor | None] = {}

        def join(name: str, part: torch.Tensor, rows: slice) -> None:
            if name not in joined:
                joined[name] = torch.empty((batch, *part.shape[1:]), dtype=part.dtype)
            joined[name][rows] = part

        for start in range(0, batch, self._rows):
            rows = slice(start, min(start + self._rows, batch))
            part = evaluate(
                self._model,
                self._wide(take_rows(args, rows, batch)),
                self._wide(take_rows(kwargs, rows, batch)),
                seed=seed,
                backward=backward,
                dtype=torch.float64,
                cotangents={name: value[rows] for name, value in outcome.cotangents.items()},
            )
            for name, value in part.results.items():
                if name.startswith("output"):
                    join(name, value, rows)
            for name, gradient in part.gradients.items():
                like = outcome.gradients.get(name)
                if gradient is None or like is None:
                    sums[name] = None
                elif name.startswith("gradient of input[") and like.shape[:1] == (batch,):
                    join(name, gradient, rows)
                else:
                    before = sums.get(name)
                    sums[name] = gradient if before is None else before + gradient
        return Outcome(
            results={name: value for name, value in joined.items() if name in outcome.results},
            others=outcome.others,
            gradients={**sums, **{n: v for n, v in joined.items() if n in outcome.gradients}},
            cotangents=outcome.cotangents,
        )


def batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """The first dimension of the first tensor; 0 where there is none."""
    for tensor in tensors_in((args, kwargs)):
        return tensor.shape[0] if tensor.dim() else 0
    return 0


def take_rows(value: Any, rows: slice, batch: int) -> Any:
    """Those rows of every tensor whose first dimension is the batch."""
    return map_tensors(
        lambda tensor: tensor[rows] if tensor.dim() and tensor.shape[0] == batch else tensor, value
    )


def rows_are_independent(
    original: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    outcome: Outcome,
    seed: int,
    dtype: torch.dtype | None,
) -> bool:
    """Whether the model treats the rows of a batch each by itself: its results for the first row
    and for the last row alone are those rows of the whole result."""
    batch = batch_size(args, kwargs)
    outputs = {n: value for n, value in outcome.results.items() if n.startswith("output")}
    if any(value.dim() == 0 or value.shape[0] != batch for value in outputs.values()):
        return False
    for rows in (slice(0, 1), slice(batch - 1, batch)):
        row_args, row_kwargs = take_rows(args, rows, batch), take_rows(kwargs, rows, batch)
        try:
            part = evaluate(original, row_args, row_kwargs, seed=seed, backward=False, dtype=dtype)
        except Exception:
            return False
        for name, value in outputs.items():
            whole, piece = value[rows], part.results.get(name)
            if piece is None or piece.shape != whole.shape:
                return False
            # Another batch size may take another algorithm: a few roundings (TF32's on a GPU).
            eps = torch.finfo(whole.dtype).eps if whole.is_floating_point() else 0.0
            eps = max(eps, 2.0**-10) if whole.is_cuda and eps else eps
            whole, piece = widened(whole), widened(piece)
            if not (piece - whole).abs().le(8 * eps * whole.abs().amax()).all():
                return False
    return True
