"""The graph layer: what only the running model shows is rewritten in the graphs Dynamo captures.

The layer stands where ``model.compile()`` would put torch's compiler. Dynamo captures the graphs,
the rewrite puts kernelopt's functions in, and torch runs the result operation by operation: no
Inductor, nothing is compiled. Where the first call finds nothing to rewrite, the layer takes itself
away.
"""

from __future__ import annotations

import logging
import traceback
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .. import _registration
from .reporting import MODEL_NAME, Entry, Report

UNUSED = "; not used in the last call: Dynamo runs none of its graphs (recompile_limit?)"
_ROOT = "L['model']"  # the path of the model in the function that Dynamo traces
UNKNOWN = "*"
_DYNAMO_LOG = logging.getLogger("torch._dynamo.convert_frame")


class GraphBackend:
    """The Dynamo backend of one model: rewrites each graph and gathers the findings.

    Dynamo keeps backends alive, so it does not refer to the model.

    Args:
        selected: whether what a module does may be rewritten, by name; None for every one.
        strict: let Dynamo raise its errors.
    """

    def __init__(self, selected: Callable[[str], bool] | None, strict: bool):
        self.selected = selected
        self.strict = strict
        self.of_graph_module = False  # set where the model is one
        self.findings: list[Entry] = []
        self.graphs = 0
        self.in_parts = False  # whether a call runs several graphs
        self.failure = ""
        self.ran = False
        self.hook_guards: bool | None = None
        self.suppressed_errors: bool | None = None

    def __call__(self, graph_module: torch.fx.GraphModule, inputs: list) -> Callable[..., Any]:
        from .rewrite import rewrite

        # By default Dynamo leaves out the guards that notice hooks added later. Guards are built
        # after this call; the layer then sets the option back.
        config: Any = torch._dynamo.config
        if self.hook_guards is None:
            self.hook_guards = config.skip_nnmodule_hook_guards
        config.skip_nnmodule_hook_guards = False

        self.graphs += 1
        found = rewrite(
            graph_module, compiled=False, name_of=self._name_of, selected=self._selected
        )
        self.findings += [finding for finding in found if finding not in self.findings]
        if self._is_part(graph_module):
            self.in_parts = True
            self.suppress_errors()
        run = graph_module.forward

        def call(*args: Any) -> Any:
            self.ran = True
            return run(*args)

        return call

    def _is_part(self, graph_module: torch.fx.GraphModule) -> bool:
        """Whether a graph is not all that a call of the model does."""
        reason = getattr(graph_module, "compile_subgraph_reason", None)
        if reason is None or reason.graph_break:
            return True
        traces = [node.meta.get("stack_trace") or "" for node in graph_module.graph.nodes]
        return not self.of_graph_module and not any(__file__ in trace for trace in traces)

    def suppress_errors(self) -> None:
        """Has Dynamo run what it fails on as it was, until ``restore_options``.

        Once a part of the model has run, the layer cannot run the model anew; and most errors are
        the model's own, of a shape, say, that it catches, or that torch then raises.
        """
        if self.suppressed_errors is None and not self.strict:
            config: Any = torch._dynamo.config
            self.suppressed_errors = config.suppress_errors
            config.suppress_errors = True
            _DYNAMO_LOG.addFilter(self._hear)

    def _hear(self, record: logging.LogRecord) -> bool:
        """Takes errors that Dynamo suppresses from its log, for the report."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, Exception) or record.levelno < logging.WARNING:
            return True
        self.failure = _described(error)
        return False

    def restore_options(self) -> None:
        config: Any = torch._dynamo.config
        if self.hook_guards is not None:
            config.skip_nnmodule_hook_guards = self.hook_guards
            self.hook_guards = None
        if self.suppressed_errors is not None:
            config.suppress_errors = self.suppressed_errors
            self.suppressed_errors = None
            _DYNAMO_LOG.removeFilter(self._hear)

    def _selected(self, name: str) -> bool:
        if self.selected is None:
            return True
        return not name.startswith(UNKNOWN) and self.selected("" if name == MODEL_NAME else name)

    def _name_of(self, node: torch.fx.Node) -> str:
        """The module that a node belongs to, by its name in the model; from "*" on where it is in a
        part that was traced on its own, after a graph break or by torch.export."""
        from .nodes import is_exported, module_path

        path = module_path(node)
        if is_exported(node):
            if self.of_graph_module:
                return path or MODEL_NAME
        else:
            if not path and __file__ in (node.meta.get("stack_trace") or ""):
                return MODEL_NAME
            if path.startswith(_ROOT):
                return path.removeprefix(_ROOT).removeprefix(".") or MODEL_NAME
            _, _, path = path.partition(".")
        return f"{UNKNOWN}.{path}" if path else UNKNOWN


class GraphLayer:
    """What calling an optimized model runs.

    Args:
        model: the model whose ``_compiled_call_impl`` this is.
        report: where the findings go.
        selected: whether what a module does may be rewritten, by name; None for every one.
        strict: raise Dynamo's errors instead of running the model as it was.
    """

    def __init__(
        self,
        model: nn.Module,
        report: Report,
        selected: Callable[[str], bool] | None,
        strict: bool,
    ):
        self.model = model
        self.report = report
        self.backend = GraphBackend(selected, strict)
        self.compiled: Callable[..., Any] | None = None
        self.breaks = 0
        report.graph = "waits for the first call"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # A compiler or a transform from outside takes the model as it is; hooks of every module see
        # each of its modules.
        if (
            torch.compiler.is_compiling()
            or _registration.in_transform()
            or nn.modules.module._has_any_global_hook()
            or torch.jit.is_tracing()
            or torch.fx._symbolic_trace.is_fx_symbolic_tracing()
        ):
            return self.model._call_impl(*args, **kwargs)
        backend = self.backend
        graphs, failure = backend.graphs, backend.failure
        backend.ran = False
        if backend.in_parts:
            backend.suppress_errors()
        try:
            if self.compiled is None:
                self.compiled = _compile(self.model, backend)
                self.breaks = _graph_breaks()
            result = self.compiled(*args, **kwargs)
        except Exception as error:
            if backend.strict or backend.ran or not _is_dynamos(error):
                raise
            result = self.model._call_impl(*args, **kwargs)  # an error of the user's is raised here
            self._leave(f"off: Dynamo failed with {_described(error)}")
            return result
        finally:
            backend.restore_options()
        if (backend.graphs, backend.failure) != (graphs, failure):
            self._note(first=graphs == 0)
        elif graphs == 0:
            self.report.graph = "Dynamo has captured no graph so far"
        elif backend.ran == self.report.graph.endswith(UNUSED):
            state = self.report.graph.removesuffix(UNUSED)
            self.report.graph = state if backend.ran else state + UNUSED
        return result

    def _note(self, first: bool) -> None:
        """After a call in which Dynamo captured graphs, or failed on a part of the model."""
        findings, failure = self.backend.findings, self.backend.failure
        self.report.operations[:] = findings
        state = "nothing to rewrite"
        if any(finding.action != "kept" for finding in findings):
            count = self.backend.graphs
            state = f"rewritten ({count} {'graph' if count == 1 else 'graphs'})"
        elif first and not failure:
            where = " in what Dynamo captured" if _graph_breaks() > self.breaks else ""
            self._leave(f"off: {state}{where}")
            return
        self.report.graph = state + (f"; Dynamo failed on a part: {failure}" if failure else "")

    def _leave(self, state: str) -> None:
        self.report.graph = state
        self.model._compiled_call_impl = None


def _described(error: Exception) -> str:
    text = str(error).partition("\n\n")[0].partition("\n  Hint: ")[0]
    message = " ".join(text.split())
    return f"{type(error).__name__}: {message}"


def _graph_breaks() -> int:
    """How many graph breaks Dynamo has counted so far, in all."""
    from torch._dynamo.utils import counters

    return sum(counters["graph_break"].values())


def _is_dynamos(error: Exception) -> bool:
    """Whether an error is Dynamo's own: of its type, or raised in its code as an assertion is."""
    from torch._dynamo.exc import TorchDynamoException

    if isinstance(error, TorchDynamoException):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").startswith("torch._dynamo.")


def _compile(model: nn.Module, backend: GraphBackend) -> Callable[..., Any]:
    """The model's call under Dynamo."""
    from .backend import register

    register()

    def traced(*args: Any, **kwargs: Any) -> Any:
        return model._call_impl(*args, **kwargs)

    # Dynamo keeps its graphs, and counts recompilations, by code object: each model needs its own.
    code = traced.__code__.replace(co_name="optimized_call")
    function = types.FunctionType(code, traced.__globals__, code.co_name, None, traced.__closure__)
    return torch.compile(function, backend=backend)
