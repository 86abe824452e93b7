"""The Redis registry keeps the contract, and says when its server is away."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import BadUrl, RegistryUnavailable
from pipelines.registry import Registry, open_registry
from tests.pipelines.contract_registry import (
    CandidatesContract,
    ConcurrencyContract,
    LeadContract,
    PresencesContract,
    RollbackContract,
    RunsContract,
    VersionsContract,
    WatchingContract,
    publish,
)
from tests.pipelines.records import SLOT
from tests.servers.redis_server import RedisServer


class TestRedisRegistry(
    VersionsContract,
    RollbackContract,
    CandidatesContract,
    WatchingContract,
    LeadContract,
    RunsContract,
    PresencesContract,
    ConcurrencyContract,
):
    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        return f"{redis_server.url}?prefix=test-{uuid.uuid4().hex}"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, that keeps what it holds."""
    server = RedisServer(tmp_path, persistent=True)
    server.start()
    yield server
    server.kill()


def test_a_server_that_is_away_is_named_and_used_again_once_it_is_back(own: RedisServer) -> None:
    registry = open_registry(own.url)
    publish(registry, "a")
    own.kill()
    with pytest.raises(RegistryUnavailable, match=f"redis://127.0.0.1:{own.port}/0"):
        registry.state(SLOT)
    with pytest.raises(RegistryUnavailable):
        publish(registry, "b", "a")
    own.start()
    assert registry.state(SLOT).champion == "a"
    assert publish(registry, "b", "a").champion == "b"
    registry.close()


def test_a_server_that_does_not_answer_is_not_waited_for(own: RedisServer) -> None:
    registry = open_registry(f"{own.url}?timeout=0.2")
    publish(registry, "a")
    own.freeze()
    started = time.monotonic()
    with pytest.raises(RegistryUnavailable, match="Timeout"):
        registry.state(SLOT)
    assert time.monotonic() - started < 5.0
    own.thaw()
    assert registry.state(SLOT).champion == "a"
    registry.close()


def test_a_server_that_lost_its_scripts_is_given_them_again(own: RedisServer) -> None:
    registry = open_registry(own.url)
    publish(registry, "a")
    own.kill()
    own.start()
    assert publish(registry, "b", "a").champion == "b"
    registry.close()


def test_every_key_of_a_registry_carries_one_hash_tag(own: RedisServer) -> None:
    """So a cluster keeps them together, and scripts may touch several."""
    import redis

    registry = open_registry(f"{own.url}?prefix=here")
    publish(registry, "a")
    registry.request_run(SLOT, "why", idempotency_key="k")
    registry.close()
    client = redis.Redis(port=own.port)
    keys = [key.decode() for key in client.scan_iter()]
    client.close()
    assert len(keys) >= 8
    assert all(key.startswith("{here}:") for key in keys)


def names_of(registry: Registry) -> list[str]:
    return [manifest.version for manifest in registry.versions(SLOT)]


def test_registries_of_two_prefixes_share_a_server_and_nothing_else(own: RedisServer) -> None:
    ours, theirs = open_registry(f"{own.url}?prefix=ours"), open_registry(f"{own.url}?prefix=theirs")
    publish(ours, "a")
    assert (names_of(ours), names_of(theirs)) == (["a"], [])
    ours.close()
    theirs.close()


def test_a_password_comes_from_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = RedisServer(folder, "--requirepass", "open sesame")
    server.start()
    (tmp_path / "password").write_text("open sesame\n")
    try:
        registry = open_registry(f"{server.url}?password_file={tmp_path / 'password'}")
        assert publish(registry, "a").champion == "a"
        registry.close()
        with pytest.raises(RegistryUnavailable, match="Authentication"):
            open_registry(server.url).state(SLOT)
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis:///0", "registry: expected redis://"),
        ("redis://host:99999/0", "registry: the port is no number"),
        ("redis://host/zero", "registry: expected redis://"),
        ("redis://host/0?pasword_file=x", "registry: unknown parameter 'pasword_file', expected among password_file"),
        ("redis://host/0?password_file=/no/such/file", "registry: password_file cannot be read"),
        ("redis://host/0?timeout=soon", "registry: timeout is 'soon', expected seconds"),
        ("redis://host/0?prefix={x}", "registry: prefix is '{x}'"),
        ("redis://host/0?ca_file=/etc/hosts", "registry: ca_file is given, expected a rediss:// URL"),
        ("rediss://host/0?ca_file=/no/such/file", "registry: ca_file: there is no file"),
    ],
)
def test_a_url_that_cannot_work_is_refused_by_the_name_of_what_is_wrong(url: str, words: str) -> None:
    with pytest.raises(BadUrl) as refused:
        open_registry(url)
    assert words in str(refused.value)


def test_a_refused_url_is_not_repeated_since_it_may_hold_a_password() -> None:
    with pytest.raises(BadUrl) as refused:
        open_registry("redis://user:hunter2@host:port/0")
    assert "hunter2" not in str(refused.value)
