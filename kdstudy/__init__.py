"""kdstudy: hyper-parameter studies of knowledge distillation with layer-wise learning rates."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from kdstudy.plugins import lazy_names

if TYPE_CHECKING:
    from kdstudy.cli import schema
    from kdstudy.models import load_student
    from kdstudy.plugins import allow_plugins
    from kdstudy.runner import run_study
    from kdstudy.study import Study, TrialConfig, load_study
    from kdstudy.trial import run_pack, run_trial

__version__ = "0.1.0"

# A library says nothing unless whoever uses it asks for its log.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "Study",
    "TrialConfig",
    "__version__",
    "allow_plugins",
    "load_student",
    "load_study",
    "run_pack",
    "run_study",
    "run_trial",
    "schema",
]

# ``import kdstudy`` must not pay for torch.
_load = lazy_names(
    __name__,
    {
        "Study": "kdstudy.study",
        "TrialConfig": "kdstudy.study",
        "allow_plugins": "kdstudy.plugins",
        "load_student": "kdstudy.models",
        "load_study": "kdstudy.study",
        "run_pack": "kdstudy.trial",
        "run_study": "kdstudy.runner",
        "run_trial": "kdstudy.trial",
        "schema": "kdstudy.cli",
    },
)


def __getattr__(name: str) -> Any:
    if name == "schemas":
        from kdstudy.cli import schemas

        message = "kdstudy.schemas.schema is now kdstudy.schema; the old name goes with the next minor release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return schemas
    return _load(name)
