"""A trial: one resolved configuration trained from initialisation to its last epoch. A plain function, no scheduler.

Everything random comes from the configuration's two seeds, so a trial gives the same numbers wherever, whenever and
after however many interruptions it runs on the same kind of machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from kdstudy.assembly import (
    build_instrument,
    build_policy,
    build_transfer,
    dataset_of,
    networks,
    student_description,
    training_batches,
)
from kdstudy.data import eval_batches, num_batches
from kdstudy.errors import StoreError
from kdstudy.layerwise.divergence import divergence
from kdstudy.layerwise.groups import layer_groups
from kdstudy.results import EpochRecord, LayerRecord, TrialResult, finite
from kdstudy.storage import Folder, folder_at
from kdstudy.student import save_student
from kdstudy.study import TrialConfig
from kdstudy.targets.kept import Teaching, targets_of
from kdstudy.training.checkpoint import CheckpointFolder, weights_sha256
from kdstudy.training.distiller import Distiller, SgdSettings
from kdstudy.training.evaluate import evaluate
from kdstudy.training.numerics import choose_device, describe_numerics, fixed_numerics
from kdstudy.training.probe import Probe, StudentMapsEmptyError
from kdstudy.training.schedule import schedule
from kdstudy.training.seeding import generator, seed_ambient
from kdstudy.transfer.base import TransferContext

EVAL_BATCH = 512

Report = Callable[[EpochRecord, TrialResult | None], None]


def run_trial(
    config: TrialConfig,
    report: Report,
    *,
    teacher: torch.nn.Module | None = None,
    folder: Path | Folder | None = None,
    cache: Path | None = None,
    with_test: bool = False,
) -> TrialResult:
    """Train one student and return how it ended.

    Args:
        config: The trial, without holes.
        report: Called after every epoch with its record; with the last one also the result. After a resume the
            epochs before it are reported again from the checkpoint, so the listener never misses one.
        teacher: The trained teacher; it is moved to the training device, frozen, and left bitwise unchanged.
            None for plain training without a teacher (transfer ``none``, policy ``constant``).
        folder: Where checkpoints and the final student are written, and where a run of the same trial that was
            interrupted goes on from; None to keep nothing.
        cache: Where the study's trials share what they need of the teacher, as the configuration's ``cache`` allows: a
            folder below one that is for such folders alone. None to compute it; the numbers are the same.
        with_test: Score the test split after the last epoch (confirmation only).

    Returns:
        A result in state ``completed`` or ``diverged``.

    Raises:
        KdstudyError: The configuration cannot be run here.
    """
    with fixed_numerics(config.resources.cpus):
        trial = _Trial(config, report, teacher, None if folder is None else folder_at(folder), cache, with_test)
        try:
            return trial.run()
        finally:
            trial.release()


def preflight(config: TrialConfig, teacher: torch.nn.Module, *, batch: bool = False) -> int | None:
    """Build everything a trial needs, so that what cannot work is said before the study starts.

    Args:
        config: The trial.
        teacher: Trained or not.
        batch: Also train one batch and measure the probe once; nothing of it is kept.

    Returns:
        Bytes of the teacher's outputs that the configuration's ``cache`` would keep of an epoch (or a view); None
        where it would keep nothing.

    Raises:
        KdstudyError: The configuration cannot be run here.
    """
    with fixed_numerics(config.resources.cpus):
        trial = _Trial(config, lambda _record, _result: None, teacher, None, None, with_test=False)
        try:
            if batch:
                trial.rehearse()
            return None if trial.teaching is None else trial.teaching.file_bytes()
        finally:
            trial.release()


@dataclass
class _Progress:
    """Where a trial stands: what a checkpoint holds besides tensors."""

    history: list[EpochRecord]

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.history)


class _Trial:
    """The parts of one trial, assembled once."""

    def __init__(
        self,
        config: TrialConfig,
        report: Report,
        teacher: torch.nn.Module | None,
        folder: Folder | None,
        cache: Path | None,
        with_test: bool,
    ) -> None:
        self.config, self.report, self.with_test = config, report, with_test
        self.folder, self.cache = folder, cache
        self.device = choose_device(config.resources.gpus)
        data = dataset_of(config, with_test=with_test)
        self.data = dataclasses.replace(data, train=data.train.to(self.device))  # once, not in every epoch
        self.student, self.teacher, context = networks(config, self.data, teacher, self.device)
        self.policy = build_policy(config, context.layers)
        self.teaching: Teaching | None = None
        self.distiller = self._build_distiller(context)
        self.probe = self._build_probe(context)
        self.checkpoints = None if folder is None else CheckpointFolder(folder / "checkpoints")
        self.progress = _Progress([])

    def release(self) -> None:
        """Take the hooks off both networks: the teacher serves other trials too."""
        for network in (self.student, self.teacher):
            if network is not None:
                network.release()

    def _build_distiller(self, context: TransferContext) -> Distiller:
        train = self.config.train
        transfer = build_transfer(
            self.config.transfer.name, self.config.transfer.options, context, seed=self.config.init_seed
        ).to(self.device)
        if self.teacher is not None and transfer.uses_teacher:
            self.teacher.module.eval()
            self.teaching = Teaching(self.config, self.data, self.teacher, transfer, context, self.device)
        return Distiller(
            self.student,
            self.teacher,
            transfer,
            groups=layer_groups(self.student.module, context.layers, self.data.image_shape),
            sgd=SgdSettings(train.base_lr, train.momentum, train.weight_decay, train.nesterov),
            schedule=schedule(train.schedule.name, train.schedule.options, train.epochs),
            targets=None if self.teaching is None else targets_of(self.teaching, self.cache),
        )

    def _build_probe(self, context: TransferContext) -> Probe | None:
        epochs = self.config.train.epochs
        if self.teacher is None or not any(self.policy.due(epoch, epochs) for epoch in range(1, epochs + 1)):
            return None
        choice = generator(self.config.data_seed, "probe-images")
        chosen = torch.randperm(len(self.data.train.images), generator=choice)[: self.policy.probe_size]
        images = self.data.train.images[chosen].to(self.device).float() / 255
        return Probe(
            build_instrument(self.config, self.policy, context).to(self.device),
            images,
            generator(self.config.data_seed, "probe-directions"),
            functools.partial(divergence, b1=self.policy.b1),
        )

    def run(self) -> TrialResult:
        epochs = self.config.train.epochs
        self._restore()
        for record in self.progress.history[:-1]:
            self.report(record, None)
        if self.progress.epoch:
            return self._go_on_from(self.progress.history[-1], epochs)
        return self._train_to_end(epochs)

    def _go_on_from(self, last: EpochRecord, epochs: int) -> TrialResult:
        if last.val is None or last.epoch == epochs:
            return self._finish(last)
        self.report(last, None)
        return self._train_to_end(epochs)

    def rehearse(self) -> None:
        """Train one batch and measure the probe."""
        self.distiller.train_epoch(
            1,
            itertools.islice(training_batches(self.config, self.data, self.device, 1), 1),
            steps=1,
            directions=generator(self.config.data_seed, "directions", 1),
            multipliers={},
        )
        if self.probe is not None and self.teacher is not None:
            with contextlib.suppress(StudentMapsEmptyError):
                self.probe.measure(self.student, self.teacher)

    def _train_to_end(self, epochs: int) -> TrialResult:
        while True:
            record = self._epoch(self.progress.epoch + 1)
            self.progress.history.append(record)
            self._save()
            if record.val is None or record.epoch == epochs:
                return self._finish(record)
            self.report(record, None)

    def _epoch(self, epoch: int) -> EpochRecord:
        started = time.perf_counter()
        config = self.config
        seed_ambient(config.init_seed, epoch)
        totals = self.distiller.train_epoch(
            epoch,
            training_batches(config, self.data, self.device, epoch),
            steps=num_batches(len(self.data.train), config.train.batch_size),
            directions=generator(config.data_seed, "directions", epoch),
            multipliers=self.policy.multipliers,
        )
        val = evaluate(self.student.module, eval_batches(self.data.val, EVAL_BATCH, self.device))
        healthy = math.isfinite(totals.loss) and math.isfinite(val.loss)
        layers: tuple[LayerRecord, ...] = ()
        if (
            healthy
            and self.probe is not None
            and self.teacher is not None
            and self.policy.due(epoch, config.train.epochs)
        ):
            try:
                layers = self.policy.update(self.probe.measure(self.student, self.teacher))
            except StudentMapsEmptyError:
                healthy = False
        return EpochRecord(
            epoch=epoch,
            loss=finite(totals.loss),
            terms=totals.terms,
            val=val.score if healthy else None,
            val_loss=finite(val.loss),
            rate=totals.rate,
            rates=totals.rates,
            layers=layers,
            seconds=time.perf_counter() - started,
            scores=dict(val.scores) if healthy else {},
        )

    def _finish(self, last: EpochRecord) -> TrialResult:
        """Build the result and report it with the last record, in one report: nothing can come between."""
        diverged = last.val is None
        numerics = describe_numerics(self.device)
        if diverged:
            result = TrialResult("diverged", epochs=last.epoch - 1, seconds=self.progress.seconds, numerics=numerics)
        else:
            result = TrialResult(
                "completed",
                epochs=last.epoch,
                val=last.val,
                test=self._test_score(),
                weights_sha256=weights_sha256(self.student.module),
                seconds=self.progress.seconds,
                numerics=numerics,
            )
            if self.folder is not None:
                save_student(self.student.module, self.folder / "student", student_description(self.config, self.data))
        self.report(last, result)
        return result

    def _test_score(self) -> float | None:
        if not self.with_test:
            return None
        assert self.data.test is not None
        return evaluate(self.student.module, eval_batches(self.data.test, EVAL_BATCH, self.device)).score

    def _save(self) -> None:
        if self.checkpoints is None:
            return
        self.checkpoints.save(
            self.progress.epoch,
            {
                "student": self.student.module.state_dict(),
                "optimizer": self.distiller.optimizer.state_dict(),
                "transfer": self.distiller.transfer.state_dict(),
                "policy": self.policy.state_dict(),
                "history": [record.to_json() for record in self.progress.history],
            },
        )

    def _restore(self) -> None:
        loaded = None if self.checkpoints is None else self.checkpoints.load()
        if loaded is None:
            return
        epoch, state = loaded
        try:
            self.student.module.load_state_dict(state["student"])
            self.distiller.optimizer.load_state_dict(state["optimizer"])
            self.distiller.transfer.load_state_dict(state["transfer"])
            self.policy.load_state_dict(state["policy"])
            self.progress = _Progress([EpochRecord.from_json(record) for record in state["history"]])
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self.folder}: the checkpoint of epoch {epoch} is not this trial's ({type(error).__name__}); delete "
                "its folder of checkpoints to begin again"
            ) from error
