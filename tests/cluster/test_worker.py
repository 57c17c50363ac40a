"""What a trial's process makes of what it finds: whom it trains, what it reports, whose an error is. Without Ray."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kdstudy.cluster.pack_signals import request_stop
from kdstudy.cluster.worker import Host, PackRun, Report, Training
from kdstudy.errors import ClusterError, DataError, PluginError, StoreError
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import DiskFolder
from kdstudy.study import TrialConfig
from tests.configs import trial_config

Configs = dict[int, TrialConfig]


class Process:
    """A process that trains, and all that it said to whatever runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = DiskFolder(folder)
        self.said: list[dict[str, Any]] = []
        self.points: list[bool] = []
        self.host = Host("pack-1", self.said.append, lambda *, more: self.points.append(more))

    def run(self, train: Callable[[Configs, Report], None], *numbers: int) -> None:
        config = trial_config().to_json()
        PackRun(numbers or (7,), [config] * len(numbers or (7,)), self.folder, self.host).run(train)

    def stop(self, number: int, pack: str = "pack-1") -> None:
        request_stop(self.folder / str(number), pack)


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path)


def epoch(number: int, val: float | None = 0.5) -> EpochRecord:
    return EpochRecord(number, loss=1.0, terms={}, val=val, val_loss=1.0, rate=0.1, rates={})


def test_each_epoch_and_the_end_are_reported(process: Process) -> None:
    def train(configs: Configs, report: Report) -> None:
        assert list(configs) == [7]
        assert report(7, epoch(1), None)
        assert report(7, epoch(2, val=None), TrialResult("diverged", epochs=1))

    process.run(train)
    first, last = process.said
    assert first == {"number": 7, "epoch": 1, "record": epoch(1).to_json(), "val": 0.5, "result": None}
    assert "val" not in last, "the pruner must not take a missing score for one"
    assert (last["epoch"], TrialResult.from_json(last["result"])) == (2, TrialResult("diverged", epochs=1))
    assert process.points == [True, False]


def test_of_a_pack_only_those_are_trained_that_are_not_over_in_it(process: Process) -> None:
    process.stop(1)
    process.stop(3, pack="an earlier pack")
    seen: list[tuple[list[int], list[bool]]] = []

    def train(configs: Configs, report: Report) -> None:
        on = [report(3, epoch(1), None)]
        process.stop(3)
        on.append(report(3, epoch(2), None))
        seen.append((list(configs), on))

    process.run(train, 1, 3, 5)
    assert seen == [([3, 5], [True, False])]
    process.stop(7)
    process.run(lambda configs, _report: seen.append((list(configs), [])), 7)
    assert seen[1] == ([7], []), "Tune itself stops a trial that trains alone"


def test_a_pack_that_is_over_trains_nothing(process: Process) -> None:
    process.stop(1)
    process.stop(3)
    process.run(lambda _configs, _report: pytest.fail("nothing is left"), 1, 3)
    assert (process.said, process.points) == ([], [True, False])


def test_what_a_plug_in_raises_fails_the_trials_that_are_not_over(process: Process) -> None:
    def train(_configs: Configs, report: Report) -> None:
        report(1, epoch(1), None)
        process.stop(3)
        raise ZeroDivisionError("of a plug-in")

    process.run(train, 1, 3, 5)
    ends = [(said["number"], said["epoch"], said["result"]) for said in process.said[1:]]
    assert [(number, at, result["state"], result["epochs"]) for number, at, result in ends] == [
        (1, 1, "failed", 1),
        (5, 0, "failed", 0),
    ]
    assert all("ZeroDivisionError: of a plug-in" in result["error"] for *_, result in ends)
    assert process.points == [True, False], "the process serves the next trial"


def test_what_a_user_can_put_right_fails_a_trial_with_one_line(process: Process) -> None:
    def train(_configs: Configs, _report: Report) -> None:
        raise PluginError("the plug-in: an option is wrong")

    process.run(train)
    assert process.said[0]["result"]["error"] == "the plug-in: an option is wrong"


@pytest.mark.parametrize("kind", [StoreError, ClusterError, DataError])
def test_a_store_or_a_node_that_does_not_work_halts_the_study(process: Process, kind: type[Exception]) -> None:
    def train(_configs: Configs, report: Report) -> None:
        report(3, epoch(2), None)
        raise kind("no space")

    process.run(train, 1, 3)
    assert process.said[1:] == [{"epoch": 2, "record": None, "halt": f"node {platform.node()}: no space"}]
    assert process.points == [True, False]


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, MemoryError])
def test_a_process_without_memory_is_left_to_be_started_again(process: Process, kind: type[Exception]) -> None:
    def train(_configs: Configs, _report: Report) -> None:
        raise kind("no memory")

    with pytest.raises(kind):
        process.run(train)
    assert (process.said, process.points) == ([], [True])


def test_other_data_than_the_study_began_with_halt_it(process: Process, tmp_path: Path) -> None:
    teacher = DiskFolder(tmp_path / "teachers" / "key")
    process.run(Training(teacher, process.folder, tmp_path, "f" * 64, with_test=False, host=process.host))
    assert "but the study started with ffffffffffffffff; put the same files on this node" in process.said[0]["halt"]


def test_a_teacher_that_has_gone_is_the_stores_failure_and_no_trials(process: Process, tmp_path: Path) -> None:
    from kdstudy.trial import dataset_of

    data = dataset_of(trial_config(), with_test=False).fingerprint
    teacher = DiskFolder(tmp_path / "teachers" / "key")
    process.run(Training(teacher, process.folder, tmp_path, data, with_test=False, host=process.host))
    (said,) = process.said
    assert "holds no teacher; " in said["halt"]
    assert "check that the store is reachable and intact" in said["halt"]
    assert "\n" not in said["halt"]
