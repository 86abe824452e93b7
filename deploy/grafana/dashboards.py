"""Writes the Grafana dashboards, `python deploy/grafana/dashboards.py`: what is shown stands here, the JSON is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "everdraft-prometheus"}
COLUMNS, WIDTH, HEIGHT = 24, 12, 8


@dataclass(frozen=True)
class Panel:
    """A graph. queries: PromQL, and what each line is called."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    about: str = ""
    least: float | None = None
    """Where the axis begins."""


@dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    panels: Sequence[Panel]


def rate(counter: str, by: str = "") -> str:
    """Per second; `by`: the labels that are kept."""
    return f"sum{f' by ({by})' if by else ''} (rate({counter}[$__rate_interval]))"


def ratio(counter: str, other: str, by: str = "") -> str:
    """Of the growth of two counters."""
    return f"{rate(counter, by)} / {rate(other, by)}"


SSD_ROUNDS = "everdraft_engine_ssd_rounds_total"
HITS = rate(SSD_ROUNDS + '{outcome="hit"}') + " / " + rate(SSD_ROUNDS)
ACCEPTANCE_LENGTH = ratio("everdraft_engine_decode_tokens_total", "everdraft_engine_decode_steps_total")

ACCEPTANCE = Dashboard(
    "acceptance",
    "Everdraft: acceptance",
    (
        Panel(
            "Tokens per verification step",
            (
                (ACCEPTANCE_LENGTH, "as served"),
                (ratio("everdraft_engine_shadow_tokens_total", "everdraft_engine_shadow_steps_total", "source"),
                 "{{source}} on the same text"),
            ),
            about="1 means that drafting brings nothing. Beside what was served: what each source alone would have had accepted.",
            least=1.0,
        ),
        Panel(
            "Tokens per verification step, exact and lossy answers",
            ((ratio("everdraft_acceptance_tokens_total", "everdraft_acceptance_steps_total", "acceptance"), "{{acceptance}}"),),
            about="Lossy: by typical acceptance, where server.lossy_acceptance allows it; such texts are not the target's own.",
            least=1.0,
        ),
        Panel(
            "Share of drafted tokens accepted, by source and version",
            ((ratio("everdraft_accepted_tokens_total", "everdraft_draft_tokens_total", "source, version"),
              "{{source}} {{version}}"),),
            unit="percentunit",
            least=0.0,
        ),
        Panel(
            "Share of drafts accepted to each position",
            ((f"{rate('vllm:spec_decode_num_accepted_tokens_per_pos_total', 'position')} / on () group_left () "
              f"{rate('vllm:spec_decode_num_drafts_total')}", "position {{position}}"),),
            unit="percentunit",
            least=0.0,
        ),
        Panel(
            "Acceptance length of requests",
            tuple((f"histogram_quantile({share}, {rate('everdraft_request_acceptance_length_bucket', 'le')})", name)
                  for share, name in ((0.1, "slowest tenth"), (0.5, "median"), (0.9, "fastest tenth"))),
            about="Tokens per step, request by request.",
            least=1.0,
        ),
        Panel("Acceptance length by domain", ((ratio("everdraft_domain_tokens_total", "everdraft_domain_steps_total", "domain"),
                                               "{{domain}}"),),
              about="Tokens per step of the requests whose metadata name a domain: the 32 used last.", least=1.0),
        Panel("Measured speed against requests served without drafts",
              (("(sum(rate(everdraft_engine_served_tokens_total{how=\"speculated\"}[$__rate_interval]))"
                " / sum(rate(everdraft_engine_served_seconds_total{how=\"speculated\"}[$__rate_interval])))"
                " / (sum(rate(everdraft_engine_served_tokens_total{how=\"probe\"}[$__rate_interval]))"
                " / sum(rate(everdraft_engine_served_seconds_total{how=\"probe\"}[$__rate_interval])))", "times as fast"),),
              about="Tokens a second of both, at the same time; needs a share of probes (engine.probe_share).", least=0.0),
        Panel("Two versions in service", (("everdraft_engine_trial_acceptance_length", "{{side}}: tokens per step"),
                                          ("everdraft_engine_trial_requests", "{{side}}: requests")),
              about="While a canary is tried out, or a new champion is watched against the one before."),
        Panel("Speed against plain decoding, as the controller reckons",
              (("everdraft_engine_gain", "{{batch}} at once, {{choices}}"),),
              about="Tokens a second of the arm in use, over those of plain decoding at its latest price.", least=0.0),
        Panel("Version in service", (("everdraft_speculator_info", "{{source}} {{version}}"),
                                     ("everdraft_generation", "generation")),
              about="A line ends where a swap put another version in service."),
    ),
)  # fmt: skip

LEARNING = Dashboard(
    "learning",
    "Everdraft: learning loop",
    (
        Panel("Traces", ((rate("everdraft_traffic_finished_total"), "answers finished"),
                         (rate("everdraft_traffic_written_total"), "written"),
                         (rate("everdraft_trainer_traces_read_total"), "read by the trainer"),
                         (rate("everdraft_trainer_traces_studied_total"), "studied"),
                         (rate("everdraft_trainer_traces_held_out_total"), "held out")), unit="reqps"),
        Panel("Left out, by reason", ((rate("everdraft_traffic_opted_out_total"), "opted out"),
                                      (rate("everdraft_traffic_dropped_total"), "dropped: queue full"),
                                      (rate("everdraft_traffic_lost_total"), "lost: spool full or record too large"),
                                      (rate("everdraft_trainer_traces_duplicate_total"), "delivered before"),
                                      (rate("everdraft_trainer_traces_foreign_total"), "of another target"),
                                      (rate("everdraft_trainer_traces_withheld_total"), "consent for another scope"),
                                      (rate("everdraft_trainer_traces_lossy_total"), "lossy: not the target's own"),
                                      (rate("everdraft_trainer_traces_short_total"), "too short or too long")), unit="reqps"),
        Panel("Waiting", (("everdraft_traffic_pending", "in the server's queue"), ("everdraft_traffic_spooled", "in its spool"),
                          ("everdraft_trainer_traffic_lag", "in the log, not read yet"))),
        Panel("Loss", (("everdraft_trainer_loss", "latest step"),)),
        Panel("Judgements", (("everdraft_trainer_judgements_total", "before the gate"),
                             ("everdraft_trainer_published_total", "champion at once")),
              about="Since the trainer first started."),
        Panel("Gain at the latest judgement", (("everdraft_trainer_last_gain", "tokens per step"),
                                               ("everdraft_trainer_last_gain_lower", "at least, by the gate's bound"))),
        Panel("What the trainer does", (("everdraft_trainer_activity", "{{activity}}"),)),
        Panel("Freshness of the draft", (("everdraft_trainer_freshness_seconds", "age of what was learnt last"),), unit="s"),
        Panel("Time spent on learning", ((rate("everdraft_trainer_seconds_idle_total"), "while the server was idle"),
                                         (rate("everdraft_trainer_seconds_guaranteed_total"), "while it was busy"),
                                         (rate("everdraft_trainer_seconds_alone_total"), "without a server"),
                                         (rate("everdraft_trainer_seconds_rested_total"), "saved: nothing to gain")),
              unit="percentunit", about="Of one thread."),
    ),
)  # fmt: skip


def latency(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"histogram_quantile({share}, {rate(metric + '_bucket', 'le')})", name)
        for share, name in ((0.5, "median"), (0.95, "95 %"))
    )


SERVING = Dashboard(
    "serving",
    "Everdraft: serving",
    (
        Panel("Time to first token", latency("vllm:time_to_first_token_seconds"), unit="s"),
        Panel("Time between tokens", latency("vllm:inter_token_latency_seconds"), unit="s"),
        Panel("Time of a whole request", latency("vllm:e2e_request_latency_seconds"), unit="s"),
        Panel("Throughput", ((rate("vllm:generation_tokens_total"), "generated"), (rate("vllm:prompt_tokens_total"), "prompt")),
              about="Tokens a second."),
        Panel("Requests", (("vllm:num_requests_running", "running"), ("vllm:num_requests_waiting", "waiting"))),
        Panel("Pages in use", (("vllm:kv_cache_usage_perc", "of the pool"),), unit="percentunit", least=0.0),
        Panel("Answers", ((rate("everdraft_http_responses_total", "status"), "{{status}}"),), unit="reqps"),
        Panel("Controller", (("everdraft_engine_budget_nodes", "nodes of the latest draft"),
                             ("everdraft_engine_zero_share", "share of steps without a draft"))),
        Panel("Arm in use", (("everdraft_engine_arm == 1", "{{batch}} at once, {{choices}}: {{arm}}"),)),
        Panel("Steps", ((ratio("everdraft_step_seconds_total", "everdraft_steps_total"), "mean length"),), unit="s"),
    ),
)  # fmt: skip

SSD = Dashboard(
    "ssd",
    "Everdraft: drafting beside the target",
    (
        Panel("Rounds whose outcome was foreseen", ((HITS, "as served"),
                                                    ("everdraft_engine_ssd_expected_hits", "as the worker believes")),
              unit="percentunit", about="Only then a draft waits when the target is through.", least=0.0),
        Panel("Tokens a round", ((ratio("everdraft_engine_ssd_tokens_total", SSD_ROUNDS, "outcome"), "{{outcome}}"),),
              about="Of one sequence. A miss brings more than the target's own token where the worker drafts at once.",
              least=1.0),
        Panel("Time that the target waited for drafts",
              ((ratio("everdraft_engine_ssd_wait_seconds_total", "everdraft_step_seconds_total"), "of all steps"),),
              unit="percentunit", about="For the rest of a pass of the worker's, or for a draft made on the spot.", least=0.0),
        Panel("What the worker does", ((rate("everdraft_engine_ssd_build_seconds_total"), "drafts ahead"),
                                       (rate("everdraft_engine_ssd_idle_seconds_total"), "has nothing left to prepare")),
              unit="percentunit", about="Of its time; the rest is answering, and rounds that it took no part in.", least=0.0),
        Panel("What takes how long", (("everdraft_engine_ssd_verify_seconds", "the target's verification"),
                                      ("everdraft_engine_ssd_glue_seconds", "the draft's reading of a round"),
                                      ("everdraft_engine_ssd_pass_seconds", "a pass over its outcomes")),
              unit="s", about="What the worker goes by: a round's passes have to fit into one verification.", least=0.0),
        Panel("What a round is prepared by", (("everdraft_engine_ssd_passes", "passes"),
                                              ("everdraft_engine_ssd_fan_out", "outcomes for each sequence")), least=0.0),
        Panel("Failures", (("everdraft_engine_ssd_failures_total", "workers given up"),
                           ("everdraft_engine_ssd_late_total", "replies that came too late")),
              about="Since the server started. Answers go on without the worker, and it is started again.", least=0.0),
        Panel("Draft in service", (("everdraft_speculator_info{source=\"ssd\"}", "{{version}}"),),
              about="A line ends where a swap put another version in service."),
    ),
)  # fmt: skip

DASHBOARDS = (ACCEPTANCE, LEARNING, SERVING, SSD)
SWAPS = {
    "name": "swaps",
    "datasource": SOURCE,
    "enable": True,
    "iconColor": "orange",
    "expr": "changes(everdraft_swaps_total[1m]) > 0",
    "titleFormat": "swap",
    "step": "15s",
}
"""Every version put in service, published or rolled back to, is marked in every graph."""


def document(dashboard: Dashboard) -> dict[str, Any]:
    """As Grafana reads it."""
    return {
        "uid": f"everdraft-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["everdraft"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "annotations": {"list": [SWAPS]},
        "panels": list(_placed(dashboard.panels)),
    }


def _placed(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    x = y = 0
    for number, panel in enumerate(panels, start=1):
        if x + WIDTH > COLUMNS:
            x, y = 0, y + HEIGHT
        yield {
            "id": number,
            "type": "timeseries",
            "title": panel.title,
            "description": panel.about,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {
                "defaults": {"unit": panel.unit} | ({} if panel.least is None else {"min": panel.least}),
                "overrides": [],
            },
            "targets": [
                {"refId": chr(ord("A") + at), "expr": query, "legendFormat": legend, "datasource": SOURCE}
                for at, (query, legend) in enumerate(panel.queries)
            ],
        }
        x += WIDTH


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(json.dumps(document(dashboard), indent=1) + "\n")


if __name__ == "__main__":
    main()
