"""The demo's own stack: what it reads off a server, and what it computes again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest

from cli.demo.stack import Acceptance
from cli.errors import CliError
from cli.live.metrics import Metrics
from cli.live.process import VerbProcess
from cli.live.versions import all_versions
from serving.api.engine_metrics import EngineCollector
from serving.api.metrics import Metrics as ServerMetrics
from serving.messages import Snapshot
from serving.scripted import ScriptedEngine
from serving.traffic import TenantPolicy, TrafficRecorder
from tests.cli.commands import OTHER_SLOT, SLOT, Commands, manifest_of


class Counted(ScriptedEngine):
    """Reports what a busy engine with both copies of the heads would."""

    def snapshot(self) -> Snapshot | None:
        plain = super().snapshot()
        assert plain is not None
        counters = {
            "decode_steps": 10.0,
            "decode_tokens": 25.0,
            "shadow_steps:medusa": 4.0,
            "shadow_tokens:medusa": 9.0,
            "shadow_steps:medusa-static": 4.0,
            "shadow_tokens:medusa-static": 6.0,
        }
        versions = {"medusa": "v2", "medusa-static": "v1"}
        return msgspec.structs.replace(plain, counters=counters, versions=versions, num_swaps=3)


def test_the_figures_of_the_demo_are_those_that_the_server_shows() -> None:
    server = ServerMetrics("model")
    traffic = TrafficRecorder(None, TenantPolicy(), "target", "tokenizer")
    server.registry.register(EngineCollector("model", Counted(), traffic))
    metrics = Metrics.parsed(generate_latest(server.registry).decode())
    assert metrics.versions["medusa"] == "v2"
    assert metrics.served() == Acceptance(10.0, 25.0)
    assert metrics.shadow("medusa") == Acceptance(4.0, 9.0)
    assert metrics.shadow("medusa-static") == Acceptance(4.0, 6.0)
    assert metrics.count("everdraft_swaps") == 3
    assert metrics.shadow("suffix") == Acceptance(0.0, 0.0)
    assert "vllm:generation_tokens" in {family.name for family in server.registry.collect()}


def test_a_server_that_is_gone_is_an_error_that_names_it() -> None:
    with pytest.raises(CliError, match=r"http://127\.0\.0\.1:9/metrics does not answer"):
        Metrics.read("http://127.0.0.1:9")


def test_versions_begin_with_the_static_heads_and_tell_what_the_gate_let_through(
    everdraft_command: Commands,
) -> None:
    everdraft_command.publish("v1", "v2")
    everdraft_command.publish("w1", slot=OTHER_SLOT)
    with everdraft_command.registry() as registry:
        registry.record(SLOT, manifest_of("v3", "v2"), "v3")
        registry.reject(SLOT, manifest_of("v3", "v2"), "no gain")
        found = all_versions(registry, SLOT, manifest_of("static", "judged elsewhere"))
        assert [version.version for version in all_versions(registry, SLOT, manifest_of("v1", None))] == ["v1", "v2", "v3"]
    assert [(each.version, each.published) for each in found] == [
        ("static", True),
        ("v1", True),
        ("v2", True),
        ("v3", False),
    ]
    assert (found[2].gain, found[2].gain_lower, found[2].parent) == (0.25, 0.125, "v1")
    assert found[0].gain is None


def test_a_process_that_ended_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    process = VerbProcess("serve", (sys.executable, "-c", "print('no such port'); raise SystemExit(2)"), log)

    def watch() -> None:
        while True:
            process.check()
            time.sleep(0.01)

    with pytest.raises(CliError, match=r"serve ended with 2(.|\n)*no such port"):
        watch()


def test_a_process_that_runs_is_no_error_and_stops_when_told(tmp_path: Path) -> None:
    process = VerbProcess("serve", (sys.executable, "-c", "import time; time.sleep(600)"), tmp_path / "log")
    process.check()
    process.stop()
    with pytest.raises(CliError, match="serve ended with -15"):
        process.check()
