"""A tenant's data can be handed out, and deleted."""

from __future__ import annotations

import json
from pathlib import Path

from cli.errors import Exit
from speculator.suffix_files import SuffixFiles
from speculator.suffix_tenant import Tenant
from tests.cli.commands import Commands, trace_of


def test_export_writes_one_tenants_traces_a_line_each(everdraft_command: Commands, tmp_path: Path) -> None:
    everdraft_command.log([trace_of("a", "acme"), trace_of("b", "other"), trace_of("c", "acme")])
    out = tmp_path / "acme.jsonl"
    outcome = everdraft_command("tenant", "export", "acme", "--out", str(out))
    assert outcome.code == Exit.OK
    assert "2 traces" in outcome.out
    traces = [json.loads(line) for line in out.read_text().splitlines()]
    assert [trace["trace_id"] for trace in traces] == ["a", "c"]
    assert traces[0]["prompt_ids"] == [1, 2, 3]


def test_purge_deletes_one_tenants_traces_and_only_when_sure(everdraft_command: Commands) -> None:
    everdraft_command.log([trace_of("a", "acme"), trace_of("b", "other")])
    assert everdraft_command("tenant", "purge", "acme").code == Exit.USAGE
    assert everdraft_command("tenant", "export", "acme").code == Exit.OK
    assert everdraft_command("tenant", "purge", "acme", "--yes").out.startswith("1 traces of tenant acme")
    assert everdraft_command("tenant", "export", "acme").code == Exit.NOT_THERE
    assert everdraft_command("tenant", "export", "other").code == Exit.OK


def test_a_purge_is_told_to_servers_and_takes_the_tenants_suffix_tree(everdraft_command: Commands, tmp_path: Path) -> None:
    everdraft_command.publish("v1")
    files = SuffixFiles(tmp_path, "t")
    for tenant in ("acme", "other"):
        files.save(Tenant(8, 64).state(tenant), 0)
    outcome = everdraft_command("tenant", "purge", "acme", "--yes", "--engine-suffix-folder", str(tmp_path))
    assert "Servers forget it" in outcome.out
    assert [state.name for state in files.load()] == ["other"]
    files.close()
    with everdraft_command.registry() as registry:
        assert [(act.action, act.what) for act in registry.acts()] == [("purge", "acme")]
    assert everdraft_command("tenant", "purge", "acme", "--yes", "--traffic", "off").code == Exit.OK


def test_without_a_log_there_is_nothing_to_export(everdraft_command: Commands) -> None:
    outcome = everdraft_command("tenant", "export", "acme", "--traffic", "off")
    assert outcome.code == Exit.USAGE
    assert "no log is kept" in outcome.err
