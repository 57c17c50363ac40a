"""What runs in Ray's processes: one trial, or a pack of them. Workers read neither ledger nor MLflow; they only report.

A worker serves one trial after another, so everything that must not leak between them is set inside the trial.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from kdstudy.cluster.pack_signals import stop_requested
from kdstudy.cluster.rank_actors import RankActors
from kdstudy.errors import ClusterError, DataError, ModelError, StoreError
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import Folder
from kdstudy.study import TrialConfig

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class Host:
    """What a process that trains has of whatever runs it: Ray Tune, or a test.

    Args:
        pack: Names the pack, and no other one in which a trial was or will be.
        report: Takes what is said of a trial, and returns once the driver has dealt with it.
        safe_point: Called where the process may end, with ``more`` whether the pack goes on from there.
    """

    pack: str
    report: Callable[[dict[str, Any]], None]
    safe_point: Callable[..., None]


Report = Callable[[int, EpochRecord | None, TrialResult | None], bool]
"""Takes what `kdstudy.trial.run_pack` reports; returns whether the trial goes on."""


def run_in_worker(parameters: dict[str, Any], *, teacher: Folder, folder: Folder, cache: Path, data: str) -> None:
    """Run one trial, or a pack of them, under Ray Tune: Tune's trainable.

    Args:
        parameters: Tune's parameters: the values that fill the ranges, and what `parameters_of` adds.
        teacher: The teacher's folder.
        folder: The study's folder of trials.
        cache: Where, on each node, the study's trials share what they need of the teacher.
        data: Fingerprint of the data that the study began with.
    """
    from ray import tune

    from kdstudy.cluster.preemption import safe_point

    host = Host(tune.get_context().get_trial_id(), tune.report, safe_point)
    training = Training(teacher, folder, cache, data, with_test=parameters["phase"] == "confirm", host=host)
    PackRun(parameters["trials"], json.loads(parameters["configs"]), folder, host).run(training)


@final
@dataclass(frozen=True)
class Training:
    """Trains the trials of one pack with what this process has of their study.

    Args:
        teacher: The teacher's folder.
        folder: The study's folder of trials.
        cache: Where trials share what they need of the teacher.
        data: Fingerprint of the data that the study began with.
        with_test: Whether students are scored on the test split.
        host: Runs this process.
    """

    teacher: Folder
    folder: Folder
    cache: Path
    data: str
    with_test: bool
    host: Host

    def __call__(self, configs: dict[int, TrialConfig], report: Report) -> None:
        """Train them.

        Raises:
            DataError: The data are others here.
            StoreError: The teacher has gone, or a store does not work.
        """
        from kdstudy.trial import run_pack

        first = next(iter(configs.values()))
        require_data(first, self.data)
        run_pack(
            configs,
            report,
            teacher=opened_teacher(self.teacher),
            folder=self.folder,
            cache=self.cache,
            with_test=self.with_test,
            study_id=self.folder.name,
            at_safe_point=lambda: self.host.safe_point(more=True),
            rank_host=RankActors(self.teacher, self.data) if first.resources.ranks > 1 else None,
        )


class PackRun:
    """One pack of trials in this process: which of them go on, what is reported, and whose an error is.

    An exception is a result (``failed``, with its traceback): the study goes on and the process serves the next trial.
    A process whose GPU, memory or other rank gives out is Tune's to start again, as one that dies; its trials then go
    on from their checkpoints. Storage and node errors abort the study (resumable); they never fail a trial.

    Args:
        numbers: Of its trials.
        configs: Theirs, as written.
        folder: The study's folder of trials.
        host: Runs this process.
    """

    def __init__(self, numbers: Sequence[int], configs: Sequence[dict[str, Any]], folder: Folder, host: Host) -> None:
        self._numbers, self._configs, self._folder, self._host = numbers, configs, folder, host
        self._epochs = dict.fromkeys(numbers, 0)

    def run(self, train: Callable[[dict[int, TrialConfig], Report], None]) -> None:
        """Train those that are not over, and report how each ended."""
        import torch

        from kdstudy.training import RankLostError

        self._host.safe_point(more=True)
        try:
            written = zip(self._numbers, self._configs, strict=True)
            configs = {number: TrialConfig.from_json(config) for number, config in written if self._goes_on(number)}
            if configs:
                train(configs, self._report)
        except (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError, RankLostError):
            raise
        except (StoreError, ClusterError, DataError) as error:
            halt = f"node {platform.node()}: {error}"
            self._host.report({"epoch": max(self._epochs.values()), "record": None, "halt": halt})
        except Exception as error:  # noqa: BLE001  the trial boundary: whatever a plug-in raises is its trials' result
            self._fail(error)
        self._host.safe_point(more=False)

    def _goes_on(self, number: int) -> bool:
        return len(self._numbers) == 1 or not stop_requested(self._folder / str(number), self._host.pack)

    def _report(self, number: int, record: EpochRecord | None, result: TrialResult | None) -> bool:
        if record is not None:
            self._epochs[number] = record.epoch
        said: dict[str, Any] = {"number": number, "epoch": self._epochs[number], "record": record and record.to_json()}
        if record is not None and record.val is not None:
            said["val"] = record.val
        self._host.report(said | {"result": result and result.to_json()})
        return self._goes_on(number)

    def _fail(self, error: Exception) -> None:
        from kdstudy.trial import failure

        for number in filter(self._goes_on, self._numbers):
            self._report(number, None, failure(error, self._epochs[number]))


def opened_teacher(teacher: Folder) -> torch.nn.Module:
    """Open the teacher, which was there when the study began: if it is not now, the store does not work."""
    from kdstudy.trial import open_teacher

    try:
        return open_teacher(teacher)
    except ModelError as error:
        raise StoreError(f"{error}; check that the store is reachable and intact, then `kdstudy resume`") from error


def require_data(config: TrialConfig, fingerprint: str) -> None:
    """Refuse data that are not those the study began with: a node may have others under the same path."""
    from kdstudy.trial import dataset_of

    found = dataset_of(config.as_study, with_test=False, decoded=False).fingerprint  # loaded once per process
    if found != fingerprint:
        raise DataError(
            f"data: fingerprint {found[:16]}, but the study started with {fingerprint[:16]}; put the same "
            "files on this node"
        )
