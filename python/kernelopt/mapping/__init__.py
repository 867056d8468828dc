"""Mapping models onto kernelopt's ops.

``model`` is the entry point; ``modules`` swaps modules, ``graph`` rewrites what Dynamo captures,
and ``backend`` is the ``torch.compile`` backend. ``rewrite`` is what the last two share, and
``registry`` the table of what is replaced.
"""

from .model import optimize, report, restore
from .reporting import Entry, Report

__all__ = ["Entry", "Report", "optimize", "report", "restore"]
