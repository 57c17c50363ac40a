"""Runs one trial, a resolved configuration trained from initialisation to its last epoch, as a plain function.

Everything random comes from the configuration's two seeds, so a trial gives the same numbers wherever, whenever and
after however many interruptions it runs on the same kind of machine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch

from kdstudy.data import Split, eval_batches, num_batches
from kdstudy.models import preserved_generators, save_student, train_head_only
from kdstudy.results import EpochRecord, LayerRecord, TrialResult, finite
from kdstudy.storage import Folder, folder_at
from kdstudy.study import TrialConfig
from kdstudy.training import (
    BatchShare,
    CheckpointFolder,
    EpochInProgress,
    EpochTotals,
    Evaluation,
    Ranks,
    StudentMapsEmptyError,
    choose_device,
    describe_numerics,
    evaluate,
    fixed_numerics,
    generator,
    seed_global_rng,
    weights_sha256,
)
from kdstudy.trial.build import EVAL_BATCH, build_distiller, build_transfer, networks, policy_over, student_spec
from kdstudy.trial.inputs import OwnInputs, TrialInputs, recipe_of
from kdstudy.trial.instrument import build_probe
from kdstudy.trial.origin import about_student
from kdstudy.trial.rank_processes import RankHost, RankJob, together
from kdstudy.trial.rank_split import require_split
from kdstudy.trial.state import agreed, load_state, state_of
from kdstudy.trial.update import require_signals, updated

Report = Callable[[EpochRecord, TrialResult | None], None]
_ON_TEST = "the student's answers to the test images were not finite numbers"


def run_trial(  # noqa: PLR0913 -- all but the first two by name
    config: TrialConfig,
    report: Report,
    *,
    teacher: torch.nn.Module | None = None,
    folder: Path | Folder | None = None,
    cache: Path | None = None,
    with_test: bool = False,
    head_only: bool = False,
    rank_host: RankHost | None = None,
) -> TrialResult:
    """Train one student and return how it ended.

    Args:
        config: The trial, every value resolved.
        report: Called after every epoch with its record; with the last one also the result. After a resume the
            epochs before it are reported again from the checkpoint, so the listener never misses one.
        teacher: The trained teacher; it is moved to the training device, frozen, and left bitwise unchanged.
            None for plain training without a teacher (transfer ``none``, policy ``constant``).
        folder: Where checkpoints and the final student are written, and where an interrupted run of the same trial is
            resumed from; None to keep nothing.
        cache: Where the study's trials share what they need of the teacher, as the configuration's ``cache`` allows: a
            folder below one that is for such folders alone. None to compute it; the numbers are the same.
        with_test: Score the test split after the last epoch (confirmation only).
        head_only: Train the last layer alone, on the network's own weights, frozen.
        rank_host: Starts the other ranks where the configuration has several; None for processes of this machine.

    Returns:
        A result in state ``completed`` or ``diverged``.

    Raises:
        KdstudyError: The configuration cannot be run here.
        RankLostError: Another rank has gone; the same call continues from the last checkpoint.
    """
    job = RankJob(config, teacher, cache, with_test=with_test, head_only=head_only)
    with together(job, rank_host) as ranks:
        return train_trial(job, report, ranks, folder)


def train_trial(job: RankJob, report: Report, ranks: Ranks, folder: Path | Folder | None = None) -> TrialResult:
    """Do one rank's work in a trial: see `run_trial`.

    Args:
        job: The trial, the same on every rank.
        report: As for `run_trial`.
        ranks: All of them, seen from this one.
        folder: As for `run_trial`; None on all ranks but the first.
    """
    config, device = job.config, choose_device(job.config.resources.gpus)
    inputs = OwnInputs(device, ranks)
    settings: dict[str, Any] = {"teacher": job.teacher, "cache": job.cache}
    settings |= {"with_test": job.with_test, "head_only": job.head_only}
    with (
        fixed_numerics(config.resources.cpus, deterministic=config.numerics.deterministic),
        preserved_generators(),
        contextlib.closing(inputs),
        contextlib.closing(TrialRun(config, inputs, folder=folder, **settings)) as trial,
    ):
        for record in trial.restore():
            report(record, None)
        while not trial.done:
            trial.begin_epoch()
            while trial.step():
                pass
            record = trial.end_epoch()
            if not trial.done:
                report(record, None)
        result = trial.finish()
        report(trial.history[-1], result)
        return result


@final
class TrialRun:
    """One trial in progress, driven from outside: `run_trial` runs it alone, `kdstudy.trial.pack` several in turn.

    The order of calls is `restore`, then until `done`: `begin_epoch`, `step` until it returns False, `end_epoch`; then
    `finish`; and `close` in any case.

    Args:
        config: The trial.
        inputs: What it may share with others, and the device; the caller closes them.
        teacher: As for `run_trial`, like the rest.
        folder: Of checkpoints and the student.
        cache: Of the teacher's outputs.
        with_test: Whether the test split is scored; and ``head_only`` whether the last layer alone learns.
        clock: Seconds that this trial has taken, from any start; ``origin`` is what the student's file says of it.

    Attributes:
        history: The record of each epoch so far.
        trouble: Why the student has diverged, if it has.
        epoch: The one that has begun and not ended.
        packed: How it ran with others, where that decides its digits.
    """

    def __init__(  # noqa: PLR0913 -- all but the first two by name
        self,
        config: TrialConfig,
        inputs: TrialInputs,
        *,
        teacher: torch.nn.Module | None = None,
        folder: Path | Folder | None = None,
        cache: Path | None = None,
        with_test: bool = False,
        head_only: bool = False,
        origin: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config, self.with_test = config, with_test
        self._inputs, self._clock, self._origin = inputs, clock, origin or {}
        self.folder = None if folder is None else folder_at(folder)
        self._checkpoints = None if self.folder is None else CheckpointFolder(self.folder / "checkpoints")
        self.device, self.ranks = inputs.device, inputs.ranks
        self.data = inputs.dataset(config, with_test=with_test)
        built = networks(config, self.data, teacher, self.device, inputs.wrap_teacher, self.ranks)
        self.student, self.teacher, context = built
        if head_only:
            train_head_only(self.student.module)
        self.policy = policy_over(config, built, self.data)
        method = config.transfer
        transfer = build_transfer(method.name, method.options, context, seed=config.init_seed).to(self.device)
        require_signals(method, config.policy, self.policy, transfer)
        require_split(config, transfer, self.data)
        self.recipe = recipe_of(config, self.data, built, transfer, self.device)
        self._share = None if self.ranks.size == 1 else BatchShare(self.ranks, transfer)
        outputs = None if self.recipe is None else inputs.teacher_outputs(self.recipe, cache, self._share)
        self.distiller = build_distiller(config, self.data, built, transfer, outputs, self._share)
        probing = teacher is not None and self.ranks.first
        self.probe = build_probe(config, self.policy, context, self.data, self.device) if probing else None
        self.history: list[EpochRecord] = []
        self.epoch: EpochInProgress | None = None
        self.packed: str | None = None
        self._epoch_began = 0.0
        self.trouble: str | None = None

    @property
    def done(self) -> bool:
        """Whether no epoch is left: the last one is over, or the student has diverged."""
        last = self.history[-1] if self.history else None
        return last is not None and (last.val is None or last.epoch == self.config.train.epochs)

    def restore(self) -> list[EpochRecord]:
        """Load the newest checkpoint, if there is one.

        Returns:
            The records to report again: all, but for the one that `finish` belongs to where the trial is `done`.

        Raises:
            StoreError: The checkpoint is not this trial's.
        """
        if self._share is not None:
            self._share.begin_alike(self.student.module, self.distiller.transfer)
        loaded = self.ranks.from_first(lambda: None if self._checkpoints is None else self._checkpoints.load())
        if loaded is not None:
            load_state(self, *loaded)
        return self.history[:-1] if self.done else list(self.history)

    def begin_epoch(self) -> None:
        """Begin the next epoch; every random stream starts afresh."""
        epoch, config = len(self.history) + 1, self.config
        self._epoch_began = self._clock()
        seed_global_rng(self.ranks.seed(config.init_seed), epoch)
        self.epoch = self.distiller.begin_epoch(
            epoch,
            self._inputs.batches(config, self.data, epoch),
            steps=num_batches(len(self.data.train), config.train.batch_size),
            directions=generator(config.data_seed, "directions", epoch),
            multipliers=self.policy.multipliers,
            norms=self.policy.needs_norms and self.policy.due(epoch, config.train.epochs),
        )

    def step(self) -> bool:
        """Train on the next batch; return False where the epoch has none left."""
        assert self.epoch is not None
        return self.epoch.step()

    def end_epoch(self) -> EpochRecord:
        """Score the validation split, let the policy set its multipliers, and save a checkpoint."""
        assert self.epoch is not None
        totals, self.epoch = self.epoch.totals(), None
        epoch = len(self.history) + 1
        if self._share is not None and not self.config.numerics.sync_batch_norm:
            self._share.mean_buffers(self.student.module)
        val = self._score(self.data.val)
        layers: tuple[LayerRecord, ...] = ()
        self.trouble = totals.trouble or val.trouble(epoch)
        if self.trouble is None:
            try:
                layers = self._update_policy(epoch, totals)
            except StudentMapsEmptyError as error:
                self.trouble = f"{error} after epoch {epoch}"
        healthy = self.trouble is None
        record = EpochRecord(
            epoch=epoch,
            loss=finite(totals.loss),
            terms=totals.terms,
            val=val.score if healthy else None,
            val_loss=finite(val.loss),
            rate=totals.rate,
            rates=totals.rates,
            layers=layers,
            seconds=self._clock() - self._epoch_began,
            scores=dict(val.scores) if healthy else {},
        )
        if self.ranks.size > 1:
            record = agreed(self, record)
        self.history.append(record)
        if self._checkpoints is not None:
            self._checkpoints.save(epoch, state_of(self))
        return record

    def _update_policy(self, epoch: int, totals: EpochTotals) -> tuple[LayerRecord, ...]:
        if self.probe is None or self.teacher is None or not self.policy.due(epoch, self.config.train.epochs):
            return ()
        first = self.history[0].terms if self.history else totals.terms
        measured = self.probe.measure(self.student, self.teacher)
        return updated(self.policy, measured, totals, first, self.config.train.weight_decay)

    def finish(self) -> TrialResult:
        """Return the result; of a completed trial also score the test split, if asked for, and save the student."""
        last = self.history[-1]
        numerics = describe_numerics(self.device) | {"optimizer": self.distiller.kernels, **self.ranks.described}
        numerics |= {} if self.packed is None else {"pack": self.packed}
        numerics |= {} if self.student.program is None else {"graph": "compiled"}
        seconds = sum(record.seconds for record in self.history)
        test = self._score(self.data.test).score if self.with_test and last.val is not None else None
        if last.val is None or (self.with_test and test is None):
            finished, trouble = (last.epoch - 1, self.trouble) if last.val is None else (last.epoch, _ON_TEST)
            return TrialResult("diverged", epochs=finished, error=trouble, seconds=seconds, numerics=numerics)
        weights = weights_sha256(self.student.module)
        result = TrialResult(
            "completed", last.epoch, last.val, test, weights_sha256=weights, seconds=seconds, numerics=numerics
        )
        if self.folder is not None:
            spec, about = student_spec(self.config, self.data), about_student(self.config, self.data, self._origin)
            save_student(self.student.module, self.folder / "student", spec, about)
        return result

    def _score(self, split: Split | None) -> Evaluation:
        assert split is not None
        own = eval_batches(split, EVAL_BATCH, self.device, self.ranks.rows)
        return evaluate(self.student.module, own, self.ranks)

    def close(self) -> None:
        """Take the hooks off the student."""
        self.student.release()
