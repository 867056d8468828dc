"""The report of what was replaced, what was kept, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Action = Literal["replaced", "fused", "kept"]

MODEL_NAME = "(model)"
NOT_OPTIMIZED = "off: not optimized"
_SHOWN_NAMES = 3


@dataclass(frozen=True)
class Entry:
    """One finding.

    Attributes:
        name: the module it belongs to, as in ``named_modules()``; the model itself is "(model)". In
            a part of the model that was traced on its own (after a graph break) it is known from
            that part on only, as "*.conv".
        kind: what was found: a module's class ("Conv1d"), or what a ``forward`` does ("a + b").
        action: "replaced", "fused" (two or more operations became one), or "kept".
        op: the kernelopt function that runs instead; "" where the operation is kept.
        reason: why it is kept; "" otherwise.
        location: "file:line" of an operation found in a graph; "" for modules.
    """

    name: str
    kind: str
    action: Action
    op: str = ""
    reason: str = ""
    location: str = ""


@dataclass
class Report:
    """What :func:`kernelopt.optimize` did to a model.

    Attributes:
        model: the model's class.
        modules: the findings among the modules, as they were before the first call.
        operations: the findings in the graphs traced so far; there are none before the first call.
        graph: the state of the graph layer, in words.
        first_names: of modules with several names: the one in ``modules``, by each of the others.
    """

    model: str
    modules: list[Entry] = field(default_factory=list)
    operations: list[Entry] = field(default_factory=list)
    graph: str = "off"
    first_names: dict[str, str] = field(default_factory=dict)

    @property
    def entries(self) -> list[Entry]:
        """Every finding, those among modules first. A module whose own operation was found in a
        graph, or fused with others there, is in that entry."""
        names = {
            self.first_names.get(name, name)
            for entry in self.operations
            if entry.action == "fused" or entry.kind.startswith("F.")
            for name in entry.name.split(" + ")
        }
        for name in [name for name in names if name.startswith("*.")]:
            candidates = [m.name for m in self.modules if f".{m.name}".endswith(name[1:])]
            if len(candidates) == 1:
                names.add(candidates[0])
        return [*(entry for entry in self.modules if entry.name not in names), *self.operations]

    @property
    def replaced(self) -> list[Entry]:
        """The findings that were replaced by one kernelopt op each."""
        return self._of("replaced")

    @property
    def fused(self) -> list[Entry]:
        """The findings that were fused into one kernelopt op."""
        return self._of("fused")

    @property
    def kept(self) -> list[Entry]:
        """The findings that run as they were."""
        return self._of("kept")

    def _of(self, action: Action) -> list[Entry]:
        return [entry for entry in self.entries if entry.action == action]

    def to_dict(self) -> dict[str, Any]:
        """The report in plain types, for JSON."""
        return {
            "model": self.model,
            "graph": self.graph,
            "replaced": len(self.replaced),
            "fused": len(self.fused),
            "kept": len(self.kept),
            "entries": [asdict(entry) for entry in self.entries],
        }

    def __str__(self) -> str:
        dry_run = "optimize() would give: " if self.graph == NOT_OPTIMIZED else ""
        first = (
            f"{self.model}: {dry_run}{len(self.replaced)} replaced, {len(self.fused)} fused, "
            f"{len(self.kept)} kept; graph: {self.graph}"
        )
        return "\n".join([first, *_table(self.entries)])


def _table(entries: Iterable[Entry]) -> list[str]:
    """Aligned rows; findings that differ in name alone share one."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        what = entry.op or entry.reason
        kind = f"{entry.kind} ({entry.location})" if entry.location else entry.kind
        groups.setdefault((entry.action, kind, what), []).append(entry.name)
    rows = []
    for (action, kind, what), names in groups.items():
        shown = ", ".join(names[:_SHOWN_NAMES])
        if len(names) > _SHOWN_NAMES:
            shown += f", ... ({len(names)})"
        rows.append((action, shown, kind, what))
    if not rows:
        return []
    rows.insert(0, ("action", "name", "what", "op or reason"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
