"""Joining: requests whose grammar is being compiled, by a thread, so that nobody who is served waits for it."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from serving.messages import Refused, Request
from speculator.constraint.constraint import BadConstraint
from speculator.constraint.grammars import Grammars
from speculator.constraint.guide import Guide

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """A request and its way through its grammar."""

    request: Request
    guide: Guide


class Joining:
    """One grammar at a time, first come first served. grammars: None: no request may be constrained."""

    def __init__(self, grammars: Grammars | None = None) -> None:
        self._grammars = grammars
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammars")
        self._waiting: dict[int, tuple[Request, Future[Guide]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> Refused | None:
        """Has the request's grammar compiled; or says why it will never run."""
        if self._grammars is None or request.constraint is None:
            return Refused(request.id, "constraint", "answers of this engine cannot be constrained")
        made = self._thread.submit(self._grammars.guide, request.constraint, request.stop_ids)
        self._waiting[request.id] = request, made
        return None

    def abort(self, request_id: int) -> bool:
        """Whether it was here."""
        waiting = self._waiting.pop(request_id, None)
        return waiting is not None and (waiting[1].cancel() or True)

    def wait(self, seconds: float) -> None:
        """Until a grammar is compiled, but not longer."""
        wait([made for _, made in self._waiting.values()], seconds, "FIRST_COMPLETED")

    def done(self) -> list[Ready | Refused]:
        """What came of those that wait no more, in the order they came."""
        through = [request_id for request_id, (_, made) in self._waiting.items() if made.done()]
        return [_outcome(*self._waiting.pop(request_id)) for request_id in through]

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _outcome(request: Request, made: Future[Guide]) -> Ready | Refused:
    error = made.exception()
    if error is None:
        return Ready(request, made.result())
    if isinstance(error, BadConstraint):
        return Refused(request.id, "constraint", str(error))
    # a fault of the library's, or no memory: not for this the engine ends
    log.error("compiling the grammar of request %d", request.id, exc_info=error)
    return Refused(request.id, "constraint", "the grammar could not be compiled")
