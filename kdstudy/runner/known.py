"""What the record already holds of what is asked for: a study that is over, or one of the same file."""

from __future__ import annotations

import logging

from kdstudy.ledger import Ended, Ledger, StudyRecord
from kdstudy.study import MAX_SEARCHES

log = logging.getLogger(__name__)

ADVISED_SEARCHES = 4
"""What another round of a study is advised to have, where that many are left."""


def searches_left(record: StudyRecord) -> int:
    """Return how many further searches of a study to advise: none beyond `confirm.at_most`, where the file has it."""
    study = record.study()
    most = min(study.confirm.at_most or MAX_SEARCHES, MAX_SEARCHES)
    return max(0, min(ADVISED_SEARCHES, most - record.asked(study)[0]))


def tell_finished(record: StudyRecord, ledger: Ledger) -> None:
    """Say that nothing of a study is left to run, since when, and what can be done with it."""
    stages = [trial.stage for trial in ledger.trials(record.id)]
    last = max((stage.finished for stage in stages if isinstance(stage, Ended)), default=None)
    since = "" if last is None else f" (its last trial ended {last:%Y-%m-%d %H:%M} UTC)"
    log.info(f"study {record.id} is finished{since}: nothing is left to run; {_what_to_do(record)}")


def tell_of_twin(text: str, ledger: Ledger) -> None:
    """Say that the record has a study of the very file that is about to be run: the newest, and what to do with it."""
    same = ledger.of_text(text)
    if not same:
        return
    record = ledger.study(same[-1])
    goes_on = {
        "finished": _what_to_do(record),
        "running": f"`kdstudy show {record.id} --watch` follows it",
    }.get(record.status, f"`kdstudy resume {record.id}` goes on with it")
    log.info(f"note: study {record.id} of the same file is {record.status}, and this begins another; {goes_on}")


def _what_to_do(record: StudyRecord) -> str:
    """Return what can be done with a finished study."""
    left = searches_left(record)
    adds = f"confirm {record.id} --searches {left}" if left else f"confirm {record.id} --seeds 2"
    return f"`kdstudy compare {record.id}` shows what it found, `kdstudy {adds}` adds to it"
