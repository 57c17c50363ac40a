"""A warm start: what an earlier study found is known, fixed, and nobody's trial here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kdstudy.cli import run as command_line
from kdstudy.errors import StudyError
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo, WarmStart, best_of
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search.planner import TrialPlanner
from kdstudy.search.warm_start import _comparable, check_warm_start, choose_warm_start, known_results, warm_start_lines
from kdstudy.study import Study, TrialConfig, parse_study
from tests.stages import ended

TEXT = """
name: warm
seed: 5
data: {name: synthetic}
teacher: {model: resnet8, epochs: 1}
student: {model: resnet8}
train: {epochs: 4, batch_size: 32, base_lr: {log: [0.01, 1.0]}}
arms:
  transfers: [attention]
  policies: [constant, {layerwise: {interval: 1, gain: {uniform: [-0.5, 0.5]}}}]
search: {trials_per_arm: 6, startup: 3, sampler: tpe}
confirm: {seeds: 1}
"""
OLD, NEW = "warm-00000000", "warm-11111111"
DATA = {"dataset": DatasetInfo(fingerprint="d"), "teacher": TeacherInfo(sha256="t")}


def study_of(*changes: tuple[str, str]) -> Study:
    text = TEXT
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse_study(text, "warm.yaml")


def create(ledger: Ledger, study: Study, study_id: str, warm: WarmStart | None = None) -> None:
    ledger.create_study(StudyRecord(study_id, study.name, study.seed, study.text, **DATA), warm=warm)


def drive(ledger: Ledger, study: Study, study_id: str, limit: int = 10**6) -> None:
    """Run trials one after another; small rates are stopped, large ones diverge."""
    queue = TrialPlanner(study, study_id, ledger, lag=1, seeds=1, warm=known_results(ledger, study_id))
    while limit and (trial := queue.next()) is not None:
        rate = trial.values["train.base_lr"]
        val = round(0.5 + 0.4 / (1 + abs(rate - 0.2)), 6)
        ledger.record_epoch(study_id, trial.number, EpochRecord(1, 1.0, {}, val, 1.0, rate, {}))
        result = TrialResult("completed", epochs=4, val=val)
        if trial.phase == "search" and rate < 0.03:
            result = TrialResult("stopped", epochs=1, val=val)
        elif trial.phase == "search" and rate > 0.7:
            result = TrialResult("diverged", epochs=0)
        ledger.finish_trial(study_id, trial.number, result)
        queue.ended(ledger.trial(study_id, trial.number))
        limit -= 1


def values(ledger: Ledger, study_id: str) -> list[tuple[str, dict]]:
    return [(trial.arm, trial.values) for trial in ledger.trials(study_id, "search")]


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger.open(f"sqlite:///{tmp_path / 'l.db'}", create=True) as opened:
        create(opened, study_of(), OLD)
        drive(opened, study_of(), OLD)
        yield opened


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_proposals_go_on_as_one_longer_study_would(tmp_path: Path, sampler: str) -> None:
    short, long = (study_of(("sampler: tpe", f"sampler: {sampler}"), ("arm: 6", f"arm: {n}")) for n in (7, 14))
    with Ledger.open(f"sqlite:///{tmp_path / 's.db'}", create=True) as ledger:
        create(ledger, long, "warm-22222222")
        drive(ledger, long, "warm-22222222")
        create(ledger, short, OLD)
        drive(ledger, short, OLD)
        create(ledger, short, NEW, choose_warm_start(short, OLD, ledger))
        drive(ledger, short, NEW)
        assert {trial.state for trial in ledger.trials(OLD, "search")} > {"completed"}
        assert values(ledger, OLD) + values(ledger, NEW) == values(ledger, "warm-22222222")


def test_what_was_chosen_is_fixed_and_counts_for_nothing_here(ledger: Ledger) -> None:
    study = study_of(("arm: 6", "arm: 8"))
    create(ledger, study, NEW, choose_warm_start(study, OLD, ledger))
    again = "warm-33333333"
    create(ledger, study, again, choose_warm_start(study, OLD, ledger))
    drive(ledger, study, NEW)
    ledger.add_trial(
        replace(ledger.trial(OLD, 0), number=500, index=90, stage=ended(val=1.0))
    )  # the earlier study goes on
    for _ in range(4):
        drive(ledger, study, again, limit=5)  # a new driver for every five trials
    assert values(ledger, again) == values(ledger, NEW)
    trials = ledger.trials(NEW)
    search = [trial for trial in trials if trial.phase == "search"]
    assert [trial.index for trial in search if trial.arm_id.policy == "constant"] == [*range(8)]
    assert sum(trial.phase == "confirm" for trial in trials) == 2
    best = best_of(trials)
    assert best is not None and best.study_id == NEW
    confirmed = {trial.arm: trial.values for trial in trials if trial.phase == "confirm"}
    own = [trial.values for trial in search]
    assert all(values in own for values in confirmed.values())


def test_only_trials_that_fit_are_told_and_an_arm_without_says_so(ledger: Ledger) -> None:
    study = study_of(("{log: [0.01, 1.0]}", "{log: [0.1, 1.0]}"), ("[-0.5, 0.5]}", "[-0.5, 0.5]}, momentum: 0.5"))
    warm = choose_warm_start(study, OLD, ledger)
    inside = [trial for trial in ledger.trials(OLD, "search") if trial.values["train.base_lr"] >= 0.1]
    assert warm.trials == {
        "attention/constant": [trial.number for trial in inside if trial.arm_id.policy == "constant"],
        "attention/layerwise": [],
    }
    assert 0 < len(warm.trials["attention/constant"]) < 6
    create(ledger, study, NEW, warm)
    assert ledger.warm_start(NEW) == warm
    states = {"completed", "diverged"}
    assert {each.state for each in known_results(ledger, NEW)[0]["attention/constant"]} <= states
    lines = list(warm_start_lines(warm, study))
    assert "attention/layerwise finds no trial in warm-00000000; it starts without" in lines[1]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("seed: 5", "seed: 6", "seed is 5 there and 6 here"),
        ("epochs: 4", "epochs: 5", "train.epochs is 4 there and 5 here"),
        ("{name: synthetic}", "{name: synthetic, val_fraction: 0.3}", "data.val_fraction is 0.1 there and 0.3 here"),
        ("arms:", "numerics: {student: bfloat16}\narms:", "numerics.student is float32 there and bfloat16 here"),
        ("[attention]", "[{attention: {weight: 5}}]", r"arms\.transfers\.attention\.weight is .* there and 5\.0 here"),
        ("[attention]", "[kd]", "none of its arms has finished search trials"),
        ("{log: [0.01, 1.0]}", "0.1", "none of its arms has finished search trials"),
        ("sampler: tpe", "sampler: random", "the sampler 'random' takes no account of results"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(ledger: Ledger, old: str, new: str, reason: str) -> None:
    with pytest.raises(StudyError, match=reason) as caught:
        choose_warm_start(study_of((old, new)), OLD, ledger)
    (line,) = caught.value.problems
    assert line.startswith("--warm-start: ") and "\n" not in line


def test_other_places_and_resources_may_differ_but_not_the_data_found_there(ledger: Ledger) -> None:
    place = ("{name: synthetic}", "{name: synthetic, root: elsewhere}")
    study = study_of(place, ("arms:", "cache: {mode: off}\narms:"))
    create(ledger, study, NEW, choose_warm_start(study, OLD, ledger))
    check_warm_start(ledger, NEW)
    ledger.update_study(NEW, dataset=DatasetInfo(fingerprint="other"))
    with pytest.raises(StudyError, match=r"fingerprint of this study's dataset is other, that of warm-00000000 is d"):
        check_warm_start(ledger, NEW)


def test_nor_may_the_weights_that_networks_began_with(ledger: Ledger) -> None:
    create(ledger, study_of(), NEW, choose_warm_start(study_of(), OLD, ledger))
    check_warm_start(ledger, NEW)
    ledger.update_study(NEW, teacher=TeacherInfo(sha256="t", weights={"net A": "1"}))
    with pytest.raises(StudyError, match=r"began with weights of another sha256"):
        check_warm_start(ledger, NEW)


def test_options_of_a_data_set_that_are_new_since_then_stand_at_their_defaults(ledger: Ledger) -> None:
    trial = ledger.trial(OLD, 0)
    config = TrialConfig.from_json(trial.config)
    earlier = replace(config, data=replace(config.data, options={"num_classes": 4}))
    assert config.data.options.keys() > earlier.data.options.keys()
    assert _comparable(earlier) == _comparable(config)
    other = replace(config, data=replace(config.data, options={"num_classes": 5}))
    assert _comparable(other) != _comparable(config)


def test_a_ledger_from_before_warm_starts_is_read_and_written(ledger: Ledger) -> None:
    from sqlalchemy import text

    ledger._database.write(lambda connection: connection.execute(text("DROP TABLE kdstudy_warm_starts")))
    assert ledger.warm_start(OLD) is None
    assert known_results(ledger, OLD) == {}
    warm = choose_warm_start(study_of(), OLD, ledger)
    create(ledger, study_of(), NEW, warm)
    assert ledger.warm_start(NEW) == warm


def test_a_refused_warm_start_creates_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text(TEXT)
    store = tmp_path / "store"
    assert command_line(["run", str(tmp_path / "study.yaml"), "--store", str(store), "--warm-start", "latest"]) == 1
    assert "ledger.db: does not exist; name the --store" in capsys.readouterr().err
    assert not store.exists()
