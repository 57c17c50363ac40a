"""Numbers of the report, worked out by hand."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from kdstudy.ledger import Ended, Ledger, Publication, Running, StudyRecord, TeacherInfo, TrackingRef, TrialRecord
from kdstudy.report import Report
from kdstudy.report.colours import depth_colours
from kdstudy.report.cost import cost_of
from kdstudy.report.curves import layer_curves, learning_curves
from kdstudy.report.mlflow_links import MlflowLinks
from kdstudy.report.model import Axis, short_names
from kdstudy.results import EpochRecord, LayerRecord
from kdstudy.study import ArmId, Choice, Log, arm_colours, parse_study
from tests.stages import START, ended


def trial(number: int, policy: str = "constant", **changes: object) -> TrialRecord:
    fields = {"study_id": "s-00000000", "phase": "confirm", "index": number, "stage": ended()} | changes
    arm = ArmId("attention", policy)
    return TrialRecord(number=number, arm_id=arm, data_seed=number, init_seed=number, **fields)


def epoch(number: int, val: float | None, *layers: LayerRecord) -> EpochRecord:
    return EpochRecord(number, 1.0, {}, val, 1.0, 0.1, {}, layers)


def test_a_learning_curve_is_mean_and_sample_sd_of_the_seeds_that_have_a_score() -> None:
    histories = {0: [epoch(1, 0.5), epoch(2, 0.7)], 1: [epoch(1, 0.7), epoch(2, None)]}
    (curve,) = learning_curves([trial(0), trial(1)], histories)
    assert curve.arm == "attention/constant"
    assert curve.epochs == (1, 2)
    assert curve.mean == pytest.approx((0.6, 0.7))
    assert curve.sd == (pytest.approx(math.sqrt(0.02)), None)  # (0.1^2 + 0.1^2) / (2 - 1)
    assert curve.n == (2, 1)


def test_layers_have_a_point_only_where_the_controller_updated() -> None:
    history = [
        epoch(1, 0.5),
        epoch(2, 0.6, LayerRecord("layer1", 0.2, 0.1, 1.1, 0.8), LayerRecord("layer2", 0.4, -0.1, 0.9)),
    ]
    curves = layer_curves([trial(0, "layerwise"), trial(1)], {0: history, 1: [epoch(1, 0.5)]})
    assert [(curve.layer, curve.quantity, curve.epochs, curve.mean) for curve in curves] == [
        ("layer1", "divergence", (2,), (0.2,)),
        ("layer1", "divergence_over_chance", (2,), (0.25,)),
        ("layer1", "momentum", (2,), (0.1,)),
        ("layer1", "multiplier", (2,), (1.1,)),
        ("layer2", "divergence", (2,), (0.4,)),
        ("layer2", "momentum", (2,), (-0.1,)),
        ("layer2", "multiplier", (2,), (0.9,)),
    ]


def test_cost_adds_up(report: Report) -> None:
    study = report.studies[0].study
    record = StudyRecord("s-00000000", "s", 0, "", created=START, teacher=TeacherInfo(seconds=8.0))
    begun = START + timedelta(seconds=30)

    def over(seconds: int, of_epochs: float) -> Ended:
        return ended(epochs=5, started=begun, finished=begun + timedelta(seconds=seconds), seconds=of_epochs)

    trials = [
        trial(0, phase="search", stage=over(12, of_epochs=10.0)),
        trial(1, stage=over(30, of_epochs=25.0)),
        trial(2, "layerwise", stage=over(3, of_epochs=3.0)),
        trial(3, "layerwise", stage=Running(begun, epochs=1)),
    ]
    cost = cost_of(record, study, trials)
    constant, layerwise = cost.arms[:2]
    assert (constant.search, constant.confirm, constant.overhead) == (10.0, 25.0, 2.0 + 5.0)
    assert constant.per_epoch == 3.5
    assert (layerwise.confirm, layerwise.overhead) == (3.0, 0.0)
    assert (cost.wall, cost.teacher, cost.epochs, cost.overhead) == (60.0, 8.0, 38.0, 7.0)


def test_the_report_reads_the_study_s_own_seeds_as_the_verdict_does(ledger: Ledger, report: Report) -> None:
    (study,) = report.studies
    assert len(study.trials) == 4 * (5 + 3)
    for curve in study.curves:
        runs = [t for t in study.trials if t.arm == curve.arm and t.phase == "confirm"]
        assert curve.n == (3,) * 6
        assert curve.mean[-1] == pytest.approx(sum(run.val or 0 for run in runs) / 3)
    assert {search.arm: len(search.trials) for search in study.search} == {arm.name: 5 for arm in study.study.arms}
    assert all(search.importance == {} for search in study.search), "5 trials tell nothing of it"


def test_names_of_searched_values_are_short_but_never_shared() -> None:
    text = """\
name: names
data: {name: digits}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 2, batch_size: 8, base_lr: 0.1, momentum: {uniform: [0.0, 0.9]}}
arms:
  transfers: [attention: {weight: {log: [1, 10]}}]
  policies: [constant, layerwise: {interval: 1, momentum: {uniform: [0.0, 0.9]}}]
search: {trials_per_arm: 1}
confirm: {seeds: 1}
"""
    assert short_names(parse_study(text, "names").space("attention/layerwise")) == [
        "train.momentum",
        "weight",
        "layerwise.momentum",
    ]


def test_positions_on_an_axis() -> None:
    assert Axis("a", "a", Log(1, 100)).position(10.0) == pytest.approx(0.5)
    choice = Axis("b", "b", Choice(("x", "y")))
    assert [choice.position(value) for value in ("x", "y")] == [0.25, 0.75]
    assert choice.shown("y") == "y"


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://mlflow:5000", "http://mlflow:5000/#/experiments/7/runs/abc"),
        ("sqlite:////x/mlflow.db", "http://127.0.0.1:5000/#/experiments/7/runs/abc"),
        ("javascript:alert(1)//", None),
        ("", None),
    ],
)
def test_links_lead_to_the_run_or_nowhere(uri: str, address: str | None) -> None:
    tracking = TrackingRef(uri, "7", "p") if uri else TrackingRef()
    links = MlflowLinks.of(StudyRecord("s-00000000", "s", 0, "", tracking=tracking))
    assert links.trial(trial(0, published=Publication("abc"))) == address
    assert links.trial(trial(0)) is None


def test_arms_of_a_transfer_share_a_hue_and_no_two_arms_a_colour() -> None:
    arms = [f"{transfer}/{policy}" for transfer in "abcd" for policy in ("constant", "layerwise")]
    colours = arm_colours(arms)
    assert len(set(colours.values())) == len(arms)
    assert arm_colours(["a/constant", "a/layerwise"]) == {arm: colours[arm] for arm in arms[:2]}
    assert len(set(depth_colours(7))) == 7
