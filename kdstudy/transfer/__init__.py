"""What the student learns from the teacher: one file per method, over `Transfer`."""

from kdstudy.transfer.base import Batch, EmptyMapError, MapTransfer, Observation, Transfer, TransferContext
from kdstudy.transfer.none import NoTransfer

__all__ = [
    "Batch",
    "EmptyMapError",
    "MapTransfer",
    "NoTransfer",
    "Observation",
    "Transfer",
    "TransferContext",
]
