"""A cluster that is this process: it trains one pack after another, for real, without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from kdstudy.cluster import EpochFinished, ImagesToVerify, PackJob, PackSource, TrialEnded, TrialEvent, TrialStarted
from kdstudy.cluster.prepare import prepare_in_worker, score_teacher_in_worker
from kdstudy.cluster.worker import Host, PackRun, Training
from kdstudy.errors import StoreError
from kdstudy.ledger import TrialRecord
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import Folder
from kdstudy.study import ResourcesConfig, TrialConfig


class _DriversError(BaseException):
    """Carries what the driver raised past the trial: there is no process between the two that would."""


class InProcess:
    """Implements `kdstudy.cluster.Cluster`.

    Args:
        before: Called with each event before it is reported; what it raises ends the work, as a lost cluster would.
    """

    def __init__(self, before: Callable[[TrialEvent], None] = lambda _event: None) -> None:
        self._before = before

    def connected(
        self, address: str | None, folder: Path, lost: Callable[[Exception], None]
    ) -> AbstractContextManager[None]:
        return nullcontext()

    def room(self, address: str | None, resources: ResourcesConfig, store: Folder, identity: str) -> int:
        return 1

    def prepare_teacher(
        self,
        configs: Sequence[TrialConfig],
        teachers: Folder,
        key: str | None,
        resources: ResourcesConfig,
        images: ImagesToVerify,
        students: Sequence[TrialConfig] = (),
    ) -> dict[str, Any]:
        trials, others = ([config.to_json() for config in each] for each in (configs, students))
        return prepare_in_worker(trials, teachers, key, images, others)

    def score_teacher(
        self, config: TrialConfig, teachers: Folder, key: str, resources: ResourcesConfig
    ) -> float | None:
        return score_teacher_in_worker(config.to_json(), teachers, key)

    def run_packs(self, job: PackJob, source: PackSource, stopping: Callable[[], bool]) -> None:
        while len(source) and not stopping():
            pack = source.next_pack()
            if not pack:
                time.sleep(0.01)
                continue
            try:
                self._train(job, pack, source)
            except _DriversError as ended:
                assert ended.__cause__ is not None
                raise ended.__cause__ from None

    def _train(self, job: PackJob, pack: Sequence[TrialRecord], source: PackSource) -> None:
        def notify(event: TrialEvent) -> None:
            try:
                self._before(event)
                source.notify(event)
            except Exception as error:
                raise _DriversError from error

        def report(said: dict[str, Any]) -> None:
            if said.get("halt") is not None:
                raise _DriversError from StoreError(said["halt"])
            if said["record"] is not None:
                notify(EpochFinished(said["number"], EpochRecord.from_json(said["record"])))
            if said["result"] is not None:
                notify(TrialEnded(said["number"], TrialResult.from_json(said["result"])))

        for trial in pack:
            notify(TrialStarted(trial.number))
        host = Host("-".join(str(trial.number) for trial in pack), report, lambda *, more: None)
        with_test = pack[0].phase == "confirm"
        training = Training(job.teacher, job.folder, job.cache, job.data, with_test=with_test, host=host)
        numbers, configs = [trial.number for trial in pack], [trial.config for trial in pack]
        PackRun(numbers, configs, job.folder, host).run(training)
