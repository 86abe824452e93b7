"""A purge reaches the servers that run, and what a server kept from before it."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pipelines.errors import RegistryUnavailable
from pipelines.operations import Operations
from pipelines.registry import Registry, Slot, open_registry
from serving.messages import Request
from serving.polling import Polling
from serving.purges import Purges
from speculator.controller import Controller
from speculator.recycling import RecyclingSpeculator
from speculator.suffix import SuffixSpeculator
from speculator.suffix_files import SuffixFiles
from tests.serving.rig import VOCAB, engine_with, tiny_target
from tests.wait import wait_until

PROMPT = (1, 2, 3)


class Server:
    """An engine with both sources that learn, listening to a registry."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'registry.db'}"
        target = tiny_target()
        self.suffix = SuffixSpeculator(files=SuffixFiles(folder / "trees", "t"))
        self.recycling = RecyclingSpeculator(VOCAB)
        self.engine = engine_with(target, self.suffix, self.recycling)
        self.engine.controller = self.controller = Controller(["suffix", "recycling"])
        self.engine.purges = Purges(lambda: open_registry(self.url), 0.01)
        self.engine.purges.start()

    def serve(self, number: int, tenant: str) -> None:
        self.engine.submit(Request(id=number, prompt_ids=PROMPT, max_tokens=20, tenant=tenant, seed=number))
        while self.engine.has_work:
            self.engine.step()

    def known(self) -> tuple[set[str], set[str]]:
        return set(self.suffix._tenants), set(self.recycling._tenants)

    def judged(self) -> set[str]:
        """Whose steps are counted."""
        return {each.group.tenant for each in self.controller._contexts._num_steps if each.group is not None}

    def wait_until_heard(self) -> None:
        with closing(open_registry(self.url)) as registry:
            newest = registry.acts(1)[0]
        wait_until(lambda: self.engine.purges._newest == newest)
        self.engine.take_newer()


def purge(server: Server, tenant: str) -> None:
    with closing(open_registry(server.url)) as registry:
        Operations(registry, "tester").purge(tenant)


def test_a_purged_tenant_is_forgotten_by_every_source_and_the_others_are_not(tmp_path: Path) -> None:
    server = Server(tmp_path)
    for number, tenant in enumerate(("a", "b")):
        server.serve(number, tenant)
    assert server.known() == ({"a", "b"}, {"a", "b"})
    assert server.judged() == {"a", "b"}
    purge(server, "a")
    server.wait_until_heard()
    assert server.known() == ({"b"}, {"b"})
    assert server.judged() == {"b"}
    server.serve(7, "a")
    time.sleep(0.05)
    server.engine.take_newer()
    assert server.known() == ({"a", "b"}, {"a", "b"}), "a purge is heeded once"
    with closing(open_registry(server.url)) as registry:
        (act,) = registry.acts()
    assert (act.actor, act.action, act.what, act.slot.scope) == ("tester", "purge", "a", "a")
    server.engine.close()


def test_a_request_under_way_is_not_drafted_for_from_what_was_purged(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.serve(1, "a")
    server.engine.submit(Request(id=2, prompt_ids=PROMPT, max_tokens=20, tenant="a"))
    server.engine.step()
    before = server.suffix._tenants["a"].tree
    server.engine.speculator.forget("a", time.time() + 1)
    assert server.suffix._requests[2].past.tree is server.suffix._tenants["a"].tree is not before
    server.engine.close()


def test_what_was_kept_from_before_a_purge_does_not_come_back_and_what_came_after_does(tmp_path: Path) -> None:
    first = Server(tmp_path)
    for number, tenant in enumerate(("a", "b")):
        first.serve(number, tenant)
    first.engine.close()
    purge(first, "a")
    second = Server(tmp_path)
    second.wait_until_heard()
    assert second.known()[0] == {"b"}
    second.serve(3, "a")
    second.engine.close()
    third = Server(tmp_path)
    third.wait_until_heard()
    assert third.known()[0] == {"a", "b"}
    third.engine.close()


def test_a_registry_that_is_away_is_asked_again(tmp_path: Path) -> None:
    asked = 0

    def open_it() -> Registry:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise RegistryUnavailable("away")
        return open_registry(f"sqlite:///{tmp_path / 'registry.db'}")

    with closing(open_registry(f"sqlite:///{tmp_path / 'registry.db'}")) as registry:
        Operations(registry, "tester").switch(Slot(target="t", kind="medusa"), "training", False, "another act")
        Operations(registry, "tester").purge("a")
    purges, told = Purges(open_it, 0.005), list[str]()
    purges.start()
    deadline = time.monotonic() + 10
    try:
        while not told:
            assert time.monotonic() < deadline
            purges.heed(lambda tenant, at: told.append(tenant))
    finally:
        purges.stop()
    assert told == ["a"]


@pytest.mark.parametrize("between", [3, 50, 400])
def test_a_purge_is_heard_of_once_however_much_else_was_done_meanwhile(tmp_path: Path, between: int) -> None:
    told = list[str]()
    with closing(open_registry(f"sqlite:///{tmp_path / 'registry.db'}")) as registry:
        operations, purges = Operations(registry, "tester"), Purges()
        purges._polling = cast(Polling, SimpleNamespace(rest=lambda: None))
        for tenant in ("a", "b", "c"):
            operations.purge(tenant)
            for number in range(between):
                operations.switch(Slot(target="t", kind="medusa"), "training", bool(number % 2), "another act")
            for _ in range(2):
                purges._look(registry)
        purges.heed(lambda tenant, at: told.append(tenant))
    assert told == ["a", "b", "c"]
