"""MLflow: every study and trial as a run, published from the ledger, which remains the record.

Importing this package is cheap: mlflow is imported when the first `Tracker` is made.
"""

from kdstudy.tracking.client import UnavailableError, mlflow_environment
from kdstudy.tracking.health import check_access
from kdstudy.tracking.publisher import Publisher
from kdstudy.tracking.sync import sync_study
from kdstudy.tracking.tracker import Tracker
from kdstudy.tracking.ui import serve

__all__ = [
    "Publisher",
    "Tracker",
    "UnavailableError",
    "check_access",
    "mlflow_environment",
    "serve",
    "sync_study",
]
