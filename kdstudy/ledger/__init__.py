"""The ledger: the record of every study, trial and epoch, in SQLite or PostgreSQL.

Only the driver writes it, in one transaction per change of state, so that whatever kills a process leaves a record that
can be read and continued. It is not an Optuna storage: that keeps one number per step of a trial and knows neither
confirmation runs, teachers, layers and what MLflow has of a trial, nor a lease on a study. Alembic waits for the first
change of a column; so far the schema has only gained tables, which are created when they are first needed.
"""

from kdstudy.ledger.environment import capture_environment, environment_differences, git_state, ship_git_state
from kdstudy.ledger.guesses import Guess
from kdstudy.ledger.lease import LEASE_SECONDS, Lease, LeaseOwner, keep_lease
from kdstudy.ledger.ledger import Ledger
from kdstudy.ledger.parts import DatasetInfo, TeacherInfo, TrackingRef
from kdstudy.ledger.records import StudyRecord, StudySummary, WarmStart, iso, new_study_id, utc_now
from kdstudy.ledger.stages import Ended, Queued, Running
from kdstudy.ledger.trial_record import Publication, TrialRecord, best_of

__all__ = [
    "LEASE_SECONDS",
    "DatasetInfo",
    "Ended",
    "Guess",
    "Lease",
    "LeaseOwner",
    "Ledger",
    "Publication",
    "Queued",
    "Running",
    "StudyRecord",
    "StudySummary",
    "TeacherInfo",
    "TrackingRef",
    "TrialRecord",
    "WarmStart",
    "best_of",
    "capture_environment",
    "environment_differences",
    "git_state",
    "iso",
    "keep_lease",
    "new_study_id",
    "ship_git_state",
    "utc_now",
]
