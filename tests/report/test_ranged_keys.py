"""Every key that may hold a range holds one: what people read of such a study."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo, TrackingRef, TrialRecord
from kdstudy.report import FORMATS, progress_table, render, render_comparison, report_of, snapshot, to_summary
from kdstudy.report.mlflow_links import MlflowLinks
from kdstudy.report.optuna_dashboard import storage_of
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search import startup_values
from kdstudy.study import Choice, PluginSpec, Study, parse_study
from kdstudy.tracking.naming import trial_params

TEXT = """
name: ranged
seed: 5
data: {name: digits}
teacher: {model: resnet8, epochs: 1}
student: {model: MODEL}
train:
  epochs: {int: [2, 3]}
  batch_size: {choice: [16, 32]}
  base_lr: {log: [0.01, 1.0]}
  weight_decay: {int: [0, 3]}
  momentum: {uniform: [0.5, 0.9]}
  nesterov: NESTEROV
  schedule: SCHEDULE
  optimizer: OPTIMIZER
  warmup_epochs: {int: [0, 1]}
  label_weight: {uniform: [0.5, 1]}
  label_smoothing: {uniform: [0, 0.2]}
  clip_norm: CLIP
arms:
  transfers:
    - attention: {weight: {log: [1, 100]}, p: {int: [1, 3]}}
    - none
  policies:
    - constant
    - layerwise: {interval: 1, gain: {uniform: [-0.5, 0.5]}, rule: {choice: [multiplicative, additive]}}
search: {trials_per_arm: 3}
confirm: {searches: 3, seeds: 2}
"""
CHOSEN = {
    "MODEL": "{choice: [resnet8, {resnet14: {shortcut: A}}]}",
    "OPTIMIZER": f"{{choice: [sgd, '{__name__}:heavy_ball']}}",
    "NESTEROV": "{choice: [true, false]}",
    "CLIP": "{choice: [null, 1.0]}",
    "SCHEDULE": "{choice: [cosine, {multistep: {milestones: [1], gamma: 0.5}}]}",
}
INSIDE = {
    "MODEL": "{resnet8: {shortcut: {choice: [A, B]}}}",
    "OPTIMIZER": "{adamw: {beta2: {uniform: [0.9, 0.999]}}}",
    "NESTEROV": "false",
    "CLIP": "{log: [0.5, 5]}",
    "SCHEDULE": "{multistep: {milestones: {choice: [[1], [1, 2]]}, gamma: {uniform: [0.1, 0.5]}}}",
}
PYTHON = re.compile(r"\{'|'\}|\[\{|PluginSpec|Choice\(|\bTrue\b|\bFalse\b")


def heavy_ball(groups: list[dict[str, Any]], lr: float, momentum: float, nesterov: bool) -> torch.optim.Optimizer:
    """An optimizer of a user's own, which has Nesterov's momentum too."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)


def study_of(parts: dict[str, str]) -> Study:
    text = TEXT
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return parse_study(text, "study.yaml")


@pytest.fixture(params=[CHOSEN, INSIDE], ids=["plug-ins", "options"])
def study(request: pytest.FixtureRequest) -> Study:
    return study_of(request.param)


@pytest.fixture
def ledger(tmp_path: Path, study: Study) -> Any:
    """The study, finished: three trials and two confirmation runs of each arm and search."""
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        known = {"dataset": DatasetInfo("digits", num_classes=10, train=9, val=1), "teacher": TeacherInfo(test=0.9)}
        tracking = TrackingRef("sqlite:///mlflow.db", "1", "abc")
        record = StudyRecord.of(study, {})
        opened.create_study(record)
        opened.update_study(record.id, status="finished", tracking=tracking, **known)
        numbers = iter(range(1000))
        for search in range(3):
            for arm in study.arms:
                for place in range(5):
                    phase, index = ("search", place) if place < 3 else ("confirm", place - 3)
                    shown = place if phase == "search" else 0
                    values = startup_values(study.space(arm), seed=search, transfer=arm.transfer.name, index=shown)
                    config = study.config(arm.name, values, data_seed=place, init_seed=place, search=search)
                    trial = TrialRecord(
                        record.id, next(numbers), phase, arm.id, index, place, place, values, config.to_json(),
                        search=search,
                    )  # fmt: skip
                    opened.add_trial(trial)
                    score = 0.5 + 0.01 * place + 0.002 * search + 0.003 * len(arm.policy.called)
                    opened.record_epoch(
                        record.id, trial.number, EpochRecord(1, 1.0, {}, score, 1.0, 0.1, {"head": 0.1}, seconds=1.0)
                    )
                    test = score if phase == "confirm" else None
                    opened.finish_trial(record.id, trial.number, TrialResult("completed", 1, score, test, "ab" * 32))
        yield opened


def test_the_two_studies_search_every_key_that_may_hold_a_range() -> None:
    """Fails when a key becomes ranged and is not in them."""
    chosen, inside = study_of(CHOSEN), study_of(INSIDE)
    for section in (chosen.train, chosen.student):
        for field in fields(section):
            assert not isinstance(getattr(section, field.name), bool | int | float | PluginSpec), field.name
    assert isinstance(chosen.student.model, Choice)
    assert not isinstance(inside.student.model, Choice)


def test_every_form_of_the_report_is_rendered_without_a_word_of_python(ledger: Ledger, study: Study) -> None:
    report = report_of(ledger, ["latest"])
    texts = {form: render(report, form) for form in FORMATS} | {"summary": to_summary(report)}
    page = re.sub(r"<(script|style).*?</\1>", "", texts["html"], flags=re.DOTALL)
    page = page.replace("&#39;", "'").replace("&#34;", '"')
    for text in (page, texts["md"], texts["summary"], render_comparison(report.comparison)):
        shown = text.replace(study.text.strip(), "")
        assert PYTHON.findall(shown) == []
    words = "resnet8 or resnet14 (shortcut A)" if isinstance(study.student.model, Choice) else "resnet8"
    assert f"teaches\n    {words};" in page
    assert f"student {words}." in texts["md"]


def test_progress_links_and_the_views_of_optuna_and_mlflow_are_made(ledger: Ledger, study: Study) -> None:
    study_id = ledger.resolve("latest")
    assert storage_of(ledger, [study_id])
    assert progress_table(snapshot(ledger, study, study_id))
    assert MlflowLinks.of(ledger.study(study_id)).study is not None
    for trial in ledger.trials(study_id):
        params = trial_params(trial)
        assert params["student.model"] in ("resnet8", "resnet14")
        assert {*trial.values} <= {*params}, "what was searched is there, also where the search chose nothing"
