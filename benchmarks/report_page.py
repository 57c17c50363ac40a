"""How heavy the report of a large study is: bytes, seconds to write, seconds to open in Chromium.

    python benchmarks/report_page.py [CHROMIUM]

The record is synthetic, made through the ledger as a study makes it: 4 arms of 40 search trials and 10 confirmation
seeds, 200 trials of 30 epochs. Its scores mean nothing.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TrialRecord
from kdstudy.report import write_report
from kdstudy.results import EpochRecord, LayerRecord, TrialResult
from kdstudy.search import startup_values
from kdstudy.seeds import derive
from kdstudy.storage import DiskFolder
from kdstudy.study import Study, parse_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TEXT = """\
name: synthetic
seed: 0
data:    {{name: digits}}
teacher: {{model: resnet20, epochs: 30}}
student: {{model: resnet8}}
train:   {{epochs: {epochs}, batch_size: 64, base_lr: {{log: [0.01, 0.3]}}, weight_decay: {{log: [1.0e-5, 1.0e-2]}}}}
arms:
  transfers:
    - attention: {{weight: {{log: [1, 1000]}}}}
    - jacobian:  {{weight: {{log: [0.01, 10]}}}}
  policies:
    - constant
    - layerwise: {{interval: {{int: [1, 5]}}, momentum: {{uniform: [0.0, 0.95]}}, gain: {{uniform: [-0.5, 0.5]}}}}
search:  {{trials_per_arm: {trials}}}
confirm: {{searches: {searches}, seeds: {seeds}, smallest: 1.0}}
"""
LAYERS = ("layer1", "layer2", "layer3")
OPENS = 7


def make_record(
    ledger: Ledger, *, trials: int = 40, seeds: int = 10, epochs: int = 30, searches: int = 1, text: str = TEXT
) -> str:
    """Record a finished study, in each search with so many trials and seeds an arm, and return its ID."""
    text = text.format(trials=trials, seeds=seeds, epochs=epochs, searches=searches)
    record = StudyRecord("synthetic-00000200", "synthetic", 0, text, "finished", dataset=DatasetInfo("digits"))
    study = parse_study(text, record.id)
    ledger.create_study(record)
    number = 0
    for search, (phase, count) in product(range(searches), (("search", trials), ("confirm", seeds))):
        for index, arm in product(range(count), study.arms):
            shown = index if phase == "search" else 0
            values = startup_values(study.space(arm), seed=search, transfer=arm.transfer.name, index=shown)
            data, init = (search, number) if phase == "search" else (100 * search + index,) * 2
            config = study.config(arm.name, values, data_seed=data, init_seed=init, search=search)
            trial = TrialRecord(
                record.id, number, phase, arm.id, index, data, init, values, config.to_json(),
                search=search,
            )  # fmt: skip
            ledger.add_trial(trial)
            _play(ledger, trial, study)
            number += 1
    return record.id


def _play(ledger: Ledger, trial: TrialRecord, study: Study) -> None:
    """Record a trial's epochs and end."""
    ledger.start_trial(trial.study_id, trial.number)
    luck = derive(0, "luck", trial.number) / 2**53
    picked = derive(0, "picked", trial.search, trial.arm) / 2**53 if trial.phase == "confirm" else 0.0
    best = 0.88 + 0.03 * picked - 0.1 * abs(math.log10(trial.values["train.base_lr"] / 0.08)) + 0.03 * luck
    val = 0.0
    for epoch in range(1, study.max_epochs + 1):
        val = best * (1 - math.exp(-epoch / 6))
        layers = tuple(
            LayerRecord(layer, 0.1 * (place + luck) / epoch, 0.1 * place - 0.1, 1 + 0.01 * epoch * (place - 1), 0.3)
            for place, layer in enumerate(LAYERS)
            if trial.arm_id.policy == "layerwise"
        )
        ledger.record_epoch(
            trial.study_id, trial.number, EpochRecord(epoch, 1.0, {}, val, 1.0, 0.1, {}, layers, seconds=1.0)
        )
    test = val - 0.01 + 0.004 * luck if trial.phase == "confirm" else None
    result = TrialResult("completed", study.max_epochs, val, test, "ab" * 32, seconds=float(study.max_epochs))
    ledger.finish_trial(trial.study_id, trial.number, result)


def opening_seconds(page: Path, browser: Browser, opens: int = OPENS) -> list[tuple[float, float]]:
    """Return, for each opening in a fresh profile, seconds until all figures in view are drawn.

    Returns:
        Wall time, and CPU time of the page's main thread: the second does not suffer from neighbours.
    """
    seconds = []
    for _ in range(opens):
        context = browser.new_context(viewport={"width": 1200, "height": 900})
        tab = context.new_page()
        probe = context.new_cdp_session(tab)
        probe.send("Performance.enable", {"timeDomain": "threadTicks"})
        began = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        tab.wait_for_function(
            """() => [...document.querySelectorAll(".canvas")]
                .filter((each) => each.offsetParent && each.getBoundingClientRect().top < innerHeight)
                .every((each) => each.querySelector(".main-svg"))"""
        )
        wall = time.perf_counter() - began
        metrics = {each["name"]: each["value"] for each in probe.send("Performance.getMetrics")["metrics"]}
        seconds.append((wall, metrics["TaskDuration"]))
        context.close()
    return seconds


def main() -> None:
    from playwright.sync_api import sync_playwright

    chromium = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        study_id, page = make_record(ledger), Path(folder) / "report.html"
        began = time.perf_counter()
        write_report(ledger, [study_id], DiskFolder(page.parent), page.name)
        writing = time.perf_counter() - began
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            seconds = opening_seconds(page, browser)
            browser.close()
        print(f"{len(ledger.trials(study_id))} trials: {page.stat().st_size / 1e6:.2f} MB, written in {writing:.1f} s")
        walls, busy = zip(*seconds, strict=True)
        print(
            f"opens in {statistics.median(walls):.2f} s (median of {OPENS}, {min(walls):.2f} to {max(walls):.2f}), "
            f"of which {statistics.median(busy):.2f} s CPU of its main thread"
        )


if __name__ == "__main__":
    main()
