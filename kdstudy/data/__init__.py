"""Data sets: one file each that gives a `Source`; splits, batches and fingerprints are the same for all."""

from kdstudy.data.batches import (
    Batch,
    batches,
    count_views,
    eval_batches,
    num_batches,
    try_augmentation,
    view_batches,
    views_drawn,
)
from kdstudy.data.dataset import Augmentation, Dataset, Source, Split
from kdstudy.data.describe import class_counts, data_lines, shortages
from kdstudy.data.doubles import doubles
from kdstudy.data.hashes import tensors_sha256
from kdstudy.data.load import forget_data, load_data, verify_images
from kdstudy.data.own import TrainTest
from kdstudy.data.torchvision_import import import_torchvision

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "Source",
    "Split",
    "TrainTest",
    "batches",
    "class_counts",
    "count_views",
    "data_lines",
    "doubles",
    "eval_batches",
    "forget_data",
    "import_torchvision",
    "load_data",
    "num_batches",
    "shortages",
    "tensors_sha256",
    "try_augmentation",
    "verify_images",
    "view_batches",
    "views_drawn",
]
