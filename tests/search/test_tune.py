"""What Ray Tune is given, and what is made of what it says."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdstudy.errors import StoreError
from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search.tune import ArmScheduler, Recorder, keep_keys_out_of_logs, parameters_of


def trial_record() -> TrialRecord:
    values = {
        "train.base_lr": 0.1,
        "arms.policies.layerwise.interval": 2,
        "arms.policies.layerwise.momentum": 0.5,
        "arms.policies.layerwise.gain": -0.1,
    }
    return TrialRecord(
        study_id="s-00000000",
        number=7,
        phase="search",
        transfer="attention",
        policy="layerwise",
        index=1,
        data_seed=1,
        init_seed=2,
        values=values,
        config={"name": "s"},
    )


def test_no_key_is_in_a_trials_runtime_environment_which_ray_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution.class_cache import _ActorClassCache

    class Trainable:
        """Stands for any."""

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    keep_keys_out_of_logs()
    sent = _ActorClassCache().get(Trainable)._default_options["runtime_env"]["env_vars"]
    assert "planted" not in sent.values()
    assert sent["RAY_CHDIR_TO_TRIAL_DIR"] == "0", "the rest goes along as before"


def test_searched_values_are_parameters_of_the_ray_trial() -> None:
    parameters = parameters_of(trial_record())
    assert {name.rpartition(".")[2] for name in parameters} >= {"base_lr", "interval", "momentum", "gain"}
    assert parameters["arms.policies.layerwise.interval"] == 2
    assert json.loads(parameters["config"]) == {"name": "s"}
    assert (parameters["trial"], parameters["arm"], parameters["phase"]) == (7, "attention/layerwise", "search")


def epoch(number: int) -> EpochRecord:
    return EpochRecord(number, loss=1.0, terms={}, val=number / 10, val_loss=1.0, rate=0.1, rates={})


def ray_trial(number: int = 7, arm: str = "a/constant", phase: str = "search", status: str = "RUNNING") -> Any:
    config = {"trial": number, "arm": arm, "phase": phase}
    return SimpleNamespace(config=config, trial_id=str(number), status=status, get_error=lambda: "gone")


@pytest.fixture
def heard() -> list[tuple]:
    return []


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def recorder(heard: list[tuple], stopping: threading.Event) -> Recorder:
    return Recorder(
        lambda number: heard.append(("start", number)),
        lambda number, record: heard.append(("epoch", number, record.epoch)),
        lambda number, result: heard.append(("end", number, result.state, result.epochs, result.val)),
        lambda number: heard.append(("lost", number)),
        stopping.is_set,
        [],
    )


def report(recorder: Recorder, record: EpochRecord | None, result: TrialResult | None = None) -> None:
    recorder.on_trial_result(
        0, [], ray_trial(), {"record": record and record.to_json(), "result": result and result.to_json()}
    )


def test_a_trial_that_ends_by_itself_ends_once(recorder: Recorder, heard: list[tuple]) -> None:
    recorder.on_trial_start(0, [], ray_trial())
    report(recorder, epoch(1))
    report(recorder, epoch(2), TrialResult("completed", epochs=2, val=0.2))
    recorder.on_trial_complete(0, [], ray_trial())
    assert heard == [("start", 7), ("epoch", 7, 1), ("epoch", 7, 2), ("end", 7, "completed", 2, 0.2)]


def test_a_trial_that_tune_ends_was_stopped(recorder: Recorder, heard: list[tuple]) -> None:
    recorder.on_trial_start(0, [], ray_trial())
    report(recorder, epoch(1))
    recorder.on_trial_complete(0, [], ray_trial())
    assert heard[-1] == ("end", 7, "stopped", 1, 0.1)


def test_a_trial_whose_process_is_lost_for_good_failed(recorder: Recorder, heard: list[tuple]) -> None:
    recorder.on_trial_start(0, [], ray_trial())
    recorder.on_trial_start(0, [], ray_trial())
    recorder.on_trial_error(0, [], ray_trial())
    assert heard == [("start", 7), ("start", 7), ("end", 7, "failed", 0, None)]


ACTOR_DIED = "The actor died unexpectedly.\n\tpid: 7\nThe actor is dead because its worker process has died."
CUDA = "Traceback:\n  File x\ntorch.AcceleratorError: CUDA error: illegal address\nFor debugging do this\nand that"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"Failure # 1 (occurred at noon)\n{CUDA}\n", "torch.AcceleratorError: CUDA error: illegal address"),
        (
            f"Failure # 1 (occurred at noon)\n{CUDA}\nFailure # 2 (occurred later)\n{ACTOR_DIED}\n",
            "The actor is dead because its worker process has died.",
        ),
        ("", "no reason known"),
    ],
)
def test_a_lost_process_is_one_line_with_the_reason(
    recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    trial = ray_trial()
    (tmp_path / "error.txt").write_text(text)
    trial.error_file = str(tmp_path / "error.txt")
    recorder.on_trial_recover(0, [], trial)
    said = capsys.readouterr().err
    assert said == f"trial 7: its process was lost ({reason}); it goes on from its checkpoint\n"


def test_a_trial_that_is_stopped_for_later_has_not_ended(
    recorder: Recorder, heard: list[tuple], stopping: threading.Event
) -> None:
    recorder.on_trial_start(0, [], ray_trial())
    report(recorder, epoch(1))
    stopping.set()
    recorder.on_trial_complete(0, [], ray_trial())
    assert heard == [("start", 7), ("epoch", 7, 1)]
    scheduler = ArmScheduler(epochs=9, halving=None, stopping=stopping.is_set)
    assert scheduler.on_trial_result(None, ray_trial(), {"epoch": 1, "val": 0.1}) == "STOP"


def test_what_a_worker_cannot_help_halts_the_study(recorder: Recorder, heard: list[tuple]) -> None:
    recorder.on_trial_start(0, [], ray_trial())
    with pytest.raises(StoreError, match="node x: no space"):
        recorder.on_trial_result(0, [], ray_trial(), {"record": None, "halt": "node x: no space"})
    assert heard == [("start", 7)]


def test_a_trial_that_tune_gives_up_before_it_began_is_handed_out_again_once(
    recorder: Recorder, heard: list[tuple]
) -> None:
    begun, given_up, running = (
        ray_trial(n, status=status) for n, status in ((1, "ERROR"), (2, "ERROR"), (3, "RUNNING"))
    )
    recorder.on_trial_start(0, [], begun)
    recorder.on_trial_error(0, [], begun)
    recorder.on_trial_error(0, [], given_up)
    for _ in range(2):
        recorder.on_step_begin(0, [begun, given_up, running])
    assert heard == [("start", 1), ("end", 1, "failed", 0, None), ("lost", 2)]


def test_a_slow_arm_is_not_pruned_by_a_fast_one() -> None:
    scheduler = ArmScheduler(epochs=9, halving={"grace": 1, "reduction": 3}, stopping=lambda: False)
    decisions: dict[str, list[str]] = {"fast/constant": [], "slow/constant": []}
    number = 0
    for _ in range(3):
        for arm, best in (("fast/constant", 0.9), ("slow/constant", 0.2)):
            trial = ray_trial(number, arm)
            number += 1
            scheduler.on_trial_add(None, trial)
            decisions[arm].append(scheduler.on_trial_result(None, trial, {"epoch": 1, "val": best + 0.01 * number}))
    assert decisions["slow/constant"] == ["CONTINUE"] * 3, "each better than the last of its own arm"
    worse = ray_trial(99, "fast/constant")
    scheduler.on_trial_add(None, worse)
    assert scheduler.on_trial_result(None, worse, {"epoch": 1, "val": 0.5}) == "STOP"
    confirmed = ray_trial(100, "fast/constant", phase="confirm")
    scheduler.on_trial_add(None, confirmed)
    assert scheduler.on_trial_result(None, confirmed, {"epoch": 1, "val": 0.0}) == "CONTINUE"
