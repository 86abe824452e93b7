"""What the operator's page says must be so."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import everdraft
from cli.config import load
from cli.errors import Exit
from cli.options import PREFIX, options

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text()
COMMANDS = re.findall(r"^everdraft .*", "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)), re.MULTILINE)


assert COMMANDS, "the page shows no command: nothing would be tested"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_parses(command: str) -> None:
    everdraft.command_line().parse_strictly(shlex.split(command, comments=True)[1:])


def test_every_command_of_the_makefile_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"\$\(BIN\)/everdraft (.*)", makefile)
    assert len(commands) >= 2
    for command in commands:
        everdraft.command_line().parse_strictly(shlex.split(command))
    for module in re.findall(r"\$\(BIN\)/python -m ([a-z]+)$", makefile, re.MULTILINE):
        assert (ROOT / module / "__main__.py").exists() or module == "pytest"


def test_ci_runs_make_test_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"


def test_its_file_is_a_configuration(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    keys = tmp_path / "keys"
    keys.write_text("sk-1 = acme")
    file = tmp_path / "everdraft.toml"
    file.write_text(text.replace("/run/secrets/everdraft-keys", str(keys)))
    config = load({}, {}, file)
    assert config.server.api_keys == {"sk-1": "acme"}
    assert config.traffic.tenants == {"acme": "tenant", "legal": "off"}
    assert set(tomllib.loads(text)) == {"data", "server", "engine", "traffic", "trainer"}


def test_every_key_and_variable_it_names_exists() -> None:
    keys = {option.key for option in options()}
    sections = {key.partition(".")[0] for key in keys if "." in key}
    named = {word for word in re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE) if word.partition(".")[0] in sections}
    assert named
    assert {word for word in named if not word.endswith(".db")} - keys == set()
    variables = {option.variable for option in options()} | {PREFIX + "CONFIG"}
    for word in re.findall(rf"`({PREFIX}[A-Z_]+)`", PAGE):
        assert word.removesuffix("_FILE") in variables


def test_it_lists_every_exit_code() -> None:
    line = PAGE[PAGE.index("Exit codes are") :].partition("\n\n")[0]
    assert {int(number) for number in re.findall(r"\b\d+\b", line)} == {int(code) for code in Exit}
