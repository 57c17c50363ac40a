"""What runs in Ray's processes: one trial, or the teacher. Workers read neither ledger nor MLflow; they only report.

A worker serves one trial after another, so everything that must not leak between them is set inside the trial.
"""

from __future__ import annotations

import json
import platform
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdstudy.cluster.pack_signals import stop_requested
from kdstudy.errors import ClusterError, DataError, KdstudyError, ModelError, StoreError
from kdstudy.plugins import TRANSFERS
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import Folder
from kdstudy.study import TrialConfig

if TYPE_CHECKING:
    import torch


def run_in_worker(parameters: dict[str, Any], *, teacher: Folder, folder: Folder, cache: Path, data: str) -> None:
    """Run one trial, or a pack of them, under Ray Tune: Tune's trainable.

    An exception is a result (``failed``, with its traceback): the study goes on and the process serves the next trial.
    A process that dies, or whose GPU or memory gives out, is Tune's to start again; its trials then go on from their
    checkpoints. A store or node that does not work is nobody's result: it halts the study, to be resumed.

    Args:
        parameters: Tune's parameters: the values that fill the holes, and what `parameters_of` adds.
        teacher: The teacher's folder.
        folder: The study's folder of trials.
        cache: Where, on each node, the study's trials share what they need of the teacher.
        data: Fingerprint of the data that the study began with.
    """
    import torch
    from ray import tune

    from kdstudy.cluster.preemption import safe_point
    from kdstudy.trial import failure, run_pack

    numbers, pack = parameters["trials"], tune.get_context().get_trial_id()
    epochs = dict.fromkeys(numbers, 0)
    safe_point(more=True)

    def goes_on(number: int) -> bool:
        return len(numbers) == 1 or not stop_requested(folder / str(number), pack)

    def report(number: int, record: EpochRecord | None, result: TrialResult | None) -> bool:
        epochs[number] = epochs[number] if record is None else record.epoch
        metrics: dict[str, Any] = {"number": number, "epoch": epochs[number], "record": record and record.to_json()}
        if record is not None and record.val is not None:
            metrics["val"] = record.val
        tune.report(metrics | {"result": result and result.to_json()})
        return goes_on(number)

    try:
        written = zip(numbers, json.loads(parameters["configs"]), strict=True)
        configs = {number: TrialConfig.from_json(config) for number, config in written if goes_on(number)}
        for config in [*configs.values()][:1]:
            _require_data(config, data)
        if configs:
            run_pack(
                configs,
                report,
                teacher=_prepared(teacher),
                folder=folder,
                cache=cache,
                with_test=parameters["phase"] == "confirm",
                at_safe_point=lambda: safe_point(more=True),
            )
    except (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError):
        raise
    except (StoreError, ClusterError, DataError) as error:
        tune.report({"epoch": max(epochs.values()), "record": None, "halt": f"node {platform.node()}: {error}"})
    except Exception as error:  # noqa: BLE001  the trial boundary: whatever a plug-in raises is its trials' result
        for number in filter(goes_on, numbers):
            report(number, None, failure(error, epochs[number]))
    safe_point(more=False)


def _prepared(teacher: Folder) -> torch.nn.Module:
    """Open the teacher, which was there when the study began: if it is not now, the store does not work."""
    from kdstudy.trial import open_teacher

    try:
        return open_teacher(teacher)
    except ModelError as error:
        raise StoreError(f"{error}; see that the store is there and whole, then `kdstudy resume`") from error


def _require_data(config: TrialConfig, fingerprint: str) -> None:
    """Refuse data that are not those the study began with: a node may have others under the same path."""
    from kdstudy.trial import dataset_of

    found = dataset_of(config, with_test=False).fingerprint  # loaded once a process
    if found != fingerprint:
        raise DataError(
            f"data: fingerprint {found[:16]}, but the study began with {fingerprint[:16]}; give this node the same "
            "files"
        )


def prepare_in_worker(configs: list[dict[str, Any]], teachers: Folder, key: str | None) -> dict[str, Any]:
    """Prepare the study's teacher on the cluster, and build every arm's networks and methods once, as a Ray task.

    Args:
        configs: One trial of each arm, as `kdstudy.search.cache_plan.measured` has them.
        teachers: The store's folder of teachers.
        key: Of the teacher that the study began with; None for a new study.

    Returns:
        The ``teacher``'s and the ``dataset``'s descriptions, what each arm ``keeps`` of the teacher's outputs (as
        `kdstudy.search.cache_plan.Keep`, None for nothing), and whether its trials are ``taught`` by it; or under
        ``error`` what the user must put right.
    """
    from kdstudy.data import count_views
    from kdstudy.trial import dataset_of, describe_dataset, find_teacher, open_teacher, preflight, teacher_folder

    trials = [TrialConfig.from_json(config) for config in configs]
    try:
        data = dataset_of(trials[0], with_test=False)
        views = count_views(data.augmentation) if trials[0].cache.mode == "all_views" else 0
        folder = teacher_folder(trials[0], teachers, key)
        teacher = find_teacher(folder)
        assert teacher is not None
        needs = [preflight(trial, open_teacher(folder)) for trial in trials]
    except KdstudyError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001  a plug-in of the user's own may raise anything
        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    keeps = [
        each.file_bytes
        and {
            "file_bytes": each.file_bytes,
            "indifferent": sorted(TRANSFERS.load(trial.transfer.name).cache_neutral_options),
            "views": views,
        }
        for trial, each in zip(trials, needs, strict=True)
    ]
    return {
        "teacher": teacher.to_json(),
        "dataset": describe_dataset(data),
        "keeps": keeps,
        "taught": [each.teacher for each in needs],
    }


def score_teacher_in_worker(config: dict[str, Any], teachers: Folder, key: str) -> float:
    """Return the teacher's test score, as a Ray task."""
    from kdstudy.trial import score_teacher

    return score_teacher(TrialConfig.from_json(config), teachers, key)
