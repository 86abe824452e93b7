"""Child: `everdraft serve` or `everdraft train` as a process of its own, as `everdraft up` runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import everdraft
from bench.errors import BenchError
from cli import tether

_PATIENCE_SECONDS = 60.0


class Child:
    """Runs until stopped, or until this process ends. What it says goes to `log`."""

    def __init__(self, verb: str, flags: Sequence[str], log: Path) -> None:
        self._name = verb
        self._log = log
        program = (sys.executable, os.path.abspath(everdraft.__file__), verb, *flags)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                (sys.executable, tether.__file__, str(os.getpid()), *program),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                process_group=0,
            )

    def check(self) -> None:
        """Raises BenchError if it has ended."""
        code = self._process.poll()
        if code is not None:
            tail = self._log.read_text(errors="replace").splitlines()[-3:]
            raise BenchError(f"`everdraft {self._name}` ended with code {code}: {' / '.join(tail)}")

    def stop(self) -> None:
        """Asks it to end, and makes it if it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
