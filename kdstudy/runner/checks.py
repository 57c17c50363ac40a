"""What is looked at before a study is run: by `kdstudy check`, and by whoever is about to record it or to send it.

Nothing is trained, downloaded or written. The parts of a study are checked by `kdstudy.trial.CHECKS`; here stands what
depends on where it will run, and how all of it is told.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kdstudy.cluster import check_address, connected, local_cpus, room
from kdstudy.errors import StudyError
from kdstudy.plugins import PRUNERS, SAMPLERS
from kdstudy.study import Place, Problems, ResourcesConfig, Study, problems_of

if TYPE_CHECKING:
    from kdstudy.trial import Inspection

log = logging.getLogger(__name__)

ELSEWHERE = ("data", "teacher.path")
"""What nodes of a cluster may have where this machine has not."""


def check_study(study: Study, where: str, *, address: str | None = None, prepared: bool = False) -> Inspection:
    """Find all that can be found wrong with a study without training, from the data set to the options of each arm.

    Args:
        study: A valid study.
        where: What messages call it: the file, for one that was just read.
        address: Ray cluster on whose nodes it will run: then it is no fault if this machine lacks the data or the
            teacher's file. None: it runs here.
        prepared: Whether the store has its teacher already, whose file is then not needed.

    Returns:
        What was built of it. What could not be looked at here is logged.

    Raises:
        StudyError: Something is wrong; one line each.
    """
    from kdstudy.trial import inspect_parts

    configs = [config for _, config in study.corners()] + study.student_corners()
    found = inspect_parts(configs, teacher_file=not prepared)
    check_search(study, found)
    problems = problems_of(study, where)
    if address is None:
        check_machine(study.resources, problems)
    if found.awaited is not None:
        log.info(
            f"note: the data are not here yet and will be downloaded; what needs them is checked then: {found.awaited}"
        )
    for fault in found.faults:
        path, message = fault.told()
        place = _place(study, path)
        if address is not None and place.name.startswith(ELSEWHERE):
            log.info(f"note: {place.name}: not on this machine ({message}); looked at again on the cluster")
        else:
            problems.add(place, message, cause=fault.error)
    if problems:
        raise StudyError(problems.told()) from problems.cause
    return found


def check_all(
    study: Study, where: str, *, address: str | None = None, folder: Path, corners: bool = False
) -> Inspection:
    """Do all that `kdstudy check` does: `check_study`, then `check_cluster` and the corners where they are asked for.

    Args:
        study: As for `check_study`, like the next two.
        where: What messages call it.
        address: Ray cluster, looked at too; None: it runs here.
        folder: The driver's own, for Ray.
        corners: Whether to train one batch of every arm at both ends of its space.

    Raises:
        KdstudyError: Something is wrong.
    """
    found = check_study(study, where, address=address)
    if address is not None:
        check_cluster(study, where, address, folder)
    if corners:
        from kdstudy.trial import run_corners

        run_corners(study)
    return found


def require_runnable(study: Study, where: str, *, address: str | None, prepared: bool = False) -> None:
    """See that nothing is wrong with a study that is about to be recorded, or to go on; keep nothing of it in memory.

    Args:
        study: As for `check_study`, like the rest.
        where: What messages call it.
        address: Ray cluster.
        prepared: Whether the store has its teacher.

    Raises:
        StudyError: Something is wrong.
    """
    check_study(study, where, address=address, prepared=prepared)
    from kdstudy.data import forget_data

    forget_data()


def check_search(study: Study, found: Inspection) -> None:
    """Have sampler and pruner take their options."""
    for path, registry in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        spec = getattr(study.search, path)
        with found.noting(f"search.{path}", spec):
            registry.load(spec.name)(**spec.options)


def check_machine(resources: ResourcesConfig, problems: Problems) -> None:
    """Note what a trial takes and this machine has not."""
    place = Place().key("resources")
    cpus, ranks = resources.cpus * resources.ranks, resources.ranks
    of_ranks = f" ({ranks} ranks)" if ranks > 1 else ""
    if cpus > 1 and cpus > (cores := local_cpus()):
        key = "cpus" if resources.cpus > cores else "ranks"
        problems.add(
            place.key(key if ranks > 1 else "cpus"),
            f"this machine has {cores} for all trials, got {cpus} for one{of_ranks}; lower it",
        )
    if resources.gpus > 0:
        import torch

        if resources.all_gpus > (cards := torch.cuda.device_count()):
            problems.add(
                place.key("gpus"),
                f"this machine has {cards} that torch can use, got {resources.all_gpus:g} for one trial{of_ranks}; "
                "lower it (0 trains on the CPU)",
            )


def check_cluster(study: Study, where: str, address: str, folder: Path) -> None:
    """See that a node of the running cluster holds a trial now; `run` waits a while for one to join.

    Raises:
        ClusterError: No such cluster.
        StudyError: No node does.
    """
    check_address(address)
    with connected(address, folder):
        held = room(study.resources.cpus, study.resources.gpus, study.resources.ranks)
    if not held:
        problems = problems_of(study, where)
        ranks = f" for each of {study.resources.ranks} ranks" if study.resources.ranks > 1 else ""
        wanted = f"{study.resources.cpus} CPUs and {study.resources.gpus:g} GPUs{ranks}"
        problems.add(
            Place().key("resources"),
            f"no node at {address} has what one trial takes, got {wanted}; lower it, or add one",
        )
        raise StudyError(problems.told())


def _place(study: Study, path: str) -> Place:
    """Return a path's place; that of a transfer or policy is its item in the list."""
    steps: list[str | int] = [*path.split(".")]
    if path.startswith("arms."):
        _, kind, called = path.split(".", 2)
        ids = [arm.id for arm in study.arms]
        names = dict.fromkeys(each.transfer if kind == "transfers" else each.policy for each in ids)
        steps = ["arms", kind, list(names).index(called)]
    return Place(tuple(steps), path)
