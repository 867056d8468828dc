"""The parent's side of the worker: start, send, receive with a limit, kill."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

Message = dict[str, Any]


def worker_command(device: str) -> list[str]:
    return [sys.executable, "-u", "-m", "kernelopt.benchmarking.worker", device]


class ChildGoneError(Exception):
    """The child ended without an answer."""


class ChildTimeoutError(Exception):
    """The child did not answer in time."""


class Child:
    """A worker process. Its stderr goes to a log file, so that a crash can be read up."""

    def __init__(self, command: Sequence[str], log: TextIO) -> None:
        # The profiler must stay loaded between uses where CUDA graphs are replayed.
        profiler = {"DISABLE_CUPTI_LAZY_REINIT": "1", "TEARDOWN_CUPTI": "0"}
        package_root = str(Path(__file__).parents[2])
        paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **profiler, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
        self._messages: queue.Queue[Message | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._messages.put(json.loads(line))
        self._messages.put(None)

    def send(self, message: Message) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise ChildGoneError(self._ending()) from None

    def receive(self, limit: float) -> Message:
        """The next message.

        Raises:
            ChildTimeoutError: none came in ``limit`` seconds.
            ChildGoneError: the child has ended.
        """
        try:
            message = self._messages.get(timeout=max(limit, 0.01))
        except queue.Empty:
            raise ChildTimeoutError(f"no answer in {limit:.0f} s") from None
        if message is None:
            raise ChildGoneError(self._ending())
        return message

    def _ending(self) -> str:
        status = self._process.wait()
        if status < 0:
            return f"the worker was ended by signal {signal.Signals(-status).name}"
        return f"the worker ended with status {status}"

    def kill(self) -> None:
        """Ends the child and what it started, such as compiler processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
