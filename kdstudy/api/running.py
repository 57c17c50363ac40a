"""Run a study, or find what is wrong with it first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdstudy.api.places import Place, store_at
from kdstudy.api.study import Study
from kdstudy.errors import KdstudyError, StudyError
from kdstudy.study import load_study, study_of

if TYPE_CHECKING:
    from kdstudy.api.callbacks import Callback, TrialCallback
    from kdstudy.cluster import Cluster

Definition = str | os.PathLike[str] | Mapping[str, Any]
"""What defines a study: the path of a study file, or a mapping of the same content."""


def run(  # noqa: PLR0913 - all but the first by name
    study: Definition,
    *,
    store: Place = None,
    address: str | None = None,
    warm_start: str | None = None,
    callbacks: Sequence[Callback | TrialCallback] = (),
    cluster: Cluster | None = None,
    progress: bool = True,
) -> Study:
    """Run a new study to its end, as ``kdstudy run`` does, and return it.

    A notebook shows a table of its progress; everywhere it is logged, to ``logging.getLogger("kdstudy")``. An
    interruption (Ctrl-C, a notebook's stop) leaves a record that ``load_study().resume()`` goes on from.

    Args:
        study: The study file's path, or a mapping of the same content.
        store: Where to keep it; created if missing.
        address: Ray cluster of which this machine is a node; None starts Ray here.
        warm_start: An earlier study of this store, from whose trials the samplers learn.
        callbacks: Told of its trials: see `Callback`.
        cluster: Where the work is done; None: Ray.
        progress: Whether a notebook shows the table.

    Raises:
        KdstudyError: It cannot be run here.
    """
    from kdstudy.api.callbacks import Telling
    from kdstudy.api.progress import shown_progress
    from kdstudy.runner import run_study

    where = store_at(store)
    read = study_of(study) if isinstance(study, Mapping) else load_study(Path(study))
    with shown_progress(where, wanted=progress) as shown:
        result = run_study(
            read,
            where,
            address=address,
            warm_start=warm_start,
            cluster=cluster,
            file=None if isinstance(study, Mapping) else Path(study),
            observers=[Telling(where, callbacks), *shown],
        )
    return Study(result.study.id, where)


def check(
    study: Definition, *, store: Place = None, address: str | None = None, corners: bool = False
) -> tuple[str, ...]:
    """Return what is wrong with a study, one line each, as ``kdstudy check`` tells it; () if nothing is.

    Nothing is trained, downloaded or written.

    Args:
        study: As for `run`, like the rest.
        store: Where it would be kept.
        address: Ray cluster.
        corners: Whether to train one batch of every arm at both ends of its ranges, too.
    """
    from kdstudy.runner import check_all

    where = "study" if isinstance(study, Mapping) else os.fspath(study)
    try:
        read = study_of(study) if isinstance(study, Mapping) else load_study(Path(study))
        check_all(read, where, address=address, folder=store_at(store).local, corners=corners)
    except StudyError as error:
        return error.problems
    except KdstudyError as error:
        return tuple(str(error).splitlines())
    return ()
