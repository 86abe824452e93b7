"""MergedLog: the output of several processes, line by line, each line under the name of who said it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TextIO

_LONGEST_LINE = 1 << 16
"""Bytes; what is longer is shown in parts."""
_COLOURS = (36, 33, 35, 32)
"""ANSI colours of the names, in turn: cyan, yellow, magenta, green."""


class MergedLog:
    """Whole lines only: what two processes say at the same time does not mix."""

    def __init__(self, out: TextIO, names: Sequence[str], own_name: str = "up") -> None:
        self._out = out
        self._own_name = own_name
        self._width = max(len(name) for name in (own_name, *names))
        coloured = out.isatty() and "NO_COLOR" not in os.environ
        self._colours = dict(zip(names, _COLOURS, strict=False)) if coloured else {}
        self._readers: set[asyncio.Task[None]] = set()

    def say(self, line: str) -> None:
        """A line of the supervisor's own."""
        self._write(self._own_name, line)

    async def follow(self, name: str, descriptor: int) -> None:
        """Shows what arrives at a pipe, in the background, until its other end is closed; then closes it."""
        stream = asyncio.StreamReader()
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
        reader = asyncio.create_task(self._read(name, stream))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def drain(self, seconds: float = 1.0) -> None:
        """Shows the last words of processes that have ended; gives up on pipes that others hold open."""
        if self._readers:
            await asyncio.wait(self._readers, timeout=seconds)
        for reader in tuple(self._readers):
            reader.cancel()

    async def _read(self, name: str, stream: asyncio.StreamReader) -> None:
        rest = b""
        while data := await stream.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._write(name, line.decode(errors="replace"))
            if len(rest) > _LONGEST_LINE:
                self._write(name, rest.decode(errors="replace"))
                rest = b""
        if rest:
            self._write(name, rest.decode(errors="replace"))

    def _write(self, name: str, line: str) -> None:
        label = f"{name:<{self._width}} |"
        colour = self._colours.get(name)
        self._out.write(f"\x1b[{colour}m{label}\x1b[0m {line}\n" if colour else f"{label} {line}\n")
        self._out.flush()
