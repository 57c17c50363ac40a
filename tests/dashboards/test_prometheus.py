"""Prometheus scrapes a real study on a real Ray cluster, and every panel's query returns data."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdstudy.ledger import Ledger
from tests.dashboards.test_dashboards import FOLDER, PANELS
from tests.tools import need

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own, and end the whole group."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)


def wait_for(what: str, seconds: float, ready: Any) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = ready()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what}: nothing after {seconds} s")


class Prometheus:
    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        url = f"{self.address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            document = json.load(answer)
        assert document["status"] == "success"
        found: list[dict[str, Any]] = document["data"]["result"]
        return found


def configuration(folder: Path, ray: Path) -> Path:
    """Write the shipped configuration with the places and the haste of this test."""
    shipped = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text())
    shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    shipped["rule_files"] = [str(FOLDER / "prometheus" / "rules.yml")]
    shipped["scrape_configs"][0]["file_sd_configs"] = [
        {"files": [str(ray / "prom_metrics_service_discovery.json")], "refresh_interval": "1s"}
    ]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(shipped))
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Path, subprocess.Popen[bytes]]]:
    """A Ray head, Prometheus, and a study that runs."""
    program = need("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    ray_folder = Path(f"/tmp/kdstudy-ray-{os.getpid()}")  # short: Ray puts sockets below it
    token = folder / "token"
    token.write_text("ab" * 32)
    token.chmod(0o600)
    ports = {name: free_port() for name in ("gcs", "dashboard", "agent", "metrics", "prometheus")}
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "KDSTUDY_STORE": str(folder / "store"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    head = [
        *(sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", f"--port={ports['gcs']}", f"--dashboard-port={ports['dashboard']}"),
        *(f"--dashboard-agent-listen-port={ports['agent']}", f"--metrics-export-port={ports['metrics']}"),
        *("--num-cpus=2", f"--temp-dir={ray_folder}"),
    ]
    text = (ROOT / "studies" / "smoke.yaml").read_text()
    text = text.replace("trials_per_arm: 2", "trials_per_arm: 40").replace(
        "train:   {epochs: 4", "train:   {epochs: 12"
    )
    (folder / "long.yaml").write_text(text)
    with running(head, folder / "ray.log", environment):
        wait_for("ray", 90, (ray_folder / "prom_metrics_service_discovery.json").exists)
        scrape = [
            program,
            f"--config.file={configuration(folder, ray_folder)}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        ]
        run = [sys.executable, "-m", "kdstudy", "run", str(folder / "long.yaml"), "--address"]
        with (
            running(scrape, folder / "prometheus.log", environment),
            running([*run, f"127.0.0.1:{ports['gcs']}"], folder / "study.log", environment) as driver,
        ):
            prometheus = Prometheus(ports["prometheus"])
            try:
                wait_for(
                    "metrics of a layer",
                    180,
                    lambda: (
                        driver.poll() is None
                        and prometheus.query("ray_kdstudy_multiplier and on() ray_kdstudy_best_val")
                    ),
                )
            except AssertionError as error:
                raise AssertionError((folder / "study.log").read_text()) from error
            yield prometheus, folder / "store", driver


def filled(expression: str, study_id: str) -> str:
    """Return a panel's query with Grafana's variables replaced."""
    return expression.replace("$study", study_id).replace("$arm", ".*").replace("$__rate_interval", "30s")


def test_every_panel_s_query_returns_data(study: tuple[Prometheus, Path, subprocess.Popen[bytes]]) -> None:
    prometheus, store, driver = study
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        study_id = ledger.resolve("latest")

    def missing() -> list[str]:
        return [
            f"{board}: {panel['title']}: {target['expr']}"
            for board, panel in PANELS
            for target in panel["targets"]
            if not prometheus.query(filled(target["expr"], study_id))
        ]

    wait_for(f"panels {missing()}", 60, lambda: not missing())
    assert driver.poll() is None


def test_the_numbers_are_the_record_s(study: tuple[Prometheus, Path, subprocess.Popen[bytes]]) -> None:
    prometheus, store, _ = study
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        study_id = ledger.resolve("latest")
        planned = 2 * (40 + 2)

        def same() -> bool:
            shown = {r["metric"]["state"]: float(r["value"][1]) for r in prometheus.query("ray_kdstudy_trials")}
            best = {r["metric"]["arm"]: float(r["value"][1]) for r in prometheus.query("ray_kdstudy_best_val")}
            trials = ledger.trials(study_id, "search")
            vals = {arm: [t.val for t in trials if t.arm == arm and t.state == "completed" and t.val] for arm in best}
            # The record runs ahead of the scrape: what is shown was so a moment ago.
            assert sum(shown.values()) == planned
            return bool(best) and all(value in vals[arm] for arm, value in best.items())

        wait_for("numbers of the record", 30, same)
        layers = {r["metric"]["layer"] for r in prometheus.query(f'ray_kdstudy_divergence{{study="{study_id}"}}')}
        last = next(t for t in ledger.trials(study_id) if t.arm_id.policy == "layerwise" and t.state == "completed")
        assert layers == {layer.layer for epoch in ledger.epochs(study_id, last.number) for layer in epoch.layers}
        speed = "sum(rate(ray_kdstudy_images_total[30s])) > 0"  # images are counted epoch by epoch
        wait_for("images a second", 120, lambda: prometheus.query(speed))


def test_no_alert_fires_while_all_is_well(study: tuple[Prometheus, Path, subprocess.Popen[bytes]]) -> None:
    prometheus, _, _ = study
    with urllib.request.urlopen(f"{prometheus.address}/api/v1/rules", timeout=10) as answer:
        rules = json.load(answer)["data"]["groups"][0]["rules"]
    assert {rule["name"]: rule["health"] for rule in rules} == dict.fromkeys(
        ("NodeLost", "StudyStalled", "DiskNearlyFull", "MLflowUnreachable"), "ok"
    )
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing <= {"DiskNearlyFull"}  # this machine's own disk may well be full
