"""A trial: one resolved configuration trained from initialisation to its last epoch. A plain function, no scheduler.

Everything random comes from the configuration's two seeds, so a trial gives the same numbers wherever, whenever and
after however many interruptions it runs on the same kind of machine.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch

from kdstudy.data import eval_batches, num_batches
from kdstudy.errors import StoreError
from kdstudy.layerwise import divergence, layer_groups
from kdstudy.models import save_student
from kdstudy.results import EpochRecord, LayerRecord, TrialResult, finite
from kdstudy.storage import Folder, folder_at
from kdstudy.study import TrialConfig
from kdstudy.training import (
    CheckpointFolder,
    Distiller,
    Probe,
    SgdSettings,
    StudentMapsEmptyError,
    choose_device,
    describe_numerics,
    drained,
    evaluate,
    fixed_numerics,
    generator,
    schedule,
    seed_ambient,
    weights_sha256,
)
from kdstudy.transfer import TransferContext
from kdstudy.trial.build import (
    build_instrument,
    build_policy,
    build_transfer,
    student_description,
)
from kdstudy.trial.inputs import Sources
from kdstudy.trial.teacher_cache.cached import Teaching

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
        sources = Sources()
        try:
            trial = Trial(config, report, sources, teacher=teacher, folder=folder, cache=cache, with_test=with_test)
            return drained(trial.run())
        finally:
            sources.release()


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


class Trial:
    """The parts of one trial, assembled once.

    Args:
        config: The trial.
        report: As for `run_trial`, which also explains what follows.
        sources: Where it gets what it may share; the caller releases them.
        teacher: The trained teacher.
        folder: Of checkpoints and the student.
        cache: Of the teacher's outputs.
        with_test: Whether the test split is scored.
        clock: Seconds that this trial has taken, from any start.
    """

    def __init__(  # noqa: PLR0913 -- all but the first three by name
        self,
        config: TrialConfig,
        report: Report,
        sources: Sources,
        *,
        teacher: torch.nn.Module | None = None,
        folder: Path | Folder | None = None,
        cache: Path | None = None,
        with_test: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config, self._report, self.with_test = config, report, with_test
        self._sources, self._cache, self._clock = sources, cache, clock
        self.folder = None if folder is None else folder_at(folder)
        self.device = choose_device(config.resources.gpus)
        self.data = sources.dataset(config, self.device, with_test=with_test)
        self.student, self.teacher, context = sources.networks(config, self.data, teacher, self.device)
        self.policy = build_policy(config, context.layers)
        self.teaching: Teaching | None = None
        self.distiller = self._build_distiller(context)
        self.probe = self._build_probe(context)
        self.checkpoints = None if self.folder is None else CheckpointFolder(self.folder / "checkpoints")
        self.progress = _Progress([])

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
            targets=None if self.teaching is None else self._sources.targets(self.teaching, self._cache),
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

    def run(self) -> Generator[None, None, TrialResult]:
        """Train to the end. Yields once it stands where it goes on from, after each step, and after each epoch."""
        try:
            return (yield from self._train())
        finally:
            self.student.release()

    def _train(self) -> Generator[None, None, TrialResult]:
        epochs = self.config.train.epochs
        self._restore()
        for record in self.progress.history[:-1]:
            self._report(record, None)
        if self.progress.epoch:
            last = self.progress.history[-1]
            if last.val is None or last.epoch == epochs:
                return self._finish(last)
            self._report(last, None)
        yield
        while True:
            record = yield from self._epoch(self.progress.epoch + 1)
            self.progress.history.append(record)
            self._save()
            if record.val is None or record.epoch == epochs:
                return self._finish(record)
            self._report(record, None)
            yield

    def _epoch(self, epoch: int) -> Generator[None, None, EpochRecord]:
        started = self._clock()
        config = self.config
        seed_ambient(config.init_seed, epoch)
        totals = yield from self.distiller.epoch_in_steps(
            epoch,
            self._sources.batches(config, self.data, self.device, epoch),
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
            seconds=self._clock() - started,
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
        self._report(last, result)
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
