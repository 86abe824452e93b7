"""The command line itself: help that teaches, exit codes, mistakes that are named, no waiting for torch."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import everdraft
from cli.errors import Exit
from cli.options import options
from cli.verbs import VERBS, Verb
from tests.cli.commands import Commands

ROOT = Path(__file__).parents[2]

verbs = pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])


def test_help_names_every_verb_and_every_exit_code(everdraft_command: Commands) -> None:
    outcome = everdraft_command.bare("--help")
    assert outcome.code == Exit.OK
    for verb in VERBS:
        assert re.search(rf"^ +{verb.name}\s+{re.escape(verb.summary)}", outcome.out, re.MULTILINE)
    for code in Exit:
        assert re.search(rf"^ +{code:d} +\w", outcome.out, re.MULTILINE)


@verbs
def test_help_of_a_verb_tells_its_story_and_shows_examples(everdraft_command: Commands, verb: Verb) -> None:
    outcome = everdraft_command.bare(verb.name, "--help")
    assert outcome.code == Exit.OK
    assert verb.story.strip() in outcome.out
    assert verb.examples
    assert all(example in outcome.out for example in verb.examples)


@verbs
def test_every_example_is_a_command_that_parses(verb: Verb) -> None:
    for example in verb.examples:
        words = shlex.split(example.partition("everdraft ")[2], comments=True)
        assert everdraft.command_line().parse_strictly(words).verb is verb


@verbs
def test_every_option_of_its_sections_is_a_flag_of_the_verb(everdraft_command: Commands, verb: Verb) -> None:
    shown = everdraft_command.bare(verb.name, "--help").out
    for option in options():
        flag = option.flag + ("-file" if option.key == "server.api_keys" else "")
        assert (re.search(rf"{flag}\b", shown) is not None) == (option.section in verb.sections)


def test_an_unknown_verb_or_flag_is_wrong_usage_and_the_near_one_is_named(
    everdraft_command: Commands,
) -> None:
    unknown = everdraft_command.bare("sevre")
    assert unknown.code == Exit.USAGE
    assert "serve" in unknown.err
    flag = everdraft_command.bare("serve", "--prot", "1")
    assert flag.code == Exit.USAGE
    assert "unknown: --prot; did you mean --port?" in flag.err
    assert everdraft_command.bare().code == Exit.USAGE


@pytest.mark.parametrize("words", [("--limit", "0"), ("--limit", "x"), ("--temperature", "-1"), ("--temperature", "nan")])
def test_a_number_that_makes_no_sense_is_wrong_usage_and_the_flag_named(
    everdraft_command: Commands, words: tuple[str, str]
) -> None:
    outcome = everdraft_command("replay", *words)
    assert outcome.code == Exit.USAGE
    assert f"argument {words[0]}: " in outcome.err
    assert words[1] in outcome.err


def test_secrets_have_no_flag_that_others_could_read(everdraft_command: Commands) -> None:
    assert everdraft_command.bare("serve", "--api-keys", "sk-1=a").code == Exit.USAGE


@verbs
def test_a_wrong_configuration_is_told_before_any_verb_starts(
    everdraft_command: Commands, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.setenv("EVERDRAFT_PROT", "1")
    words = shlex.split(verb.examples[0].partition("everdraft ")[2])
    outcome = everdraft_command.bare(*words)
    assert outcome.code == Exit.USAGE
    assert outcome.err == (f"everdraft {verb.name}: EVERDRAFT_PROT is not an option; did you mean EVERDRAFT_PORT?\n")


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite:///", "nothing"])
def test_a_url_without_a_back_end_is_wrong_usage(everdraft_command: Commands, url: str) -> None:
    outcome = everdraft_command("status", "--registry", url)
    assert outcome.code == Exit.USAGE
    assert url in outcome.err


def test_config_shows_each_value_and_its_origin(everdraft_command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERDRAFT_HOST", "0.0.0.0")
    shown = everdraft_command("config", "--port", "9000").out
    rows = {line.split()[0]: line.split() for line in shown.splitlines()[1:]}
    assert rows["server.port"] == ["server.port", "9000", "--port", "EVERDRAFT_PORT"]
    assert rows["server.host"] == ["server.host", "0.0.0.0", "EVERDRAFT_HOST", "EVERDRAFT_HOST"]
    assert rows["server.max_in_flight"][2] == "default"
    found = json.loads(everdraft_command("config", "--json", "--port", "9000").out)
    assert found["server.port"] == {"value": "9000", "from": "--port"}
    assert len(found) == len(options())


def test_help_and_the_registry_verbs_do_without_torch(tmp_path: Path) -> None:
    script = (
        "import everdraft, contextlib, sys\n"
        "for words in (['--help'], ['serve', '--help'], ['config'], ['status'], ['versions']):\n"
        "    with contextlib.suppress(SystemExit): everdraft.main(words)\n"
        "slow = {'torch', 'transformers', 'fastapi', 'uvicorn'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
