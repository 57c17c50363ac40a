"""Networks: one factory function each, built and normalised by `build_model`; kept, opened and exported."""

from kdstudy.models.checkpoints import fit_weights, read_file, read_weights
from kdstudy.models.export import Format, export_student
from kdstudy.models.factory import build_model
from kdstudy.models.features import Network, Output, trace
from kdstudy.models.saved import load_student, save_student

__all__ = [
    "Format",
    "Network",
    "Output",
    "build_model",
    "export_student",
    "fit_weights",
    "load_student",
    "read_file",
    "read_weights",
    "save_student",
    "trace",
]
