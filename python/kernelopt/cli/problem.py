"""Loads a problem file: ``Model``, ``get_inputs()`` and ``get_init_inputs()``."""

from __future__ import annotations

import contextlib
import copy
import importlib.machinery
import importlib.util
import inspect
import itertools
import random
import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import UsageError
from .state import copy_attributes
from .values import map_tensors

_COUNTER = itertools.count()
NAMES = ("Model", "get_inputs", "get_init_inputs")


class ProblemError(UsageError):
    """A file that is not a problem file, or whose own code raises."""


@dataclass
class Problem:
    """A problem file's content.

    Attributes:
        path: the file.
        model: an instance of its ``Model``, as constructed; see :meth:`materialize`.
        get_inputs: the file's function.
        construct: makes another instance with the same random numbers.
    """

    path: Path
    model: nn.Module
    get_inputs: Callable[[], Any]
    construct: Callable[[], nn.Module]

    def inputs(self, seed: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of the model for one seed."""
        return _call_inputs(self.get_inputs, self.model, seed)

    def materialize(self) -> None:
        """For a model whose first call builds layers: from now on every instance has made it.

        Raises:
            ProblemError: the call raises; it is made on the CPU.
        """
        construct = self.construct

        def called_once() -> nn.Module:
            model = construct()
            _materialize(model, self.get_inputs)
            return model

        self.model = called_once()
        self.construct = called_once

    def duplicate(self) -> nn.Module:
        """A second model with the same parameters, buffers and data that shares nothing with it.

        Constructed rather than copied: in a copy, functions that the model holds (a lambda over its
        layers) would still call the layers of the first model.
        """
        twin = self.construct()
        state, twin_state = _tensors(self.model), _tensors(twin)
        modules, twin_modules = dict(self.model.named_modules()), dict(twin.named_modules())
        if modules.keys() != twin_modules.keys() or [tensor.shape for tensor in state] != [
            tensor.shape for tensor in twin_state
        ]:
            return copy.deepcopy(self.model)  # its shapes depend on more than the seed
        with torch.no_grad():
            for mine, theirs in zip(twin_state, state, strict=True):
                mine.copy_(theirs)
        memo = {id(theirs): mine for mine, theirs in zip(twin_state, state, strict=True)}
        for name, module in modules.items():
            copy_attributes(module, twin_modules[name], memo)
        return twin


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def seed_all(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)


def one_line(error: BaseException) -> str:
    """An exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextlib.contextmanager
def own_code(what: str) -> Iterator[None]:
    """Turns whatever the file's own code raises into a ProblemError that says where."""
    try:
        yield
    except (ProblemError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the file may raise to end the program
        raise ProblemError(f"{what} {one_line(error)}") from error


def _binds(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


def _is_keywords(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _returned(function: Callable[[], Any]) -> Any:
    """What a function of the file's returned or, as a generator, yielded: a list of it."""
    value = function()
    return list(value) if isinstance(value, Iterator) else value


def _as_arguments(
    value: Any, function: Callable[..., Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What get_inputs() or get_init_inputs() returned, as a call's arguments.

    The forms in use: a list or tuple of positional arguments, ``[args, kwargs]``, a dict of keyword
    arguments, one value, None. Where a value reads two ways, the function's signature decides.
    """
    if value is None:
        return (), {}
    if _is_keywords(value) and _binds(function, (), value):
        return (), value
    if type(value) not in (list, tuple):
        return (value,), {}
    if (
        len(value) == 2
        and isinstance(value[0], (list, tuple))
        and _is_keywords(value[1])
        and _binds(function, value[0], value[1])
    ):
        return tuple(value[0]), value[1]
    return tuple(value), {}


def _call_inputs(
    get_inputs: Callable[[], Any], model: nn.Module, seed: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    seed_all(seed)
    with own_code("get_inputs() raised"):
        value = _returned(get_inputs)
    args, kwargs = _as_arguments(value, model.forward)
    return map_tensors(torch.Tensor.detach, args), map_tensors(torch.Tensor.detach, kwargs)


def _materialize(model: nn.Module, get_inputs: Callable[[], Any]) -> None:
    """Gives modules whose sizes their first input decides their parameters."""
    args, kwargs = _call_inputs(get_inputs, model, 0)
    with torch.no_grad(), own_code("the first forward pass raised"):
        model(*args, **kwargs)


@contextlib.contextmanager
def imported(path: Path) -> Iterator[types.ModuleType]:
    """The file as a module, for the duration of the context.

    It is a member of a package of its own whose folder is the file's, so that it can import its
    neighbours, relatively or by name. They are forgotten afterwards: the next file may have
    neighbours of the same names.
    """
    if not path.exists():
        raise ProblemError("no such file")
    if not path.is_file():
        raise ProblemError("not a file")
    folder = path.resolve().parent
    package = types.ModuleType(f"_kernelopt_problem_{next(_COUNTER)}")
    package.__path__ = [str(folder)]
    name = f"{package.__name__}.{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}"
    before = dict(sys.modules)
    sys.modules[package.__name__] = package
    arguments, sys.argv = sys.argv, [str(path)]  # the command's own are not for the file
    sys.path.insert(0, str(folder))
    try:
        loader = importlib.machinery.SourceFileLoader(name, str(path.resolve()))
        spec = importlib.util.spec_from_file_location(name, path.resolve(), loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            # Compiled here rather than by the loader, which would leave bytecode in the folder.
            code = loader.source_to_code(path.read_bytes(), str(path.resolve()))
            exec(code, vars(module))
        except SyntaxError as error:
            where = "" if error.lineno is None else f"line {error.lineno}: "
            raise ProblemError(f"{where}syntax error: {error.msg}") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise ProblemError(f"importing it raised {one_line(error)}") from error
        yield module
    finally:
        sys.argv = arguments
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
        for key in set(sys.modules) - set(before):
            file = getattr(sys.modules[key], "__file__", None)
            if key.startswith(package.__name__) or (file and Path(file).parent == folder):
                del sys.modules[key]


# The torch.backends.*.fp32_precision there are: backend and kind of operator.
_PRECISIONS = [
    ("generic", "all"),
    *itertools.product(("cuda", "mkldnn"), ("all", "matmul", "conv", "rnn")),
]


def float32_precisions() -> dict[tuple[str, str], str]:
    """What torch may compute float32 with, by backend and kind of operator."""
    return {key: torch._C._get_fp32_precision_getter(*key) for key in _PRECISIONS}


@contextlib.contextmanager
def settings_restored() -> Iterator[None]:
    """Gives torch's global settings back the values they had: a file may choose its own."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    grad, threads = torch.is_grad_enabled(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn: Any = torch.backends.cudnn
    flags = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    precisions = float32_precisions()
    tf32 = matmul = None
    with contextlib.suppress(RuntimeError):  # torch refuses where its old and new ways were mixed
        tf32 = torch._C._get_cudnn_allow_tf32()
        matmul = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.set_num_threads(threads)
        # None, not the CPU: any device set here would be a mode that all functions pass through.
        torch.set_default_device(None if device.type == "cpu" else device)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        for name, value in flags.items():
            if getattr(cudnn, name) != value:
                setattr(cudnn, name, value)
        if float32_precisions() != precisions:
            if tf32 is not None:
                torch._C._set_cudnn_allow_tf32(tf32)
            if matmul is not None:
                torch.set_float32_matmul_precision(matmul)
            for key, precision in precisions.items():
                torch._C._set_fp32_precision_setter(*key, precision)


@contextlib.contextmanager
def load(path: Path, seed: int = 0) -> Iterator[Problem]:
    """Imports a problem file and constructs its model.

    Raises:
        ProblemError: the file is missing, does not import, lacks a name, or its constructor raises.
    """
    seed_all(seed)
    with settings_restored(), imported(path) as module:
        missing = [name for name in NAMES if not hasattr(module, name)]
        if missing:
            raise ProblemError(f"defines no {' and no '.join(missing)}")
        not_callable = [name for name in NAMES if not callable(getattr(module, name))]
        if not_callable:
            raise ProblemError(f"{not_callable[0]} is not callable")

        def construct() -> nn.Module:
            seed_all(seed)
            with own_code("get_init_inputs() raised"):
                value = _returned(module.get_init_inputs)
            args, kwargs = _as_arguments(value, module.Model)
            with own_code("constructing Model raised"):
                model = module.Model(*args, **kwargs)
            if not isinstance(model, nn.Module):
                raise ProblemError(f"Model() is a {type(model).__name__}, not a torch.nn.Module")
            if "_parameters" not in vars(model):
                raise ProblemError("Model.__init__() does not call super().__init__()")
            if any(nn.parameter.is_lazy(tensor) for tensor in _tensors(model)):
                _materialize(model, module.get_inputs)
            return model

        yield Problem(path, construct(), module.get_inputs, construct)
