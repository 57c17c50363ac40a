"""What the student learns from the teacher: one file per method, over `Transfer`."""

from kdstudy.data import Batch
from kdstudy.transfer.base import (
    EmptyMapError,
    MapTransfer,
    Observation,
    Temperature,
    Transfer,
    TransferContext,
    Weight,
)
from kdstudy.transfer.none import NoTransfer

__all__ = [
    "Batch",
    "EmptyMapError",
    "MapTransfer",
    "NoTransfer",
    "Observation",
    "Temperature",
    "Transfer",
    "TransferContext",
    "Weight",
]
