"""The ledger: the record of every study, trial and epoch, in SQLite or PostgreSQL.

Only the driver writes it, one transaction per change of state, so that whatever kills a process leaves a
record that can be read and continued.
"""

from kdstudy.ledger.lease import LEASE_SECONDS, Hold, Holder, keep_lease
from kdstudy.ledger.ledger import Ledger
from kdstudy.ledger.records import (
    StudyRecord,
    StudyStatus,
    StudySummary,
    TrialRecord,
    WarmStart,
    best_of,
    iso,
    new_study_id,
    utc_now,
)

__all__ = [
    "LEASE_SECONDS",
    "Hold",
    "Holder",
    "Ledger",
    "StudyRecord",
    "StudyStatus",
    "StudySummary",
    "TrialRecord",
    "WarmStart",
    "best_of",
    "iso",
    "keep_lease",
    "new_study_id",
    "utc_now",
]
