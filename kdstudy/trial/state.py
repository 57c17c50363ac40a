"""What a trial's checkpoint holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdstudy.errors import StoreError
from kdstudy.results import EpochRecord

if TYPE_CHECKING:
    from kdstudy.trial.run import TrialRun

log = logging.getLogger(__name__)


def state_of(trial: TrialRun) -> dict[str, Any]:
    """Return it after an epoch."""
    ranks = trial.ranks.size
    return {
        "student": trial.student.module.state_dict(),
        "optimizer": trial.distiller.optimizer.state_dict(),
        "transfer": trial.distiller.transfer.state_dict(),
        "policy": trial.policy.state_dict(),
        "history": [record.to_json() for record in trial.history],
        "trouble": trial.trouble,
        **({"ranks": ranks} if ranks > 1 else {}),
    }


def load_state(trial: TrialRun, epoch: int, state: Mapping[str, Any]) -> None:
    """Continue a trial from what `state_of` gave after ``epoch``.

    Raises:
        StoreError: It is another trial's.
    """
    try:
        trial.student.module.load_state_dict(state["student"])
        trial.distiller.load_optimizer(state["optimizer"])
        trial.distiller.transfer.load_state_dict(state["transfer"])
        trial.policy.load_state_dict(state["policy"])
        trial.history = [EpochRecord.from_json(record) for record in state["history"]]
        trial.trouble = state.get("trouble")  # none in older ones
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        told = f"{trial.folder}: the checkpoint of epoch {epoch} is not this trial's ({type(error).__name__})"
        raise StoreError(f"{told}; delete its folder of checkpoints to begin again") from error
    began = state.get("ranks", 1)
    if trial.ranks.first and began != trial.ranks.size:
        log.warning(
            f"{trial.folder}: begun by {began} rank(s), continued by {trial.ranks.size}: equal to rounding, not bit by "
            "bit",
            extra={"plain": True},
        )


def agreed(trial: TrialRun, record: EpochRecord) -> EpochRecord:
    """Return the first rank's record of an epoch, and continue with its policy: ranks never disagree on a rate.

    Args:
        trial: On one of several ranks, after the epoch.
        record: What this rank made of it; only the first has measured the layers.
    """
    told: dict[str, Any] = trial.ranks.from_first(
        lambda: {"record": record.to_json(), "trouble": trial.trouble, "policy": dict(trial.policy.state_dict())}
    )
    if trial.ranks.first:
        return record
    trial.trouble = told["trouble"]
    trial.policy.load_state_dict(told["policy"])
    return EpochRecord.from_json(told["record"])
