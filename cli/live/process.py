"""VerbProcess: a verb of the command line in a process of its own, which ends with this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cli import tether
from cli.errors import CliError

_LAST_LINES = 15


class VerbProcess:
    """Started at once; what it says goes to `log`. Ctrl-C in the terminal does not reach it."""

    def __init__(self, verb: str, command: Sequence[str], log: Path) -> None:
        self.verb = verb
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                (sys.executable, tether.__file__, str(os.getpid()), *command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                process_group=0,
            )

    def check(self) -> None:
        """Raises CliError, with its last words, if it has ended."""
        code = self._process.poll()
        if code is not None:
            said = self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            raise CliError("\n  ".join((f"{self.verb} ended with {code}; {self._log} ends:", *said)))

    def stop(self, seconds: float = 60.0) -> None:
        """Lets it end in good order; kills it after `seconds`."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
