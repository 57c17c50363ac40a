"""The errors a user can cause. Everything else keeps its traceback.

Tree::

    KdstudyError            exit code 1, printed as one line per problem, no traceback
    ├── StudyError          the study file is wrong; carries every problem found
    ├── PluginError         a named plug-in does not exist, or does not take these options
    ├── DataError           a data set is missing, damaged or too small for what is asked
    ├── ModelError          networks that cannot be built, loaded or matched layer by layer
    ├── MapError            a transfer map that cannot be computed for these networks
    ├── StoreError          the store, ledger or tracking server cannot be used
    ├── RecordError         no such study or trial, or it cannot serve the request
    ├── ClusterError        no such cluster, or it cannot run the study
    └── LoopError           a training loop of one's own, which calls a `Distillation` in a way that cannot be right

A message reads ``where: what is wrong, what was got; what to do``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class KdstudyError(Exception):
    """Something the user can put right; the command line prints it without a traceback."""


class StudyError(KdstudyError):
    """A study file that cannot be run.

    Args:
        problems: One line each, in file order; all problems of the file at once.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class PluginError(KdstudyError):
    """A plug-in name or option that does not exist."""


class DataError(KdstudyError):
    """A data set that is missing, damaged, or too small for the request."""


class ModelError(KdstudyError):
    """A network that cannot be built, loaded, or matched with its partner."""


class MapError(KdstudyError):
    """A transfer map that cannot be computed for these networks."""


class StoreError(KdstudyError):
    """The store, the ledger or the tracking server cannot be used."""


class RecordError(KdstudyError):
    """A study or trial that does not exist, or cannot serve the request."""


class ClusterError(KdstudyError):
    """A cluster that cannot be reached, or cannot run the study."""


class LoopError(KdstudyError):
    """A training loop of one's own that calls `kdstudy.distill.Distillation` in a way that cannot be right."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to do about an unknown name, to end a message: take the nearest of those known, or one of all."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"choose from {', '.join(names)}" if names else "remove it: there are none"
