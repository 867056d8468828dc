"""The ``kernelopt`` command.

Each subcommand is a module of this package with two functions: ``add_parser(subparsers)``, which
describes its options and sets the default ``run``, and ``run(options) -> int``, its exit status.
The modules import what is heavy inside ``run``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from .. import __version__

COMMANDS = ("run", "bench", "info", "selftest")


class UsageError(Exception):
    """What the user asked for cannot be done: a one-line message, and exit status 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status.

    Args:
        argv: the words after the program's name; default those of ``sys.argv``.

    Raises:
        SystemExit: with status 2 on unknown options, with status 0 after ``--help``.
    """
    parser = argparse.ArgumentParser(
        prog="kernelopt", description="Ahead-of-time compiled GPU kernels for PyTorch."
    )
    parser.add_argument("--version", action="version", version=f"kernelopt {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f".{name}", __name__).add_parser(subparsers)
    options = parser.parse_args(argv)
    try:
        return options.run(options)
    except UsageError as error:
        print(f"kernelopt {options.command}: {error}", file=sys.stderr)
        return 2
