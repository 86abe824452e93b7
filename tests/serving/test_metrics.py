"""/metrics: vLLM's names and ours, and what they count."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.api.metrics import MAX_VERSIONS, Metrics
from serving.messages import Moved, SourceStep
from serving.scripted import ScriptedEngine
from speculator.contexts import EVIDENCE, Group, Situation
from speculator.controller import Controller
from tests.serving.harness import MODEL, House, MemoryLog, house

VLLM = {"model_name": MODEL, "engine": "0"}


@dataclass
class Reading:
    """The samples of one scrape."""

    values: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def __call__(self, name: str, **labels: str) -> float:
        return self.values[name, frozenset(labels.items())]

    def has(self, name: str, **labels: str) -> bool:
        return (name, frozenset(labels.items())) in self.values

    def told(self) -> set[str]:
        """What labels say."""
        return {value for _, labels in self.values for _, value in labels}


def read(subject: House) -> Reading:
    response = subject.http().get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return Reading(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }
    )


@pytest.fixture
def subject() -> House:
    return house(ScriptedEngine(), log=MemoryLog(room=1))


def test_speculation_is_counted_as_vllm_counts_it(subject: House) -> None:
    # steps: 1 token from the prompt, then accepted 2, 0, 3, 1 of drafts of 4, 4, 4, 2, and one plain
    subject.http().post("/v1/completions", json={"prompt": "abc", "max_tokens": 12})
    now = read(subject)
    assert now("vllm:spec_decode_num_drafts_total", **VLLM) == 4
    assert now("vllm:spec_decode_num_draft_tokens_total", **VLLM) == 14
    assert now("vllm:spec_decode_num_accepted_tokens_total", **VLLM) == 6
    positions = [
        now("vllm:spec_decode_num_accepted_tokens_per_pos_total", position=str(position), **VLLM) for position in range(3)
    ]
    assert positions == [3, 2, 1]
    assert now("everdraft_draft_tokens_total", source="scripted", version="v0") == 14
    assert now("everdraft_accepted_tokens_total", source="scripted", version="v0") == 6
    assert now("everdraft_request_acceptance_length_sum") == 2.5


def test_requests_and_tokens_are_counted_once(subject: House) -> None:
    http = subject.http()
    http.post("/v1/completions", json={"prompt": ["abc", "d"], "max_tokens": 5})
    http.post("/v1/completions", json={"prompt": "abc", "max_tokens": 7, "stream": True})
    http.post("/v1/completions", json={"prompt": "", "max_tokens": 7})
    now = read(subject)
    assert now("vllm:prompt_tokens_total", **VLLM) == 7
    assert now("vllm:generation_tokens_total", **VLLM) == 17
    assert now("vllm:request_success_total", finished_reason="length", **VLLM) == 3
    for name in (
        "time_to_first_token_seconds",
        "e2e_request_latency_seconds",
        "request_time_per_output_token_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
        "request_params_max_tokens",
    ):
        assert now(f"vllm:{name}_count", **VLLM) == 3, name
    assert now("vllm:request_params_max_tokens_sum", **VLLM) == 17
    # 17 tokens in 9 steps: [1, 3, 1] twice, then [1, 3, 1, 2]
    assert now("vllm:inter_token_latency_seconds_count", **VLLM) == 2 + 2 + 3
    assert now("everdraft_http_responses_total", route="/v1/completions", status="200") == 2
    assert now("everdraft_http_responses_total", route="/v1/completions", status="400") == 1


def test_the_engine_shows_its_load_versions_and_counters(subject: House) -> None:
    before = read(subject)
    assert before("vllm:num_requests_running", **VLLM) == 0
    assert before("vllm:num_requests_waiting", **VLLM) == 0
    assert before("vllm:kv_cache_usage_perc", **VLLM) == 0
    assert before("everdraft_speculator_info", source="scripted", version="v0") == 1
    subject.engine.swap("v1")
    subject.http().post("/v1/completions", json={"prompt": "abc", "max_tokens": 12})
    after = read(subject)
    assert after("everdraft_speculator_info", source="scripted", version="v1") == 1
    assert not after.has("everdraft_speculator_info", source="scripted", version="v0")
    assert after("everdraft_generation") == 1
    assert after("everdraft_swaps_total") == 1
    assert after("everdraft_swap_failures_total") == 0
    assert after("everdraft_steps_total") == 6
    assert after("everdraft_engine_drafts_total") == 4
    assert after("everdraft_engine_up") == 1
    subject.engine.die("x")
    assert read(subject)("everdraft_engine_up") == 0


def test_what_follows_the_colon_in_a_counters_name_becomes_a_label(subject: House) -> None:
    subject.engine.count("shadow_tokens:medusa-static", 12)
    subject.engine.count("shadow_tokens:suffix", 13)
    subject.engine.count("arm:4:greedy:medusa+suffix", 1)
    subject.engine.count("new thing:x", 2)
    now = read(subject)
    assert now("everdraft_engine_shadow_tokens_total", source="medusa-static") == 12
    assert now("everdraft_engine_shadow_tokens_total", source="suffix") == 13
    assert now("everdraft_engine_arm_total", batch="4", choices="greedy", arm="medusa+suffix") == 1
    assert now("everdraft_engine_new_thing_total", key0="x") == 2


def test_whatever_tenants_and_domains_are_called_metrics_name_none(subject: House) -> None:
    contexts = [Situation(0, False, Group(tenant, domain)) for tenant, domain in (("acme", "a:b%20c d"), ("n w:t%", ""))]
    ours = Controller(["suffix"])
    for situation in contexts * EVIDENCE:
        ours._contexts.observe(situation, frozenset({"suffix"}), 2.0)
    for name, value in ours.gauges().items():
        subject.engine.count(name, value)
    now = read(subject)
    assert now("everdraft_engine_groups_total", batch="1", choices="greedy", arm="suffix") == 2
    assert now.has("everdraft_engine_group_gain_total", batch="1", choices="greedy", arm="suffix")
    assert not now.told() & {"acme", "a:b%20c d", "a", "b%20c d", "n w:t%", "n w", "t%"}


def test_an_accepted_stop_token_counts_as_accepted() -> None:
    subject = house(ScriptedEngine())
    body = {"prompt": "abcd", "temperature": 0, "stop_token_ids": [ord("c")], "speculative_metrics": True}
    answer = subject.http().post("/v1/completions", json=body).json()
    assert answer["usage"]["completion_tokens"] == 3  # one from the prompt, two accepted, nothing after them
    assert answer["metrics"]["speculative_decoding"]["num_accepted_draft_tokens"] == 2
    assert read(subject)("vllm:spec_decode_num_accepted_tokens_total", **VLLM) == 2


def test_the_traffic_log_is_shown_with_what_it_lost(subject: House) -> None:
    http = subject.http()
    for store in (None, None, False):
        http.post("/v1/completions", json={"prompt": "a", "store": store, "max_tokens": 2})
    now = read(subject)
    shown = {
        name: now(f"everdraft_traffic_{name}_total")
        for name in ("finished", "opted_out", "unlogged", "appended", "written", "dropped")
    }
    assert shown == {"finished": 3, "opted_out": 1, "unlogged": 0, "appended": 2, "written": 1, "dropped": 1}
    assert now("everdraft_traffic_pending") == 0


def test_a_scrape_may_be_preceded_by_a_head_request(subject: House) -> None:
    http = subject.http()
    assert http.head("/metrics").status_code == 200
    assert http.get("/metrics", follow_redirects=False).status_code == 200


def test_paths_that_clients_make_up_do_not_become_labels(subject: House) -> None:
    http = subject.http()
    for name in ("a", "b"):
        http.get(f"/nowhere/{name}")
        http.get(f"/v1/models/{name}")
    now = read(subject)
    assert now("everdraft_http_responses_total", route="other", status="404") == 2
    assert now("everdraft_http_responses_total", route="/v1/models/{name:path}", status="404") == 2


def test_a_thousand_swaps_leave_a_bounded_number_of_series() -> None:
    metrics = Metrics(MODEL)
    for number in range(1000):
        source = SourceStep("medusa", f"v{number}", (1,), (1,), (1,))
        metrics._drafted(Moved(1, (5, 6), None, 1, 1, (source,)))
    for name in ("everdraft_draft_tokens", "everdraft_accepted_tokens"):
        (family,) = [family for family in metrics.registry.collect() if family.name == name]
        versions = {sample.labels["version"] for sample in family.samples if sample.name.endswith("_total")}
        assert versions == {f"v{number}" for number in range(1000 - MAX_VERSIONS, 1000)}
