"""One distillation run: the loop, its random streams, schedules, probe, evaluation and checkpoints (torch only)."""

from kdstudy.training.checkpoint import CheckpointFolder, weights_sha256
from kdstudy.training.distiller import Distiller, EpochInProgress, EpochTotals
from kdstudy.training.evaluate import evaluate
from kdstudy.training.numerics import (
    choose_device,
    describe_numerics,
    fixed_numerics,
    require_room,
    student_network,
    teacher_network,
)
from kdstudy.training.objective import chance_score
from kdstudy.training.probe import Probe, ProbeResult, StudentMapsEmptyError
from kdstudy.training.rng import generator, seed_global_rng
from kdstudy.training.schedule import schedule
from kdstudy.training.sgd import SgdSettings
from kdstudy.training.teacher_outputs import LiveTeacherOutputs, TeacherOutputs

__all__ = [
    "CheckpointFolder",
    "Distiller",
    "EpochInProgress",
    "EpochTotals",
    "LiveTeacherOutputs",
    "Probe",
    "ProbeResult",
    "SgdSettings",
    "StudentMapsEmptyError",
    "TeacherOutputs",
    "chance_score",
    "choose_device",
    "describe_numerics",
    "evaluate",
    "fixed_numerics",
    "generator",
    "require_room",
    "schedule",
    "seed_global_rng",
    "student_network",
    "teacher_network",
    "weights_sha256",
]
