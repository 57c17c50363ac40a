"""What Ray Tune is given, and what is made of what it says."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdstudy.cluster.events import EpochFinished, TrialEnded, TrialEvent, TrialStarted
from kdstudy.cluster.pack_signals import stop_requested
from kdstudy.cluster.scheduler import ArmScheduler, scheduler_of
from kdstudy.cluster.tune import EventCallback, choose_variables_of_trials, parameters_of
from kdstudy.errors import StoreError
from kdstudy.ledger import TrialRecord
from kdstudy.plugins import PRUNERS
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import DiskFolder
from kdstudy.study import ArmId, PluginSpec
from tests.stages import ended


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
        arm_id=ArmId("attention", "layerwise"),
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
    choose_variables_of_trials()
    sent = _ActorClassCache().get(Trainable)._default_options["runtime_env"]["env_vars"]
    assert "planted" not in sent.values()
    assert sent["RAY_CHDIR_TO_TRIAL_DIR"] == "0", "the rest goes along as before"


def test_searched_values_are_parameters_of_the_ray_trial() -> None:
    parameters = parameters_of([trial_record()])
    assert {name.rpartition(".")[2] for name in parameters} >= {"base_lr", "interval", "momentum", "gain"}
    assert parameters["arms.policies.layerwise.interval"] == 2
    assert json.loads(parameters["configs"]) == [{"name": "s"}]
    assert (parameters["trials"], parameters["arm"], parameters["phase"]) == ([7], "attention/layerwise", "search")
    assert parameters["search"] == 0
    assert parameters_of([replace(trial_record(), search=2)])["search"] == 2
    pack = parameters_of([trial_record(), replace(trial_record(), number=9)])
    assert (pack["trials"], pack["train.base_lr"]) == ([7, 9], [0.1, 0.1])
    assert len(json.loads(pack["configs"])) == 2


def epoch(number: int) -> EpochRecord:
    return EpochRecord(number, loss=1.0, terms={}, val=number / 10, val_loss=1.0, rate=0.1, rates={})


def ray_trial(
    *numbers: int, arm: str = "a/constant", phase: str = "search", search: int = 0, status: str = "RUNNING"
) -> Any:
    config = {"trials": list(numbers or [7]), "arm": arm, "phase": phase, "search": search}
    return SimpleNamespace(config=config, trial_id=f"pack-{numbers}", status=status, error_file=None)


class Heard(list[tuple[Any, ...]]):
    """All that a callback passes on."""

    results: dict[int, TrialResult]

    def __init__(self) -> None:
        super().__init__()
        self.results = {}

    def next_pack(self) -> list[TrialRecord]:
        return []

    def notify(self, event: TrialEvent) -> None:
        match event:
            case TrialStarted(number):
                self.append(("start", number))
            case EpochFinished(number, record):
                self.append(("epoch", number, record.epoch))
            case TrialEnded(number, result):
                self.append(("end", number, result.state, result.epochs, result.val))
                self.results[number] = result

    def give_back(self, number: int) -> None:
        self.append(("lost", number))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def pruned() -> set[int]:
    return set()


@pytest.fixture
def callback(heard: Heard, pruned: set[int], stopping: threading.Event, tmp_path: Path) -> EventCallback:
    return EventCallback(heard, DiskFolder(tmp_path), pruned, stopping.is_set, [])


def report(
    callback: EventCallback,
    record: EpochRecord | None,
    result: TrialResult | None = None,
    number: int = 7,
    *,
    of: Any = None,
) -> None:
    told = {"number": number, "record": record and record.to_json(), "result": result and result.to_json()}
    callback.on_trial_result(0, [], of or ray_trial(), told)


def test_a_trial_that_ends_by_itself_ends_once(callback: EventCallback, heard: Heard) -> None:
    callback.on_trial_start(0, [], ray_trial())
    report(callback, epoch(1))
    report(callback, epoch(2), TrialResult("completed", epochs=2, val=0.2))
    callback.on_trial_complete(0, [], ray_trial())
    assert heard == [("start", 7), ("epoch", 7, 1), ("epoch", 7, 2), ("end", 7, "completed", 2, 0.2)]


def test_a_trial_that_tune_ends_was_stopped(callback: EventCallback, heard: Heard) -> None:
    callback.on_trial_start(0, [], ray_trial())
    report(callback, epoch(1))
    callback.on_trial_complete(0, [], ray_trial())
    assert heard[-1] == ("end", 7, "stopped", 1, 0.1)


def test_what_a_stopped_trial_took_is_the_sum_of_its_epochs(callback: EventCallback, heard: Heard) -> None:
    for _ in range(2):  # started twice: the epochs before its process was lost are reported again
        callback.on_trial_start(0, [], ray_trial())
        for number in (1, 2):
            report(callback, replace(epoch(number), seconds=1.5))
    callback.on_trial_complete(0, [], ray_trial())
    assert [(result.state, result.seconds) for result in heard.results.values()] == [("stopped", 3.0)]


def test_a_trial_whose_process_is_lost_for_good_failed(callback: EventCallback, heard: Heard) -> None:
    callback.on_trial_start(0, [], ray_trial())
    callback.on_trial_start(0, [], ray_trial())
    callback.on_trial_error(0, [], ray_trial())
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
    callback: EventCallback, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, reason: str
) -> None:
    trial = ray_trial()
    (tmp_path / "error.txt").write_text(text)
    trial.error_file = str(tmp_path / "error.txt")
    callback.on_trial_recover(0, [], trial)
    assert caplog.messages == [f"trial 7: its process was lost ({reason}); it continues from its checkpoint"]


def test_a_trial_that_is_stopped_for_later_has_not_ended(
    callback: EventCallback, heard: Heard, stopping: threading.Event
) -> None:
    callback.on_trial_start(0, [], ray_trial())
    report(callback, epoch(1))
    stopping.set()
    callback.on_trial_complete(0, [], ray_trial())
    assert heard == [("start", 7), ("epoch", 7, 1)]
    scheduler = ArmScheduler(PRUNERS.load("none")(), {}, stopping.is_set)
    assert scheduler.on_trial_result(None, ray_trial(), {"number": 7, "epoch": 1, "val": 0.1}) == "STOP"


def test_what_a_worker_cannot_help_halts_the_study(callback: EventCallback, heard: Heard) -> None:
    callback.on_trial_start(0, [], ray_trial())
    with pytest.raises(StoreError, match="node x: no space"):
        callback.on_trial_result(0, [], ray_trial(), {"record": None, "halt": "node x: no space"})
    assert heard == [("start", 7)]


def test_a_trial_that_tune_gives_up_before_it_began_is_handed_out_again_once(
    callback: EventCallback, heard: Heard
) -> None:
    begun, given_up, running = (
        ray_trial(n, status=status) for n, status in ((1, "ERROR"), (2, "ERROR"), (3, "RUNNING"))
    )
    callback.on_trial_start(0, [], begun)
    callback.on_trial_error(0, [], begun)
    callback.on_trial_error(0, [], given_up)
    for _ in range(2):
        callback.on_step_begin(0, [begun, given_up, running])
    assert heard == [("start", 1), ("end", 1, "failed", 0, None), ("lost", 2)]


def test_each_trial_of_a_pack_ends_for_itself_and_its_process_hears_of_it(
    callback: EventCallback, heard: Heard, pruned: set[int], tmp_path: Path
) -> None:
    pack = ray_trial(1, 3, 5)

    def over() -> list[int]:
        return [number for number in (1, 3, 5) if stop_requested(DiskFolder(tmp_path) / str(number), pack.trial_id)]

    callback.on_trial_start(0, [], pack)
    for number in (1, 3, 5):
        report(callback, replace(epoch(1), seconds=2.0), number=number, of=pack)
    pruned.add(3)
    for number in (1, 3):
        report(callback, replace(epoch(2), seconds=2.0), number=number, of=pack)
    assert over() == [3]
    report(callback, epoch(2), TrialResult("diverged", epochs=1), 5, of=pack)
    report(callback, epoch(3), number=3, of=pack)  # it had not looked yet
    assert over() == [3, 5]
    callback.on_trial_start(0, [], pack)  # its process was lost
    report(callback, epoch(1), number=1, of=pack)
    report(callback, epoch(2), TrialResult("completed", epochs=2), 1, of=pack)
    callback.on_trial_complete(0, [], pack)
    assert heard == [
        *(("start", number) for number in (1, 3, 5)),
        *(("epoch", number, 1) for number in (1, 3, 5)),
        *(("epoch", 1, 2), ("epoch", 3, 2), ("end", 3, "stopped", 2, 0.2)),
        *(("epoch", 5, 2), ("end", 5, "diverged", 1, None)),
        *(("start", 1), ("epoch", 1, 1), ("epoch", 1, 2), ("end", 1, "completed", 2, None)),
    ]
    assert heard.results[3].seconds == 4.0
    assert not stop_requested(DiskFolder(tmp_path) / "3", "another pack"), "handed out again, it runs"


def test_a_pack_whose_process_is_lost_for_good_takes_those_along_that_had_not_ended(
    callback: EventCallback, heard: Heard
) -> None:
    pack, given_up = ray_trial(1, 3), ray_trial(5, 7, status="ERROR")
    callback.on_trial_start(0, [], pack)
    report(callback, epoch(1), TrialResult("completed", epochs=1), 1, of=pack)
    callback.on_trial_error(0, [], pack)
    pack.status = "ERROR"
    callback.on_step_begin(0, [pack, given_up])
    assert heard[3:] == [("end", 1, "completed", 1, None), ("end", 3, "failed", 0, None), ("lost", 5), ("lost", 7)]


def test_the_scheduler_notes_which_trials_of_a_pack_are_not_to_go_on() -> None:
    scheduler = ArmScheduler(PRUNERS.load("patience")(epochs=1), {}, lambda: False)
    pack = ray_trial(1, 3)
    for at, number, val in ((1, 1, 0.5), (1, 3, 0.5), (2, 1, 0.6), (2, 3, 0.4), (3, 3, 0.9)):
        assert scheduler.on_trial_result(None, pack, {"number": number, "epoch": at, "val": val}) == "CONTINUE"
    assert scheduler.pruned == {3}


def scores_of(scheduler: ArmScheduler, number: int, scores: Sequence[float], arm: str, **options: Any) -> int | None:
    """Report a trial's epochs until it is told to stop; return when."""
    for at, score in enumerate(scores, start=1):
        last = {"result": {"state": "completed"}} if at == len(scores) else {}
        told = scheduler.on_trial_result(
            None, ray_trial(number, arm=arm, **options), {"number": number, "epoch": at, "val": score, **last}
        )
        if told == "STOP":
            return at
    return None


IMPATIENT = {"asha": {"reduction": 2}, "median": {"trials": 1}, "patience": {"epochs": 1}}


@pytest.mark.parametrize(("name", "options"), list(IMPATIENT.items()))
def test_a_slow_arm_is_not_pruned_by_a_fast_one(name: str, options: dict[str, Any]) -> None:
    slow = [[base + 0.01 * number for base in (0.1, 0.2, 0.3)] for number in range(4)]  # each better than the last
    alone, beside = (ArmScheduler(PRUNERS.load(name)(**options), {}, lambda: False) for _ in range(2))
    for number, scores in enumerate(slow):
        scores_of(beside, 100 + number, [0.9, 0.9, 0.95], "fast/constant")
        assert scores_of(alone, number, scores, "slow/constant") is None
        assert scores_of(beside, number, scores, "slow/constant") is None
    assert scores_of(beside, 200, [0.5, 0.5, 0.5], "fast/constant") is not None, "poor among its own"
    assert scores_of(beside, 201, [0.5, 0.5, 0.5], "fast/constant", phase="confirm") is None
    assert scores_of(beside, 202, [0.5, 0.5, 0.5], "slow/constant") is None, "the best of its own"


@pytest.mark.parametrize(("name", "options"), list(IMPATIENT.items()))
def test_a_search_is_not_pruned_by_another_search_of_the_study(name: str, options: dict[str, Any]) -> None:
    """Nor by one that an earlier driver ran; they are repetitions of each other, and must not meet."""
    low = [[base + 0.01 * number for base in (0.1, 0.2, 0.3)] for number in range(4)]
    high = {number: {1: 0.9, 2: 0.9, 3: 0.95} for number in range(1000, 1004)}
    arm = "attention/layerwise"
    done = [replace(trial_record(), number=number, search=1, stage=ended()) for number in high]
    known = scheduler_of(PluginSpec(name, options), done, high, lambda: False)
    for number, scores in enumerate(low):
        scores_of(known, 2000 + number, [0.9, 0.9, 0.95], arm, search=2)
        assert scores_of(known, number, scores, arm) is None
    poor = [0.5, 0.5, 0.5]
    assert scores_of(known, 7, poor, arm) is None, "the best of the first search"
    assert scores_of(known, 1007, poor, arm, search=1) is not None
    assert scores_of(known, 2007, poor, arm, search=2) is not None


@pytest.mark.parametrize(("name", "options"), list(IMPATIENT.items()))
def test_a_resumed_study_prunes_like_an_undisturbed_one(name: str, options: dict[str, Any]) -> None:
    draw = random.Random(3)
    curves = [[round(draw.random(), 3) for _ in range(9)] for _ in range(30)]
    spec, arm = PluginSpec(name, PRUNERS.load(name)(**options).__dict__), "attention/layerwise"
    whole = scheduler_of(spec, [], {}, lambda: False)
    ends = [scores_of(whole, number, scores, arm) for number, scores in enumerate(curves)]
    assert 3 < sum(end is not None for end in ends) < 30
    for cut in range(1, 30):
        # The driver goes in the middle of trial ``cut``: it has reported half of its epochs, the last one unjudged.
        trials = [replace(trial_record(), number=number, stage=ended()) for number in range(cut)]
        reported = {number: dict(enumerate(curves[number][: ends[number]], start=1)) for number in range(cut)}
        trials.append(replace(trial_record(), number=cut))
        reported[cut] = dict(enumerate(curves[cut][: (ends[cut] or 9) // 2 + 1], start=1))
        resumed = scheduler_of(spec, trials, reported, lambda: False)
        assert [scores_of(resumed, number, curves[number], arm) for number in range(cut, 30)] == ends[cut:]


def test_epochs_reported_again_from_a_checkpoint_are_not_judged_again() -> None:
    scheduler = ArmScheduler(PRUNERS.load("asha")(reduction=2), {}, lambda: False)
    assert scores_of(scheduler, 0, [0.5], "a/constant") is None
    assert scores_of(scheduler, 1, [0.6, 0.6], "a/constant") is None
    for number in (2, 3, 4):
        scores_of(scheduler, number, [0.9, 0.9], "a/constant")
    assert scheduler.on_trial_result(None, ray_trial(1), {"number": 1, "epoch": 1, "val": 0.6}) == "CONTINUE", (
        "it has passed"
    )
    assert scores_of(scheduler, 5, [0.6, 0.6], "a/constant") == 1
