"""The dashboards: the JSON is what the script makes, and every panel has something to ask."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

DEPLOY = Path(__file__).parent.parent / "deploy"
FOLDER = DEPLOY / "grafana" / "dashboards"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboards", DEPLOY / "grafana" / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["dashboards"] = module
    spec.loader.exec_module(module)
    return module


def test_the_json_is_what_the_script_makes() -> None:
    made = {f"{each.name}.json": script().document(each) for each in script().DASHBOARDS}
    assert made == {path.name: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_panel_has_a_title_a_place_and_queries_that_are_named(path: Path) -> None:
    document = json.loads(path.read_text())
    sources = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]]
    assert len(set(places)) == len(places), "no two panels in one place"
    for panel in document["panels"]:
        assert panel["title"]
        assert panel["targets"]
        assert panel["datasource"]["uid"] == sources[0]["uid"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["legendFormat"] for target in panel["targets"])
