"""kdstudy: hyper-parameter studies of knowledge distillation with layer-wise learning rates."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.api import Callback, Comparison, Study, Trial, check, compare, load_study, run, studies
    from kdstudy.cli import schema
    from kdstudy.errors import KdstudyError
    from kdstudy.models import load_student
    from kdstudy.plugins import allow_plugins
    from kdstudy.storage import Store
    from kdstudy.study import TrialConfig
    from kdstudy.trial import run_pack, run_trial

__version__ = "0.1.0"

# A library says nothing unless whoever uses it asks for its log.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "Callback",
    "Comparison",
    "KdstudyError",
    "Store",
    "Study",
    "Trial",
    "TrialConfig",
    "__version__",
    "allow_plugins",
    "check",
    "compare",
    "load_student",
    "load_study",
    "run",
    "run_pack",
    "run_trial",
    "schema",
    "studies",
]

# ``import kdstudy`` must not pay for torch.
_load = lazy_names(
    __name__,
    {
        "Callback": "kdstudy.api",
        "Comparison": "kdstudy.api",
        "KdstudyError": "kdstudy.errors",
        "Store": "kdstudy.storage",
        "Study": "kdstudy.api",
        "Trial": "kdstudy.api",
        "TrialConfig": "kdstudy.study",
        "allow_plugins": "kdstudy.plugins",
        "check": "kdstudy.api",
        "compare": "kdstudy.api",
        "load_student": "kdstudy.models",
        "load_study": "kdstudy.api",
        "run": "kdstudy.api",
        "run_pack": "kdstudy.trial",
        "run_trial": "kdstudy.trial",
        "schema": "kdstudy.cli",
        "studies": "kdstudy.api",
    },
)


def __getattr__(name: str) -> Any:
    if name == "schemas":
        from kdstudy.cli import schemas

        message = "kdstudy.schemas.schema is now kdstudy.schema; the old name goes with the next minor release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return schemas
    return _load(name)
