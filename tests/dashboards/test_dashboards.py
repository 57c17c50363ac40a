"""The dashboards as files: well formed, each panel explained, reading only what exists."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdstudy.cluster import metrics
from tests.tools import need

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards"
FILES = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in FILES}
PANELS = [(name, panel) for name, board in DASHBOARDS.items() for panel in board["panels"]]
EXPORTED = set(re.findall(r'"(kdstudy_\w+)"', Path(metrics.__file__).read_text()))
COUNTERS = {"kdstudy_epochs", "kdstudy_images"}


def names(expression: str) -> set[str]:
    """Return kdstudy's metrics that a query reads, without Ray's prefix."""
    return set(re.findall(r"ray_(kdstudy_\w+)", expression))


def test_there_is_one_for_a_study_and_one_for_the_cluster() -> None:
    assert DASHBOARDS.keys() == {"study", "cluster"}
    assert len({board["uid"] for board in DASHBOARDS.values()}) == 2


@pytest.mark.parametrize("board", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_have_ids_of_their_own_and_do_not_overlap(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for one, other in combinations((panel["gridPos"] for panel in board["panels"]), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)
        assert one["x"] + one["w"] <= 24


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda each: each if isinstance(each, str) else each["title"])
def test_every_panel_says_what_it_answers_and_reads_what_is_exported(board: str, panel: dict[str, Any]) -> None:
    assert panel["type"] in ("stat", "timeseries")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert f"| {panel['title']} | {panel['description']} |" in (FOLDER / "README.md").read_text()
    for target in panel["targets"]:
        for name in names(target["expr"]):
            assert name in EXPORTED or (name.removesuffix("_total") in COUNTERS), name


def test_every_metric_of_ours_is_drawn_or_alerts() -> None:
    read = {name for _, panel in PANELS for target in panel["targets"] for name in names(target["expr"])}
    read |= names((FOLDER / "prometheus" / "rules.yml").read_text())
    # Epochs a second need no panel of their own beside images a second; the counter is for a user's own queries.
    assert {name.removesuffix("_total") for name in read} == EXPORTED - {"kdstudy_epochs"}


def test_the_readme_tells_of_every_alert() -> None:
    rules = yaml.safe_load((FOLDER / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
    for rule in rules:
        assert f"| {rule['alert']} |" in (FOLDER / "README.md").read_text()
        assert rule["annotations"]["summary"]


def test_provisioning_names_what_the_dashboards_use() -> None:
    sources = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert sources["datasources"][0]["type"] == "prometheus"
    providers = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/kdstudy.yml").read_text())
    assert providers["providers"][0]["options"]["path"] == "/var/lib/grafana/dashboards"


@pytest.mark.slow
def test_promtool_accepts_configuration_and_rules_and_the_rules_fire_when_they_should() -> None:
    folder = Path(need("prometheus")).parent
    for command in (
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ):
        done = subprocess.run(
            [folder / "promtool", *command], cwd=FOLDER / "prometheus", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
