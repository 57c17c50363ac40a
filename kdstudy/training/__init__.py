"""One distillation run: the loop, its random streams, schedules, probe, evaluation and checkpoints (torch only)."""

from kdstudy.training.checkpoint import CheckpointFolder, weights_sha256
from kdstudy.training.distiller import Distiller, SgdSettings, drained
from kdstudy.training.evaluate import evaluate
from kdstudy.training.numerics import choose_device, describe_numerics, fixed_numerics, student_network, teacher_network
from kdstudy.training.objective import chance_score
from kdstudy.training.probe import Probe, StudentMapsEmptyError
from kdstudy.training.rng import generator, seed_ambient
from kdstudy.training.schedule import schedule
from kdstudy.training.teacher_outputs import LiveTargets, Targets

__all__ = [
    "CheckpointFolder",
    "Distiller",
    "LiveTargets",
    "Probe",
    "SgdSettings",
    "StudentMapsEmptyError",
    "Targets",
    "chance_score",
    "choose_device",
    "describe_numerics",
    "drained",
    "evaluate",
    "fixed_numerics",
    "generator",
    "schedule",
    "seed_ambient",
    "student_network",
    "teacher_network",
    "weights_sha256",
]
