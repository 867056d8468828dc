"""Text output: tables by rich where it is installed, in plain columns otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO


class Output:
    """Writes lines and tables to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            from rich.console import Console
        except ImportError:
            self._console = None
        else:
            # Into a pipe or a file rich would fold tables at 80 columns.
            width = None if stream.isatty() else 200
            self._console = Console(file=stream, width=width, highlight=False, markup=False)

    def line(self, text: str = "") -> None:
        print(text, file=self._stream, flush=True)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int
    ) -> None:
        """A table whose first ``text_columns`` columns are text, the others figures."""
        if self._console is not None:
            self._rich_table(columns, rows, text_columns)
            return
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        for row in (columns, ["-" * width for width in widths], *rows):
            cells = [
                f"{cell:{'<' if index < text_columns else '>'}{widths[index]}}"
                for index, cell in enumerate(row)
            ]
            self.line(("  " + "  ".join(cells)).rstrip())

    def _rich_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int
    ) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        assert self._console is not None
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index < text_columns else "right")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)


def duration(seconds: float) -> str:
    """A time in a unit that suits it: "12.3 us"."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
