"""One configured run, or a pack of them, as plain functions: no scheduler, database or server."""

from kdstudy.trial.began import students_weights
from kdstudy.trial.build import (
    build_policy,
    build_transfer,
    dataset_of,
    describe_dataset,
    largest_batch,
    networks,
    student_spec,
    teacher_spec,
    training_batches,
    verify_data,
)
from kdstudy.trial.checks import CHECKS, Fault, Inspection, inspect_parts
from kdstudy.trial.doubles import shared_images
from kdstudy.trial.dry_run import preflight, run_corners
from kdstudy.trial.instrument import build_instrument
from kdstudy.trial.layers import Matched, matched_layers
from kdstudy.trial.member import INFRASTRUCTURE_ERRORS, failure
from kdstudy.trial.pack import run_pack
from kdstudy.trial.pairs import context_of, layer_pairs, need_of
from kdstudy.trial.rank_processes import RankHost, RankJob, raised_elsewhere, said_elsewhere, serve_rank
from kdstudy.trial.run import run_trial
from kdstudy.trial.teacher import (
    find_teacher,
    open_teacher,
    prepare_teacher,
    score_teacher,
    teacher_folder,
    teacher_trial,
)
from kdstudy.trial.teacher_cache.cached import OutputsRecipe, teacher_outputs
from kdstudy.trial.update import require_signals, updated

__all__ = [
    "CHECKS",
    "INFRASTRUCTURE_ERRORS",
    "Fault",
    "Inspection",
    "Matched",
    "OutputsRecipe",
    "RankHost",
    "RankJob",
    "build_instrument",
    "build_policy",
    "build_transfer",
    "context_of",
    "dataset_of",
    "describe_dataset",
    "failure",
    "find_teacher",
    "inspect_parts",
    "largest_batch",
    "layer_pairs",
    "matched_layers",
    "need_of",
    "networks",
    "open_teacher",
    "preflight",
    "prepare_teacher",
    "raised_elsewhere",
    "require_signals",
    "run_corners",
    "run_pack",
    "run_trial",
    "said_elsewhere",
    "score_teacher",
    "serve_rank",
    "shared_images",
    "student_spec",
    "students_weights",
    "teacher_folder",
    "teacher_outputs",
    "teacher_spec",
    "teacher_trial",
    "training_batches",
    "updated",
    "verify_data",
]
