"""What everything that is done for one study needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from kdstudy.ledger import Ledger, StudyRecord, capture_environment
from kdstudy.plugins import places_of, source_hashes
from kdstudy.storage import Store
from kdstudy.study import Study


@final
@dataclass(frozen=True)
class OpenStudy:
    """A study that is being driven.

    Args:
        study: What is to be run.
        id: Its ID in the ledger.
        ledger: Its record.
        store: Its files.
        seeds: Confirmation seeds of each search in all.
        searches: Searches in all.
    """

    study: Study
    id: str
    ledger: Ledger
    store: Store
    seeds: int
    searches: int

    @property
    def record(self) -> StudyRecord:
        """The study as the ledger has it now."""
        return self.ledger.study(self.id)


def new_record(study: Study) -> StudyRecord:
    """Return the record of a new study, with what its user's own modules are, and where Python does not find them."""
    names = [name for _, name in study.plugins()]
    own = {"plugins": places_of(names), "plugin_sources": source_hashes(names)}
    return StudyRecord.of(study, {**capture_environment(), **{key: value for key, value in own.items() if value}})
