"""Studies of a store, read from its record."""

from __future__ import annotations

import os

from kdstudy.api.comparison import Comparison
from kdstudy.api.places import Place, store_at
from kdstudy.api.study import Study
from kdstudy.errors import RecordError
from kdstudy.ledger import Ledger, StudySummary


def load_study(study_id: str = "latest", *, store: Place = None) -> Study:
    """Return a study of a store.

    Args:
        study_id: Its ID, a unique prefix of it, or ``latest``.
        store: Where it is kept.

    Raises:
        RecordError: There is none, or there are several.
        StoreError: There is no such store.
    """
    given = os.fspath(study_id)
    if given.endswith((".yaml", ".yml")):
        raise RecordError(f"load_study: takes the ID of a study, got the study file '{given}'; kdstudy.run runs a file")
    where = store_at(store)
    with Ledger.open(where.ledger_url) as ledger:
        return Study(ledger.resolve(given), where)


def studies(*, archived: bool = False, store: Place = None) -> tuple[StudySummary, ...]:
    """Return a line for each study of a store, the oldest first, as ``kdstudy list`` does.

    Args:
        archived: Whether archived ones are among them, as with ``--all``.
        store: Where they are kept.

    Raises:
        StoreError: There is no such store.
    """
    with Ledger.open(store_at(store).ledger_url) as ledger:
        ledger.require()
        return tuple(each for each in ledger.summaries() if archived or not each.archived)


def compare(*studies: Study | str, baseline: str | None = None, store: Place = None) -> Comparison:
    """Compare the arms of one or more studies of a store, as ``kdstudy compare`` does.

    Args:
        studies: Studies, or their IDs; none for the latest.
        baseline: As for `Study.compare`.
        store: Where they are kept.

    Raises:
        RecordError: A study does not exist, or has no arm of the baseline.
    """
    from kdstudy.analysis import compare as compare_arms

    ids = [study.id if isinstance(study, Study) else study for study in studies or ("latest",)]
    where = next((study.store for study in studies if isinstance(study, Study)), None) if store is None else None
    with Ledger.open((where or store_at(store)).ledger_url) as ledger:
        return Comparison(compare_arms(ledger, ids, baseline))
