"""A trial as a caller in Python sees it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.results import EpochRecord, Phase, State, TrialDocument
from kdstudy.storage import Store, node_folder

if TYPE_CHECKING:
    from torch import nn

    from kdstudy.analysis import Reproduction
    from kdstudy.models import Format

log = logging.getLogger(__name__)


@final
class Trial:
    """A trial of a study, as it was when it was read; it gets new numbers by reading it again.

    Args:
        record: What the ledger holds of it.
        store: Where its files are.
    """

    def __init__(self, record: TrialRecord, store: Store) -> None:
        self.record, self._store = record, store

    def __repr__(self) -> str:
        val = "" if self.val is None else f", val {self.val:.4f}"
        return f"<Trial {self.number} of {self.record.study_id}: {self.phase}, {self.arm}, {self.state}{val}>"

    @property
    def number(self) -> int:
        """Its number in its study."""
        return self.record.number

    @property
    def arm(self) -> str:
        """Its arm, ``transfer/policy``."""
        return self.record.arm

    @property
    def search(self) -> int:
        """Which of the study's searches it belongs to, from 0."""
        return self.record.search

    @property
    def phase(self) -> Phase:
        """``search`` or ``confirm``."""
        return self.record.phase

    @property
    def state(self) -> State:
        """``queued``, ``running``, ``completed``, ``stopped``, ``diverged`` or ``failed``."""
        return self.record.state

    @property
    def values(self) -> dict[str, Any]:
        """What filled the ranges of the study file, by dotted path; Optuna calls them params."""
        return self.record.values

    @property
    def val(self) -> float | None:
        """Validation score of the last epoch, in [0, 1], once it has ended."""
        return self.record.val

    @property
    def test(self) -> float | None:
        """Test score of the last epoch, in [0, 1]; of confirmation only."""
        return self.record.test

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration, every value filled in, as plain values."""
        return self.record.config

    @property
    def epochs(self) -> tuple[EpochRecord, ...]:
        """Its epochs so far, in order."""
        with Ledger.open(self._store.ledger_url) as ledger:
            return ledger.epochs(self.record.study_id, self.number)

    def to_json(self) -> TrialDocument:
        """Return the trial as ``kdstudy show --json`` prints it."""
        return self.record.to_json()

    def to_yaml(self) -> str:
        """Return the trial as a study file without ranges, as ``kdstudy show --trial N --yaml`` prints it."""
        from kdstudy.study import TrialConfig

        return TrialConfig.from_json(self.config).to_yaml()

    def reproduce(
        self, *, tolerance: float | None = None, listen: Callable[[EpochRecord], None] = lambda _: None
    ) -> Reproduction:
        """Run the trial again in this process, and compare it with the record epoch by epoch.

        Args:
            tolerance: Largest difference of any number that is ``within_tolerance``; None for 1e-3.
            listen: Called with each epoch's record.

        Raises:
            RecordError: It has no result to compare with.
        """
        from kdstudy.analysis import reproduce_trial

        with Ledger.open(self._store.ledger_url) as ledger:
            return reproduce_trial(ledger, self._store, self.record, tolerance=tolerance, listen=listen)

    def load_student(self) -> nn.Module:
        """Return its trained student, on the CPU and in eval mode: images in [0, 1] to logits of its ``class_names``.

        Raises:
            RecordError: It has not completed.
            ModelError: Its files are missing or damaged, or name a network of your own that was not allowed.
        """
        from kdstudy.models import load_student

        return load_student(self._student())

    def export(self, path: str | os.PathLike[str], form: Format = "safetensors") -> Path:
        """Write its student for another program; what is there is replaced. Changed code of plug-ins is logged.

        Args:
            path: Where to.
            form: ``safetensors`` (a folder for `kdstudy.load_student`), ``torch`` (torch.export) or ``onnx``.

        Raises:
            RecordError: It has not completed.
        """
        from kdstudy.analysis import code_told, take_away

        with Ledger.open(self._store.ledger_url) as ledger:
            study = ledger.study(self.record.study_id)
        for each in take_away(study, self.record, self._student(), Path(path), form):
            log.warning(code_told(each))
        return Path(path)

    def _student(self) -> Path:
        from kdstudy.analysis import require_student

        require_student(self.record)
        return (self._store.trial(self.record.study_id, self.number) / "student").on_disk(node_folder())
