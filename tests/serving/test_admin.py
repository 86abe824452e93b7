"""The admin API: every verb does to the registry what it says, and whoever may not is told so."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from pipelines.errors import RegistryUnavailable
from pipelines.registry import Presence, Registry, RunPlan, SlotState, open_registry
from serving.scripted import ScriptedEngine
from tests.pipelines.records import SLOT, make_manifest
from tests.serving.harness import house

KEY = "an admin key, ünlike others"
HEADERS = {"authorization": f"Bearer {KEY}".encode()}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """With a champion, its predecessor, and a version that waits."""
    registry = open_registry(f"sqlite:///{tmp_path}/registry.db")
    registry.publish(SLOT, make_manifest("a"), "here", expected_generation=0)
    registry.publish(SLOT, make_manifest("b", "a"), "here", expected_generation=1)
    registry.record(SLOT, make_manifest("c", "b"), "here")
    yield registry
    registry.close()


@pytest.fixture
def admin(registry: Registry) -> Iterator[TestClient]:
    subject = house(ScriptedEngine(slot=SLOT), registry=registry, admin_key=KEY, keys={"tenant key": "acme"})
    with TestClient(subject.app, headers=HEADERS) as client:
        yield client


def post(admin: TestClient, path: str, expected: int = 200, **body: Any) -> dict[str, Any]:
    response = admin.post(f"/admin/v1{path}", json=body)
    assert response.status_code == expected, response.text
    found: dict[str, Any] = response.json()
    return found


def get(admin: TestClient, path: str, expected: int = 200) -> dict[str, Any]:
    response = admin.get(f"/admin/v1{path}")
    assert response.status_code == expected, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_run_is_asked_for_shown_and_cancelled(admin: TestClient, registry: Registry) -> None:
    run = post(
        admin,
        "/training/runs",
        202,
        reason="new prompts",
        mode="full",
        since=5,
        from_offsets={"0": 7},
        max_steps=90,
        promote="canary",
        idempotency_key="monday",
    )
    (asked,) = registry.runs()
    assert (asked.run_id, asked.reason, asked.state) == (run["run_id"], "new prompts", "queued")
    assert asked.plan == RunPlan(mode="full", since=5.0, from_position={0: 7}, max_steps=90, promote="canary")
    assert post(admin, "/training/runs", 202, idempotency_key="monday")["run_id"] == run["run_id"]
    busy = post(admin, "/training/runs", 409, reason="me too")["error"]
    assert busy["run_id"] == run["run_id"]
    assert run["run_id"] in busy["message"]
    assert get(admin, f"/training/runs/{run['run_id']}")["plan"]["max_steps"] == 90
    assert [each["run_id"] for each in get(admin, "/training/runs")["runs"]] == [run["run_id"]]
    assert post(admin, f"/training/runs/{run['run_id']}/cancel", reason="never mind")["state"] == "cancelled"
    over = post(admin, f"/training/runs/{run['run_id']}/cancel", 200)  # once more is no error: it is what was wanted
    assert over["state"] == "cancelled"
    assert post(admin, "/training/runs", 202)["run_id"] != run["run_id"]


def test_an_empty_body_asks_for_the_usual(admin: TestClient, registry: Registry) -> None:
    assert admin.post("/admin/v1/training/runs").status_code == 202
    assert registry.runs()[0].plan == RunPlan()


def test_a_version_is_tried_on_a_share_promoted_and_rolled_back(admin: TestClient, registry: Registry) -> None:
    state = post(admin, "/speculators/c/canary", share=0.25, share_of="replicas", expected_generation=2)
    assert (state["candidate"], state["share"], state["share_of"]) == ("c", 0.25, "replicas")
    assert post(admin, "/speculators/c/promote", reason="good")["champion"] == "c"
    assert registry.state(SLOT) == SlotState(generation=4, champion="c", previous="b")
    assert post(admin, "/speculators/c/rollback", reason="bad after all")["champion"] == "b"
    assert registry.quarantined(SLOT) == {"c"}
    assert registry.events()[-1].detail == "bad after all"


def test_a_kind_means_the_slot_beside_the_one_that_is_served(admin: TestClient, registry: Registry) -> None:
    drafts = msgspec.structs.replace(SLOT, kind="draft-lm")
    for generation, version in enumerate(("d", "e")):
        registry.publish(drafts, make_manifest(version, kind="draft-lm"), "here", expected_generation=generation)
    assert get(admin, "/status?kind=draft-lm")["slot"]["kind"] == "draft-lm"
    assert get(admin, "/status?kind=medusa")["slot"]["kind"] == get(admin, "/status")["slot"]["kind"] == "medusa"
    assert [each["version"] for each in get(admin, "/speculators?kind=draft-lm")["versions"]] == ["e", "d"]
    assert post(admin, "/training/runs?kind=draft-lm", 202)["slot"]["kind"] == "draft-lm"
    assert post(admin, "/training/pause?kind=draft-lm")["training"] is False
    assert post(admin, "/speculators/e/rollback?kind=draft-lm")["champion"] == "d"
    assert registry.state(SLOT) == SlotState(generation=2, champion="b", previous="a")
    assert "'e'" in get(admin, "/speculators/e", 404)["error"]["message"]
    assert get(admin, "/status?kind=oracle", 400)["error"]["param"] == "kind"


def test_a_canary_is_rolled_back_without_touching_the_champion(admin: TestClient, registry: Registry) -> None:
    post(admin, "/speculators/c/canary", share=0.5)
    state = post(admin, "/speculators/c/rollback", reason="slow")
    assert (state["champion"], state["candidate"]) == ("b", None)
    assert registry.quarantined(SLOT) == {"c"}


def test_what_cannot_be_done_is_a_conflict_and_changes_nothing(admin: TestClient, registry: Registry) -> None:
    before = registry.state(SLOT)
    assert "generation is 2, expected 1" in post(admin, "/speculators/c/promote", 409, expected_generation=1)["error"]["message"]
    assert "champion already" in post(admin, "/speculators/b/canary", 409)["error"]["message"]
    assert "expected b" in post(admin, "/speculators/a/rollback", 409)["error"]["message"]
    assert "'nobody'" in post(admin, "/speculators/nobody/promote", 404)["error"]["message"]
    assert "'nobody'" in get(admin, "/speculators/nobody", 404)["error"]["message"]
    assert "'run-x'" in get(admin, "/training/runs/run-x", 404)["error"]["message"]
    assert registry.state(SLOT) == before


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        ("/training/runs", {"mode": "sideways"}, "mode", "'sideways'"),
        ("/training/runs", {"max_steps": -1}, "max_steps", "is -1, expected 0 or more"),
        ("/training/runs", {"from_offsets": {"x": 1}}, "from_offsets", "number of a partition"),
        ("/training/runs", {"from_offsets": {"0": -1}}, "from_offsets", "0 or more"),
        ("/training/runs", {"since": -1}, "since", "Unix seconds"),
        ("/training/runs", {"promotion": "auto"}, "promotion", "no such field"),
        ("/speculators/c/canary", {"share": 1.5}, "share", "less than 1"),
        ("/speculators/c/canary", {"share_of": "users"}, "share_of", "'users'"),
        ("/speculation", {}, "on", "required"),
        ("/training/pause", {"reason": 3}, "reason", "a string"),
    ],
)
def test_a_wrong_field_is_named(admin: TestClient, path: str, body: dict[str, Any], param: str, said: str) -> None:
    error = post(admin, path, 400, **body)["error"]
    assert error["param"] == param
    assert said in error["message"]


@pytest.mark.parametrize("limit", ["0", "x", "1001", "-3", "²"])
def test_a_wrong_limit_is_named(admin: TestClient, limit: str) -> None:
    assert get(admin, f"/audit?limit={limit}", 400)["error"]["param"] == "limit"


def test_switches_are_thrown(admin: TestClient, registry: Registry) -> None:
    assert post(admin, "/training/pause", reason="maintenance")["training"] is False
    assert post(admin, "/speculation", on=False)["speculation"] is False
    assert registry.state(SLOT) == SlotState(generation=2, champion="b", previous="a", training=False, speculation=False)
    assert post(admin, "/training/resume")["training"] is True
    assert post(admin, "/speculation", on=True)["speculation"] is True


def test_versions_are_shown_with_where_they_stand(admin: TestClient, registry: Registry) -> None:
    registry.record(SLOT, make_manifest("d", "c"), "here")
    post(admin, "/speculators/d/promote")
    post(admin, "/speculators/d/rollback")
    found = {each["version"]: each for each in get(admin, "/speculators")["versions"]}
    assert list(found) == ["d", "c", "b", "a"]
    assert [(each["alias"], each["stage"], each["quarantined"]) for each in found.values()] == [
        (None, "rolled_back", True),
        (None, None, False),
        ("champion", "champion", False),
        (None, "champion", False),
    ]
    assert get(admin, "/speculators/b") == found["b"]


def test_status_and_replicas_show_who_runs(admin: TestClient, registry: Registry) -> None:
    now = time.time()
    registry.announce(Presence(name="serving:1", at=now, ttl=60, version="b", generation=2, figures={"acceptance_length": 2.5}))
    registry.announce(Presence(name="trainer:1", at=now, ttl=60, state="training"))
    run = post(admin, "/training/runs", 202)
    found = get(admin, "/status")
    assert found["slot"]["target"] == SLOT.target
    assert found["state"]["champion"] == "b"
    assert [each["name"] for each in found["presences"]] == ["serving:1", "trainer:1"]
    assert [each["run_id"] for each in found["open_runs"]] == [run["run_id"]]
    assert [each["action"] for each in found["events"]] == ["published", "published"]
    (replica,) = get(admin, "/replicas")["replicas"]
    assert (replica["version"], replica["figures"]["acceptance_length"]) == ("b", 2.5)


def test_what_was_done_and_refused_is_in_the_audit_log(admin: TestClient) -> None:
    post(admin, "/speculators/c/canary", share=0.25, reason="let us see")
    post(admin, "/speculators/nobody/promote", 404)
    get(admin, "/speculators")
    refused, done = get(admin, "/audit")["acts"]
    assert (done["actor"], done["action"], done["what"]) == ("admin@testclient", "canary", "c, 0.25 of requests")
    assert (done["reason"], done["outcome"]) == ("let us see", "done")
    assert (refused["action"], refused["what"]) == ("promote", "nobody")
    assert "'nobody'" in refused["outcome"]
    assert get(admin, "/audit?limit=1")["acts"] == [refused]


@pytest.mark.parametrize("key", [None, "wrong", "tenant key"])
def test_nobody_comes_in_with_another_key(admin: TestClient, registry: Registry, key: str | None) -> None:
    with TestClient(admin.app) as stranger:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        for method, path in (("GET", "/admin/v1/status"), ("POST", "/admin/v1/speculators/c/promote"), ("GET", "/admin/nothing")):
            response = stranger.request(method, path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
    assert registry.state(SLOT).champion == "b"


def test_the_admin_key_is_no_api_key(admin: TestClient) -> None:
    assert admin.get("/v1/models").status_code == 401


def test_without_an_admin_key_the_api_is_shut(registry: Registry) -> None:
    with TestClient(house(ScriptedEngine(slot=SLOT), registry=registry).app) as client:
        for key in ("", "anything"):
            response = client.get("/admin/v1/status", headers={"authorization": f"Bearer {key}"})
            assert response.status_code == 403
            assert "without an admin key" in response.json()["error"]["message"]


def test_without_a_registry_there_is_nothing_to_administer() -> None:
    with TestClient(house(ScriptedEngine(slot=SLOT), admin_key=KEY).app, headers=HEADERS) as client:
        assert "no registry" in get(client, "/status", 404)["error"]["message"]


def test_a_registry_that_is_away_is_said_so(admin: TestClient, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise RegistryUnavailable("registry redis://nowhere: ConnectionError")

    for name in ("state", "promote", "request_run"):
        monkeypatch.setattr(registry, name, away)
    assert "nowhere" in get(admin, "/status", 503)["error"]["message"]
    assert "nowhere" in post(admin, "/speculators/c/promote", 503)["error"]["message"]
    response = admin.post("/admin/v1/training/runs")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_the_openapi_document_knows_every_type_it_names(admin: TestClient) -> None:
    document = admin.get("/openapi.json").json()
    routes = {path for path in document["paths"] if path.startswith("/admin/v1")}
    assert {"/admin/v1/training/runs", "/admin/v1/speculators/{version}/canary", "/admin/v1/audit"} <= routes
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])
