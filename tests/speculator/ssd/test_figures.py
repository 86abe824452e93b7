"""What is counted of the worker: under the names that dashboards, alerts and the live page ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.registry import CollectorRegistry

from pipelines.registry import Slot
from serving.api.engine_metrics import EngineCollector
from serving.engine import Engine
from serving.engine_main import snapshot
from serving.scripted import ScriptedEngine
from serving.traffic import TenantPolicy, TrafficRecorder
from tests.speculator.draft_models import draft_model
from tests.speculator.ssd.beside import Beside, engine_beside, source_of
from tests.speculator.test_draft_lm import requests, served

ROOT = Path(__file__).parents[3]


def exported(engine: Engine) -> dict[tuple[str, str], float]:
    """By name and outcome."""

    class Link(ScriptedEngine):
        def snapshot(self):  # type: ignore[no-untyped-def]
            return snapshot(engine)

    traffic = TrafficRecorder(None, TenantPolicy("off", {}), "target", "tokenizer")
    registry = CollectorRegistry()
    registry.register(EngineCollector("m", Link(slot=Slot(target="t", kind="k")), traffic))
    return {
        (sample.name, sample.labels.get("outcome", "")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.startswith("everdraft_engine_ssd_")
    }


def asked_for() -> set[str]:
    texts = [path.read_text() for path in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")]
    texts.append((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    return set(re.findall(r"everdraft_engine_ssd_\w+", " ".join(texts)))


def test_whatever_the_dashboards_ask_for_is_exported() -> None:
    engine = engine_beside(draft_model(seed=0), Beside(draft_model(seed=0), adaptive=True))
    counted = {name for name, _ in exported(engine)}
    assert {name for name in asked_for() if name.endswith("_total")} <= counted, "from the first moment on, as zeros"
    served(engine, requests(4, 0.0))
    found = exported(engine)
    assert asked_for() <= {name for name, _ in found}
    counters = source_of(engine).counters
    for outcome in ("hit", "miss"):
        assert found["everdraft_engine_ssd_rounds_total", outcome] == counters[f"ssd_rounds:{outcome}"] > 0
    assert 0 < found["everdraft_engine_ssd_build_seconds_total", ""] < 60


def test_the_dashboard_has_the_version_in_service() -> None:
    document = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "ssd.json").read_text())
    queries = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    assert 'everdraft_speculator_info{source="ssd"}' in queries
    assert source_of(engine_beside(draft_model(), Beside(draft_model()))).name == "ssd"
