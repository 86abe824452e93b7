"""Whoever polls the registry goes on through outages, and ends when it is told to."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import cast

from pipelines.errors import PipelineError, RegistryUnavailable
from pipelines.registry import Registry
from serving.polling import Polling
from tests.wait import wait_until


class Poller:
    """Counts its turns on a registry that may be away."""

    def __init__(self, interval: float = 0.001) -> None:
        self.num_opened = self.num_closed = self.num_turns = 0
        self.away = False
        self.missed: list[str] = []
        self.polling = Polling("test", self._open, interval, turn=self._turn, away=self._missed)

    def __enter__(self) -> Poller:
        self.polling.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.polling.stop()

    def _open(self) -> Registry:
        self._check()
        self.num_opened += 1
        return cast(Registry, SimpleNamespace(close=self._close))

    def _close(self) -> None:
        self.num_closed += 1

    def _turn(self, registry: Registry) -> None:
        self._check()
        self.num_turns += 1
        self.polling.rest()

    def _check(self) -> None:
        if self.away:
            raise RegistryUnavailable("away")

    def _missed(self, error: PipelineError) -> None:
        self.missed.append(str(error))


def test_a_registry_that_is_away_at_first_and_later_is_asked_again() -> None:
    poller = Poller()
    poller.away = True
    with poller:
        wait_until(lambda: len(poller.missed) > 2)
        assert (poller.num_opened, poller.num_turns) == (0, 0)
        poller.away = False
        wait_until(lambda: poller.num_turns > 2)
        poller.away = True
        num_missed = len(poller.missed)
        wait_until(lambda: len(poller.missed) > num_missed + 1)
        poller.away, num_turns = False, poller.num_turns
        wait_until(lambda: poller.num_turns > num_turns)
    assert (poller.num_opened, poller.num_closed) == (1, 1)
    assert set(poller.missed) == {"away"}


def test_it_ends_at_once_in_the_middle_of_a_rest() -> None:
    with Poller(interval=3600.0) as poller:
        wait_until(lambda: poller.num_turns > 0)
    assert "test" not in {thread.name for thread in threading.enumerate()}
    assert poller.num_closed == 1


def test_without_a_registry_nothing_is_started() -> None:
    polling = Polling("test", None, 0.001, turn=lambda registry: None, away=lambda error: None)
    polling.start()
    polling.stop()
    assert "test" not in {thread.name for thread in threading.enumerate()}
