"""The published view: every study and trial as an MLflow run. The record itself is the ledger.

Importing this package is cheap: mlflow is imported when the first `Tracker` is made.
"""

from kdstudy.tracking.publisher import Publisher
from kdstudy.tracking.tracker import Tracker

__all__ = ["Publisher", "Tracker"]
