"""Writes tables and plots from the result files into README and docs, and checks that they agree.

A block in a Markdown file is

    <!-- benchmark: KIND results=h100 op=conv1d,gelu dtype=float32 direction=forward -->
    ...
    <!-- /benchmark -->

KIND is ``environment``, ``headline`` (the problems in short), ``seeds``, ``grid``, ``overhead`` or
``plots``; the words after it choose records, ``results`` the file where there are several.
``import_time`` shows the files of ``results/import_time``. Everything between the two lines is
generated.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from . import plots
from .cases import find_directory
from .hostinfo import csrc_sha256
from .records import Record, Results, problems
from .tables import (
    SUITE_TABLES,
    environment_line,
    geometric_means,
    headline_table,
    import_time_table,
)

_BLOCK = re.compile(
    r"(?P<open>^<!-- benchmark: (?P<words>[^>]*?) -->\n)"
    r"(?P<body>.*?)(?P<close>^<!-- /benchmark -->)",
    re.DOTALL | re.MULTILINE,
)
_NOT_MEASURED = "Not measured yet: `kernelopt bench` writes these figures."
_STALE = (
    "**Stale**: these figures were measured with other kernel sources (`csrc_sha256` {}) than "
    "this tree's."
)
_KINDS = ("environment", "import_time", "plots", "headline", *SUITE_TABLES)
_FILTERS = ("op", "dtype", "direction", "problem")


class Repository:
    """The checkout around the benchmarks folder: its result files and Markdown files."""

    def __init__(self, directory: Path) -> None:
        self.root = directory.parent
        self.results_directory = directory / "results"
        self.figures = self.root / "docs" / "figures"
        self.csrc_sha256 = csrc_sha256(self.root)

    def result_files(self) -> list[Path]:
        return sorted(self.results_directory.glob("*.json"))

    def markdown_files(self) -> Iterator[Path]:
        candidates = [self.root / "README.md", *sorted((self.root / "docs").rglob("*.md"))]
        for path in candidates:
            if path.exists() and _BLOCK.search(path.read_text()):
                yield path

    def only_file(self, words: str) -> str:
        """The stem of the result file, for a block that names none.

        Raises:
            ValueError: there are several.
        """
        names = [path.stem for path in self.result_files()]
        if len(names) > 1:
            raise ValueError(f"benchmark block {words!r}: expected results={' or '.join(names)}")
        return names[0] if names else ""

    def load(self, name: str) -> Results | None:
        path = self.results_directory / f"{name}.json"
        return Results.load(path) if path.exists() else None

    def stale_note(self, results: Results) -> str:
        """Empty where the figures were measured with this tree's kernels."""
        measured = results.environment["csrc_sha256"]
        return "" if measured == self.csrc_sha256 else _STALE.format(measured[:12])


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parse(words: str) -> tuple[str, dict[str, list[str]]]:
    kind, *options = words.split()
    if kind not in _KINDS:
        raise ValueError(f"benchmark block {words!r}: expected one of {', '.join(_KINDS)}")
    chosen = {}
    for option in options:
        name, _, values = option.partition("=")
        if name not in (*_FILTERS, "results"):
            raise ValueError(f"benchmark block {words!r}: unknown word {option!r}")
        chosen[name] = values.split(",")
    return kind, chosen


def _select(results: Results, suite: str, chosen: dict[str, list[str]]) -> list[Record]:
    return [
        record
        for record in results.records.values()
        if record["suite"] == suite
        and all(record[name] in chosen[name] for name in _FILTERS if name in chosen)
    ]


def _plot_links(repository: Repository, name: str, results: Results, path: Path) -> str:
    suites = plots.plotted_suites(results)
    lines = []
    for suite in suites:
        figure = repository.figures / f"{name}_{suite}.svg"
        link = Path(os.path.relpath(figure, path.parent)).as_posix()
        lines.append(f"![Fraction of the floor and speed-up, {suite}]({link})")
    return "\n\n".join(lines) or _NOT_MEASURED


def block_body(repository: Repository, words: str, path: Path) -> str:
    """What a block in ``path`` must hold."""
    kind, chosen = _parse(words)
    if kind == "import_time":
        files = sorted((repository.results_directory / "import_time").glob("*.json"))
        table = import_time_table([json.loads(file.read_text()) for file in files])
        return f"\n{table.markdown() if files else _NOT_MEASURED}\n\n"
    name = chosen["results"][0] if "results" in chosen else repository.only_file(words)
    results = repository.load(name)
    if results is None:
        return f"\n{_NOT_MEASURED}\n\n"
    parts = [repository.stale_note(results)]
    if kind == "environment":
        parts.append(environment_line(results.environment))
    elif kind == "plots":
        parts.append(_plot_links(repository, name, results, path))
    else:
        suite = "seeds" if kind == "headline" else kind
        make_table = headline_table if kind == "headline" else SUITE_TABLES[kind]
        records = _select(results, suite, chosen)
        parts.append(make_table(records).markdown() if records else _NOT_MEASURED)
        if suite != "overhead":
            parts.append(geometric_means(records))
    return "\n" + "\n\n".join(part for part in parts if part) + "\n\n"


def generated(repository: Repository, path: Path) -> str:
    """A Markdown file's text with every block as it must be."""
    return _BLOCK.sub(
        lambda match: match["open"] + block_body(repository, match["words"], path) + match["close"],
        path.read_text(),
    )


def render(benchmarks: str | None) -> int:
    """Rewrites the blocks and draws the plots; the exit status."""
    repository = Repository(find_directory(benchmarks))
    for path in repository.result_files():
        results = Results.load(path)
        for suite in plots.plotted_suites(results):
            stem = repository.figures / f"{path.stem}_{suite}"
            if plots.available():
                plots.draw(results, suite, stem, file_sha256(path))
                print(f"{stem}.svg, .png")
            else:
                print(f"{stem}: not drawn, matplotlib is not installed")
    for path in repository.markdown_files():
        text = generated(repository, path)
        if text != path.read_text():
            path.write_text(text)
            print(path)
    return 0


def findings(repository: Repository) -> list[str]:
    """Where the result files, the Markdown files and the plots do not agree."""
    found = []
    for path in repository.result_files():
        wrong = problems(json.loads(path.read_text()))
        found += [f"{path.name}: {text}" for text in wrong]
        if wrong:
            continue
        for suite in plots.plotted_suites(Results.load(path)):
            for ending in plots.ENDINGS:
                figure = repository.figures / f"{path.stem}_{suite}{ending}"
                if not figure.exists():
                    found.append(f"{figure.name}: missing")
                elif plots.source_mark(file_sha256(path)).encode() not in figure.read_bytes():
                    found.append(f"{figure.name}: drawn from other figures than {path.name}'s")
    if found:
        return found
    return [
        f"{path.relative_to(repository.root)}: differs from the result files"
        for path in repository.markdown_files()
        if generated(repository, path) != path.read_text()
    ]


def check(benchmarks: str | None) -> int:
    """Prints what does not agree; exit status 1 where something does not."""
    found = findings(Repository(find_directory(benchmarks)))
    for text in found:
        print(text)
    if found:
        print("`kernelopt bench --render` writes tables and plots again")
    return 1 if found else 0
