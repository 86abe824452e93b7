"""What the README says must be so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_tree_is_that_of_the_files() -> None:
    spec = importlib.util.spec_from_file_location("tree", ROOT / "docs" / "tree.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.tree() in README, "run `make tree`"


def test_every_make_target_it_names_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", README))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_verb_it_names_exists() -> None:
    from cli.verbs import VERBS

    named = set(re.findall(r"everdraft ([a-z]+)\b", README)) & set(re.findall(r"\.venv/bin/everdraft ([a-z]+)", README))
    assert {"up", "status", "retrain", "versions", "rollback", "replay", "dayzero"} <= named
    assert named <= {verb.name for verb in VERBS}


def test_every_page_it_points_to_exists() -> None:
    for page in re.findall(r"`(docs/[a-z_]+\.md)`", README):
        assert (ROOT / page).exists(), page
