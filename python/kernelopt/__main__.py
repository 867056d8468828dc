"""``python -m kernelopt``: the same as the ``kernelopt`` command."""

import sys

from .cli import main

sys.exit(main())
