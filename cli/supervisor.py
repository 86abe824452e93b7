"""Supervisor: keeps child processes running, merges what they say, and stops them all at once.

A child that crashes is started again, after a wait that doubles with each crash until it has run for a while.
One that ends by itself with 0 is done; one that ends with Exit.USAGE would only do so again, so all are
stopped. No other process than the ones it started ever gets a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from cli import tether
from cli.errors import Exit
from cli.merged_log import MergedLog

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long it waits for what, in seconds."""

    first_wait: float = 0.5
    longest_wait: float = 30.0
    steady: float = 60.0
    """A child that ran for so long starts again after `first_wait`."""
    grace: float = 45.0
    """Between SIGTERM and SIGKILL."""


class Supervisor:
    """Runs children until told to stop by SIGINT or SIGTERM, or until they are all done."""

    def __init__(self, children: Sequence[Child], patience: Patience = Patience(), out: TextIO | None = None) -> None:
        self._children = tuple(children)
        self._patience = patience
        self._log = MergedLog(out or sys.stdout, [child.name for child in children])
        self._processes: dict[Child, subprocess.Popen[bytes]] = {}
        self._stopping = asyncio.Event()
        self._told = False
        """Whether SIGTERM went out. Each process gets it once: a second one would cut its drain short."""

    async def run(self) -> Exit:
        """OK when all ended well or stopped when asked, USAGE when one could never run, else FAILED."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted)
        keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
        stopper = asyncio.create_task(self._stop_in_time())
        codes = await asyncio.gather(*keepers)
        stopper.cancel()
        await self._log.drain()
        if Exit.USAGE in codes:
            return Exit.USAGE
        return Exit.FAILED if any(codes) else Exit.OK

    def _interrupted(self) -> None:
        """The first time asks the children to stop, the second time makes them."""
        if self._stopping.is_set():
            self._signal(signal.SIGKILL)
        else:
            self._log.say("stopping; once more to stop at once")
            self._stopping.set()

    async def _keep(self, child: Child) -> int:
        """Runs a child, again and again if need be; returns the exit code it ended with for good."""
        wait = self._patience.first_wait
        while True:
            started = time.monotonic()
            code = await self._run_once(child)
            if self._stopping.is_set():
                return 0 if code == -signal.SIGTERM else code
            if code == Exit.USAGE:
                self._log.say(f"{child.name} cannot run as it was told to: stopping")
                self._stopping.set()
            if code in (Exit.OK, Exit.USAGE):
                return code
            if time.monotonic() - started >= self._patience.steady:
                wait = self._patience.first_wait
            self._log.say(f"{child.name} {_ending(code)}; it starts again in {wait:g} s")
            if await self._stopped_within(wait):
                return 0
            wait = min(2 * wait, self._patience.longest_wait)

    async def _run_once(self, child: Child) -> int:
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                (sys.executable, tether.__file__, str(os.getpid()), *child.command),
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                process_group=0,  # the terminal's Ctrl-C reaches the supervisor alone
            )
        finally:
            os.close(writing)
        self._processes[child] = process
        if self._told:  # the others, while this one started
            process.terminate()
        await self._log.follow(child.name, reading)
        # Asked again and again rather than waited for in a thread, as asyncio does: in a process with threads the
        # kernel tells of its death once for each (`tether`), and the second SIGTERM would cut a drain short.
        while (code := process.poll()) is None:
            await asyncio.sleep(_POLL_SECONDS)
        del self._processes[child]
        return code

    async def _stop_in_time(self) -> None:
        await self._stopping.wait()
        self._told = True
        self._signal(signal.SIGTERM)
        await asyncio.sleep(self._patience.grace)
        self._signal(signal.SIGKILL)

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    def _signal(self, number: signal.Signals) -> None:
        for child, process in self._processes.items():
            if number == signal.SIGKILL:
                self._log.say(f"{child.name} did not stop: killed")
            process.send_signal(number)


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
