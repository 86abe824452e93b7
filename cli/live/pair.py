"""Pair: one server and one trainer as processes of their own, their registry, and the server's URL."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cli.errors import CliError
from cli.live.process import VerbProcess
from pipelines.registry import Presence, Registry, Slot

_POLL_SECONDS = 0.1
_START_SECONDS = 120.0
_SWAP_SECONDS = 30.0

_Found = TypeVar("_Found")


class Pair:
    """Started in order, stopped in the opposite one; both end with this process, however it ends."""

    def __init__(self, command: Callable[[str], Sequence[str]], registry: Registry, logs: Path) -> None:
        """command: the command line of a verb. logs: folder for what the two say."""
        self._command = command
        self._registry = registry
        self._logs = logs
        self._running: dict[str, VerbProcess] = {}
        self.url = ""
        """Of the server, once it serves."""

    def start(self) -> None:
        """Returns when requests are served. Raises CliError, with nothing left running, when they cannot be."""
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            self._start("serve")
            self.url = self._wait(_START_SECONDS, "the server to be ready", self._ready_url)
            self._start("train")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops what runs. May be called again."""
        for verb in reversed(tuple(self._running)):
            self._running.pop(verb).stop()

    def stop_training(self, slot: Slot) -> None:
        """Stops the trainer and waits until the server runs what it published last."""
        if "train" in self._running:
            self._running.pop("train").stop()
        self._wait(_SWAP_SECONDS, "the server to run the last version", lambda: self._is_current(slot) or None)

    def check(self) -> None:
        """Raises CliError, with its last words, if one has ended."""
        for process in self._running.values():
            process.check()

    @property
    def trains(self) -> bool:
        return "train" in self._running

    def presence(self, kind: str) -> Presence | None:
        """The latest word of the `serving` or the `trainer` process; None: it said nothing lately."""
        everyone = self._registry.presences(time.time())
        return next((each for each in everyone if each.name.startswith(f"{kind}:")), None)

    def _start(self, verb: str) -> None:
        self._running[verb] = VerbProcess(verb, self._command(verb), self._logs / f"{verb}.log")

    def _ready_url(self) -> str | None:
        presence = self.presence("serving")
        if presence is None:
            return None
        # the port, chosen by the system, is part of the name under which a server reports
        url = f"http://127.0.0.1:{presence.name.rpartition(':')[2]}"
        return url if _ready(url) is not None else None

    def _is_current(self, slot: Slot) -> bool:
        said = _ready(self.url)
        return said is not None and said["generation"] == self._registry.state(slot).generation

    def _wait(self, seconds: float, what: str, look: Callable[[], _Found | None]) -> _Found:
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            self.check()
            if time.monotonic() > deadline:
                raise CliError(f"waited {seconds:g} s for {what}; see the logs in {self._logs}")
            time.sleep(_POLL_SECONDS)
        return found


def _ready(url: str) -> dict[str, Any] | None:
    """What `/ready` says; None while it says nothing."""
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5.0) as response:
            said: dict[str, Any] = json.load(response)
            return said
    except OSError:
        return None
