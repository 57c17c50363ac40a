"""Addresses of a study's pages in MLflow's UI."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from kdstudy.ledger import StudyRecord, TrialRecord

UI_ADDRESS = "http://127.0.0.1:5000"
"""Where ``kdstudy ui`` shows a local store, unless told otherwise."""
_TRAINING = "workflowType=machine_learning"
"""Without it MLflow opens a page of another kind, which has no runs on it."""


@dataclass(frozen=True)
class MlflowLinks:
    """Links to the runs of one study; None where there is nothing to link to.

    Args:
        base: Address of the UI, without a slash at the end; None if the study was never published.
        experiment: The experiment's ID.
        run: The study's own run.
        local: Whether the UI must be started first (``kdstudy ui``).
    """

    base: str | None
    experiment: str = ""
    run: str = ""
    local: bool = False

    @classmethod
    def of(cls, record: StudyRecord) -> MlflowLinks:
        """Return the links of a study, as far as it was published."""
        tracking = record.tracking
        uri = tracking.uri or ""
        scheme = urllib.parse.urlsplit(uri).scheme
        if scheme not in ("http", "https", "sqlite"):  # nothing else may become a link
            return cls(None)
        local = scheme == "sqlite"
        base = UI_ADDRESS if local else uri.rstrip("/")
        return cls(base, str(tracking.experiment_id), str(tracking.run_id), local)

    def trial(self, trial: TrialRecord) -> str | None:
        """Return the address of a trial's run."""
        return self._run(trial.published.run_id) if trial.published.run_id else None

    @property
    def study(self) -> str | None:
        """The address of the study's own run."""
        return self._run(self.run)

    @property
    def runs(self) -> str | None:
        """The address of the list of runs."""
        if self.base is None:
            return None
        return f"{self.base}/#/experiments/{_quoted(self.experiment)}/runs?{_TRAINING}"

    @property
    def experiments(self) -> str | None:
        """The address of the list of experiments, one for each name of a study."""
        return None if self.base is None else f"{self.base}/#/experiments?{_TRAINING}"

    def _run(self, run_id: str) -> str | None:
        if self.base is None:
            return None
        return f"{self.base}/#/experiments/{_quoted(self.experiment)}/runs/{_quoted(run_id)}"


def _quoted(part: str) -> str:
    return urllib.parse.quote(part, safe="")
