"""Proving: constraints of strangers are tried out in a process of its own before any other has to do with them.

Some keep the library busy for minutes (`a?` 49,000 times), and a chain of 4,000 rules overflows its stack, which ends the
process: neither is an error that could be caught.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from speculator.constraint.compiling import compiled, view_of
from speculator.constraint.constraint import BadConstraint, Constraint
from speculator.constraint.grammar import check, reason

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_STACK = 4 << 20
"""Bytes: half of what other threads have, so that what is proven has room to spare there."""
_START_SECONDS = 60.0
_REMEMBERED = 256


class Prover:
    """One constraint at a time, in `thread`. Its process is started when first needed, and anew after one that broke it.

    rules: of the tokenizer; empty: only the grammar itself is looked at. seconds: that a constraint may take.
    """

    def __init__(self, rules: str, eos_ids: Collection[int], vocab_size: int, seconds: float = 5.0) -> None:
        self._tokenizer = rules, tuple(eos_ids), vocab_size
        self._seconds = seconds
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="prover")
        self._outcomes: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def prove(self, constraint: Constraint) -> None:
        """Waits for the outcome. Raises BadConstraint for a constraint that cannot be followed, or not in time."""
        why = self._outcomes.get(constraint.key)
        if why is None:
            why = self._tried(constraint)
        if why:
            raise constraint.bad(why)

    def close(self) -> None:
        """Ends process and thread."""
        self.thread.shutdown(wait=False, cancel_futures=True)
        self._end()

    def _end(self) -> None:
        """Ends the process; the next constraint starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
        if self._pipe is not None:
            self._pipe.close()

    def _tried(self, constraint: Constraint) -> str:
        """Why it cannot be followed; empty: it can."""
        try:
            pipe = self._ready()
            pipe.send(constraint)
            if pipe.poll(self._seconds):
                return self._remembered(constraint, str(pipe.recv()))
            why = f"too complex: not compiled after {self._seconds:g} s"
        except (EOFError, OSError):
            why = "too complex: compiling it failed"
        self._end()
        return why

    def _remembered(self, constraint: Constraint, outcome: str) -> str:
        """The outcome. One that only came of the time is never remembered: the machine may have been busy."""
        self._outcomes[constraint.key] = outcome
        if len(self._outcomes) > _REMEMBERED:
            self._outcomes.popitem(last=False)
        return outcome

    def _ready(self) -> Connection:
        """The way to a process that listens. Raises EOFError for one that cannot be started."""
        if self._process is not None and self._pipe is not None:
            return self._pipe
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, *self._tokenizer), name="everdraft-prover", daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(_START_SECONDS):
            raise EOFError
        self._pipe.recv()
        return self._pipe


def _main(pipe: Connection, rules: str, eos_ids: tuple[int, ...], vocab_size: int) -> None:
    threading.stack_size(_STACK)
    thread = threading.Thread(target=_serve, args=(pipe, rules, eos_ids, vocab_size))
    thread.start()
    thread.join()


def _serve(pipe: Connection, rules: str, eos_ids: tuple[int, ...], vocab_size: int) -> None:
    """Answers each constraint with why it cannot be followed, or nothing, until the other end is gone."""
    view = view_of(rules, eos_ids, vocab_size) if rules else None
    pipe.send("")
    while True:
        try:
            constraint = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        pipe.send(_outcome(constraint, view))


def _outcome(constraint: Constraint, view: LLTokenizer | None) -> str:
    try:
        check(constraint)
        if view is not None:
            compiled(constraint, view)
    except BadConstraint as error:
        return str(error).removeprefix(f"{constraint.field}: ")
    except BaseException as error:  # the library's panics are none of Exception's
        return reason(f"{type(error).__name__}: {error}")
    return ""
