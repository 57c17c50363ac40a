"""What the student learns from the teacher: one file per method, over `Transfer`."""

from kdstudy.data import Batch
from kdstudy.transfer.base import (
    Observation,
    Temperature,
    Transfer,
    TransferContext,
    Weight,
    splits_over_ranks,
)
from kdstudy.transfer.map_transfer import EmptyMapError, MapTransfer
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
    "splits_over_ranks",
]
