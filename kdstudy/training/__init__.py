"""One distillation run: the loop, its random streams, schedules, probe, evaluation and checkpoints (torch only)."""

from kdstudy.training.batch_share import BatchShare, whole_images
from kdstudy.training.checkpoint import CheckpointFolder, weights_sha256
from kdstudy.training.distiller import Distiller, EpochInProgress
from kdstudy.training.epoch_totals import EpochTotals
from kdstudy.training.evaluate import Evaluation, evaluate
from kdstudy.training.norms import LayerNorms
from kdstudy.training.numerics import (
    choose_device,
    describe_numerics,
    fixed_numerics,
    require_room,
    student_network,
    teacher_network,
)
from kdstudy.training.objective import LabelTerm, chance_score
from kdstudy.training.optimizer import OptimizerSettings, build_optimizer
from kdstudy.training.probe import Probe, ProbeResult, StudentMapsEmptyError
from kdstudy.training.ranks import ALONE, RankLostError, Ranks, joined
from kdstudy.training.rng import generator, seed_global_rng
from kdstudy.training.schedule import schedule
from kdstudy.training.step import loss_terms, param_groups, set_rates
from kdstudy.training.teacher_outputs import LiveTeacherOutputs, TeacherOutputs
from kdstudy.training.term_log import TermLog

__all__ = [
    "ALONE",
    "BatchShare",
    "CheckpointFolder",
    "Distiller",
    "EpochInProgress",
    "EpochTotals",
    "Evaluation",
    "LabelTerm",
    "LayerNorms",
    "LiveTeacherOutputs",
    "OptimizerSettings",
    "Probe",
    "ProbeResult",
    "RankLostError",
    "Ranks",
    "StudentMapsEmptyError",
    "TeacherOutputs",
    "TermLog",
    "build_optimizer",
    "chance_score",
    "choose_device",
    "describe_numerics",
    "evaluate",
    "fixed_numerics",
    "generator",
    "joined",
    "loss_terms",
    "param_groups",
    "require_room",
    "schedule",
    "seed_global_rng",
    "set_rates",
    "student_network",
    "teacher_network",
    "weights_sha256",
    "whole_images",
]
