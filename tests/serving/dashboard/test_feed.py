"""GET /dashboard/feed: what the page is told, and what nobody is told."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import RegistryUnavailable
from pipelines.sqlite_registry import SqliteRegistry
from serving.dashboard.reading import Reading
from serving.scripted import ScriptedEngine
from tests.serving.dashboard.conftest import Served
from tests.serving.dashboard.story import FALLEN, FOURTH, NEXT, SLOT, STATIC, LearningEngine, story_registry
from tests.serving.harness import House, house

Serve = Callable[..., Served]


def asked(subject: House, after: float = 0, **headers: str) -> dict[str, Any]:
    response = subject.http().get("/dashboard/feed", params={"after": after}, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_it_shows_the_slot_its_versions_and_who_runs(tmp_path: Path) -> None:
    registry = story_registry(tmp_path)
    subject = house(LearningEngine(), registry=registry, admin_key="sesame")
    part = asked(subject)["registry"]
    slot = part["slot"]
    assert (part["configured"], part["away_since"]) == (True, None)
    assert (slot["champion"], slot["candidate"], slot["generation"]) == (FOURTH, NEXT, registry.state(SLOT).generation)
    stages = {each["version"]: each["stage"] for each in part["versions"]}
    assert stages == {
        NEXT: "candidate", FOURTH: "champion", FALLEN: "rolled_back", "a90417ecd6b85f23": "previous",
        "5be2f90acc17d835": "rejected", "77d0ce51b3941c06": "was_champion", "3c11b97d20fe48aa": "was_champion",
        STATIC: "recorded",
    }  # fmt: skip
    assert part["versions"][0]["gate"].startswith("published: 2.410 -> 2.550")
    assert part["num_versions"] == 8
    assert [each["name"] for each in slot["trainers"]] == ["trainer:pluto"]
    assert {each["name"]: each["figures"]["acceptance_length"] for each in slot["servers"]} == {
        "serving:pluto:8000": 2.44, "serving:charon:8000": 2.17,
    }  # fmt: skip
    assert [each["state"] for each in slot["runs"]] == ["queued", "champion"]
    assert [each["action"] for each in part["events"]][-3:] == ["rolled_back", "published", "staged"]


def test_it_shows_the_engine_and_what_happened_lately(served: Serve) -> None:
    subject, dashboard = served(LearningEngine())
    dashboard.history.take(Reading(at=100, tokens=10))
    dashboard.history.take(Reading(at=102, tokens=50, running=2))
    feed = asked(subject)
    assert feed["samples"] == [{"at": 102.0, "seconds": 2.0, "tokens": 40, "running": 2}]
    assert asked(subject, after=102)["samples"] == []
    assert feed["engine"]["versions"] == {"medusa": FOURTH, "medusa-static": STATIC, "suffix": "live"}
    assert feed["engine"]["speculation"] is True
    assert feed["engine"]["gauges"]["gain:1:greedy"] == 1.71
    assert feed["server"]["engine"] == "running"
    subject.engine.set_speculation(False)
    subject.engine.die("x")
    feed = asked(subject)
    assert (feed["engine"]["speculation"], feed["server"]["engine"]) == (False, "gone")


def test_before_the_engine_is_ready_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LearningEngine()
    subject = house(engine, registry=story_registry(tmp_path))
    monkeypatch.setattr(engine, "snapshot", lambda: None)
    feed = asked(subject)
    assert (feed["server"]["engine"], feed["engine"], feed["registry"]["slot"]) == ("starting", None, None)


def test_without_a_registry_the_engine_alone_is_shown() -> None:
    feed = asked(house(ScriptedEngine()))
    assert feed["registry"] == {
        "configured": False, "away_since": None, "problem": "", "slot": None, "num_versions": 0, "events": [],
    }  # fmt: skip
    assert feed["engine"]["generation"] == 0


def test_what_a_page_has_is_not_sent_again(tmp_path: Path) -> None:
    registry = story_registry(tmp_path)
    subject = house(LearningEngine(), registry=registry)
    with subject.http() as http:

        def asked_once_more(after: float) -> dict[str, Any]:
            found: dict[str, Any] = http.get("/dashboard/feed", params={"after": after}).json()
            return found

        first = asked_once_more(0)
        assert first["registry"]["versions"]
        second = asked_once_more(first["at"] + 0.001)
        assert "versions" not in second["registry"]
        assert second["registry"]["events"] == []
        assert second["registry"]["slot"]["champion"] == FOURTH
        assert len(json.dumps(second)) < len(json.dumps(first)) / 2


def test_it_needs_no_key_and_tells_nothing_of_tenants_or_of_what_they_wrote(served: Serve, tmp_path: Path) -> None:
    subject, dashboard = served(LearningEngine(), registry=story_registry(tmp_path), keys={"k3y": "acme-secret"})
    dashboard.sample()
    headers = {"authorization": "Bearer k3y"}
    body = {"prompt": "a private question", "max_tokens": 40, "metadata": {"domain": "privacy"}, "user": "someone"}
    assert subject.http().post("/v1/completions", json=body, headers=headers).status_code == 200
    dashboard.sample()
    told = json.dumps(asked(subject))
    assert json.loads(told)["samples"][0]["tokens"] == 40
    for secret in ("acme-secret", "tenant", "private", "someone", "k3y"):
        assert secret not in told, secret


def test_it_tells_whether_there_is_an_admin_key_and_not_which() -> None:
    assert asked(house())["server"]["admin_key"] is False
    feed = asked(house(admin_key="sesame"))
    assert feed["server"]["admin_key"] is True
    assert "sesame" not in json.dumps(feed)


def test_a_registry_that_is_away_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: Any) -> Any:
        raise RegistryUnavailable("no route to host")

    registry = SqliteRegistry(tmp_path / "registry.db")
    subject = house(LearningEngine(), registry=registry)
    monkeypatch.setattr(registry, "events", away)
    part = asked(subject)["registry"]
    assert part["away_since"] > 1e9
    assert (part["problem"], part["slot"]) == ("no route to host", None)


@pytest.mark.parametrize("after", ["soon", "nan", "-1", "inf", ""])
def test_after_must_be_a_time(after: str) -> None:
    response = house().http().get("/dashboard/feed", params={"after": after})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "after"


@pytest.mark.parametrize("num_samples", [40, 1500])
def test_it_is_packed_for_who_can_unpack_it(served: Serve, num_samples: int) -> None:
    subject, dashboard = served(ScriptedEngine())
    for at in range(num_samples):
        dashboard.history.take(Reading(at=2 * at, tokens=at, drafts=at, accepted=at, positions={0: at, 1: at}, steps=at))
    http = subject.http()
    plain = http.get("/dashboard/feed", headers={"accept-encoding": "identity"})
    packed = http.get("/dashboard/feed", headers={"accept-encoding": "gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json()["samples"] == plain.json()["samples"]
    assert len(gzip.compress(packed.content)) < len(plain.content) / 4
    assert packed.headers["cache-control"] == "no-store"
