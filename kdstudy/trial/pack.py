"""Runs a pack: trials that see the same batches and the same teacher, trained one step each in turn in one process.

What they share is computed once per step, by the first that needs it: the batch, the teacher's pass over it, and what
a method observes of the teacher. Each member's numbers are bit for bit those of `kdstudy.trial.run.run_trial`; or close
to them, where ``numerics.packs`` has the students run at once (`kdstudy.trial.stack`).
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kdstudy.models import preserved_generators
from kdstudy.storage import Folder
from kdstudy.study import TrialConfig
from kdstudy.training import choose_device, fixed_numerics
from kdstudy.trial.inputs import OwnInputs, SharedInputs, TrialInputs
from kdstudy.trial.member import Member, PackReport
from kdstudy.trial.rank_processes import RankHost, RankJob, together
from kdstudy.trial.run import TrialRun
from kdstudy.trial.stack import Stack, given, objection


def run_pack(  # noqa: PLR0913 -- all but the first two by name
    configs: Mapping[int, TrialConfig],
    report: PackReport,
    *,
    teacher: nn.Module | None = None,
    folder: Folder | None = None,
    cache: Path | None = None,
    with_test: bool = False,
    study_id: str | None = None,
    at_safe_point: Callable[[], None] = lambda: None,
    rank_host: RankHost | None = None,
) -> None:
    """Train the students of a pack, one step each in turn; a single one as `kdstudy.trial.run.run_trial` does.

    Those with the fewest epochs go first, so that members whose checkpoints differ come into step. A member that ends,
    is stopped or raises leaves its share of the time to the others.

    Args:
        configs: The trials by number; what `common` returns must be equal.
        report: Called with a member's number and what `kdstudy.trial.run.run_trial` reports; or, once it has raised,
            without a record and with a result in state ``failed``. Returns whether the member is to continue.
        teacher: As for `kdstudy.trial.run.run_trial`.
        folder: That of the trials' folders, each named after its number.
        cache: As for `kdstudy.trial.run.run_trial`.
        with_test: As for `kdstudy.trial.run.run_trial`.
        study_id: What the students' files call the study; None where it has none.
        at_safe_point: Called when every member is checkpointed and reported.
        rank_host: As for `kdstudy.trial.run.run_trial`; a trial of several ranks has no other in its pack.

    Raises:
        StoreError: A store does not work; so do the other `kdstudy.trial.member.INFRASTRUCTURE_ERRORS` end the pack.
    """
    first, *others = configs.values()
    assert all(common(other) == common(first) for other in others)
    assert not others or first.resources.ranks == 1
    device = choose_device(first.resources.gpus)
    job = RankJob(first, teacher, cache, with_test=with_test, head_only=False)

    def member(number: int, config: TrialConfig, inputs: TrialInputs) -> Member:
        own = None if folder is None else folder / str(number)
        settings: dict[str, Any] = {"teacher": teacher, "folder": own, "cache": cache, "with_test": with_test}
        if study_id is not None:
            phase = "confirm" if with_test else "search"
            settings["origin"] = {"study_id": study_id, "trial": number, "phase": phase}
        return Member(number, functools.partial(TrialRun, config, inputs, **settings), report, alone=not others)

    with (
        together(job, rank_host) as ranks,
        fixed_numerics(first.resources.cpus, deterministic=first.numerics.deterministic),
        preserved_generators(),
        contextlib.closing(SharedInputs(device) if others else OwnInputs(device, ranks)) as inputs,
        contextlib.ExitStack() as stack,
    ):
        members = [member(number, config, inputs) for number, config in configs.items()]
        for each in members:
            stack.callback(each.close)
        _train(members, at_safe_point, at_once=first.numerics.packs == "vmap")


def common(config: TrialConfig) -> tuple[object, ...]:
    """Return what the members of a pack must have in common: all that decides batches and the teacher's pass."""
    return (
        *(config.data, config.teacher, config.student, config.layers, config.train.batch_size, config.transfer.name),
        *(config.resources, config.numerics, config.cache, config.data_seed, config.split_seed),
    )


def _train(members: list[Member], at_safe_point: Callable[[], None], *, at_once: bool) -> None:
    for member in members:
        member.start()
    at_once = at_once and _may_run_at_once([member for member in members if member.active])
    while members := [member for member in members if member.active]:
        fewest = min(member.epochs for member in members)
        in_step = [member for member in members if member.epochs == fewest]
        if at_once and len(in_step) > 1:
            _train_a_step_at_once(in_step)
        else:
            for member in in_step:
                member.train_a_step()
        active = [member for member in members if member.active]
        if active and all(member.epochs > fewest for member in active):
            at_safe_point()
        members.append(members.pop(0))  # the first computes what is shared: each in turn


def _may_run_at_once(members: list[Member]) -> bool:
    """Try it out, and have each member's record tell."""
    if len(members) < 2:
        return False
    reason = objection([member.trial for member in members])
    for member in members:
        member.trial.packed = "vmap" if reason is None else f"in turn: {reason}"
    return reason is None


def _train_a_step_at_once(members: list[Member]) -> None:
    """Train a step of each, with one pass of all students, and one back; those without a batch end their epoch."""
    for member in members:
        member.take_batch()
    members = [member for member in members if member.batch is not None]
    if not members:
        return
    stack = Stack([member.trial.student for member in members])
    with _shared_time(members):
        outputs = stack.run(members[0].images)
    for member, output in zip(members, outputs, strict=True):
        member.compare(given(member.images, output))
    learning = [(member, member.loss) for member in members if member.loss is not None]
    if learning:
        with _shared_time([member for member, _ in learning]):
            stack.backward([loss for _, loss in learning])
    for member, _ in learning:
        member.learn()


@contextlib.contextmanager
def _shared_time(members: list[Member]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    for member in members:
        member.seconds += (time.perf_counter() - began) / len(members)
