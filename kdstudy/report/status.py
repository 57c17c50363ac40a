"""Progress of a running study, read from the ledger: trials done, best score, estimated time left.

The driver shows it on its own terminal, ``kdstudy show --watch`` on any other.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from kdstudy.ledger import Ended, Ledger, Running, StudyRecord, TrialRecord, best_of, utc_now
from kdstudy.report.system_usage import usage
from kdstudy.results import StudyStatus, clock
from kdstudy.search import budget_of, picks_of
from kdstudy.study import Arm, Study

if TYPE_CHECKING:
    from rich.console import RenderableType

_BAR_CELLS = 40


@dataclass(frozen=True)
class ArmSnapshot:
    """The progress of one arm.

    Args:
        arm: ``transfer/policy``.
        planned: Trials in all, search and confirmation.
        running: How many are running.
        completed: How many completed.
        stopped: How many the pruner ended.
        lost: Diverged or failed.
        best: The best validation score of its completed search trials, in [0, 1].
        epochs: The epochs that its running trials have finished.
        seconds: What remains of it on one slot; None until a trial has ended.
    """

    arm: str
    planned: int
    running: int
    completed: int
    stopped: int
    lost: int
    best: float | None
    epochs: tuple[int, ...]
    seconds: float | None

    @property
    def ended(self) -> int:
        """Trials that have ended, however they did."""
        return self.completed + self.stopped + self.lost


@dataclass(frozen=True)
class Snapshot:
    """The progress of a study.

    Args:
        study_id: Its ID.
        status: As a reader sees it.
        epochs: Of one trial, at most.
        arms: In the study's order.
        left: Seconds that remain if trials take as long as those so far; None until that can be said.
    """

    study_id: str
    status: StudyStatus
    epochs: int
    arms: tuple[ArmSnapshot, ...]
    left: float | None

    @property
    def planned(self) -> int:
        """Trials in all."""
        return sum(arm.planned for arm in self.arms)

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(arm.ended for arm in self.arms)

    def line(self) -> str:
        """Return the study in one plain line."""
        leader = max((arm for arm in self.arms if arm.best is not None), key=lambda arm: arm.best or 0.0, default=None)
        best = "" if leader is None else f", best val {leader.best:.4f} ({leader.arm})"
        running = sum(arm.running for arm in self.arms)
        return f"[{self.ended}/{self.planned}] {running} running{best}, {left_text(self.left)}"


def snapshot(ledger: Ledger, study: Study, study_id: str, now: datetime | None = None) -> Snapshot:
    """Return the progress of a study.

    Args:
        ledger: The record.
        study: The study, read from its file.
        study_id: Its ID.
        now: The time; None: this moment.
    """
    record, trials = ledger.study(study_id), ledger.trials(study_id)
    moment = now or utc_now()
    durations = _durations(trials)
    planned = _planned(study, record, trials)
    arms = tuple(
        _arm_now(arm, [trial for trial in trials if trial.arm == arm.name], planned[arm.name], durations, moment)
        for arm in study.arms
    )
    slots = max(1, sum(arm.running for arm in arms))
    known = [arm.seconds for arm in arms]
    left = None if None in known else sum(seconds or 0.0 for seconds in known) / slots
    return Snapshot(study_id, record.status, study.max_epochs, arms, left)


def _durations(trials: Sequence[TrialRecord]) -> dict[str, float]:
    """Return the mean seconds from start to end of each arm's trials, and under "" of all."""
    spent: dict[str, list[float]] = {}
    for trial in trials:
        if isinstance(trial.stage, Ended) and trial.state != "stopped":
            spent.setdefault(trial.arm, []).append(trial.stage.wall)
            spent.setdefault("", []).append(trial.stage.wall)
    return {arm: statistics.fmean(seconds) for arm, seconds in spent.items()}


def _arm_now(
    arm: Arm,
    trials: Sequence[TrialRecord],
    planned: int,
    durations: dict[str, float],
    now: datetime,
) -> ArmSnapshot:
    states = [trial.state for trial in trials]
    best = best_of(trials)
    running = [trial.stage for trial in trials if isinstance(trial.stage, Running)]
    ended = sum(trial.done for trial in trials)
    each = durations.get(arm.name, durations.get(""))
    gone = sum((now - stage.started).total_seconds() for stage in running)
    remaining = max(0, planned - ended)
    return ArmSnapshot(
        arm=arm.name,
        planned=planned,
        running=len(running),
        completed=states.count("completed"),
        stopped=states.count("stopped"),
        lost=states.count("diverged") + states.count("failed"),
        best=None if best is None else best.val,
        epochs=tuple(stage.epochs for stage in running),
        seconds=0.0 if remaining == 0 else None if each is None else max(0.0, remaining * each - gone),
    )


def _planned(study: Study, record: StudyRecord, trials: Sequence[TrialRecord]) -> dict[str, int]:
    """Return how many trials each arm comes to. An arm of which a search has picked nothing is not confirmed there."""
    budget, (searches, seeds) = budget_of(study), record.asked(study)
    found = dict.fromkeys((arm.name for arm in study.arms), 0)
    for search in range(searches):
        searched: dict[str, list[TrialRecord]] = {arm: [] for arm in found}
        for trial in trials:
            if trial.phase == "search" and trial.search == search and trial.arm in searched:
                searched[trial.arm].append(trial)
        over = {arm: budget.is_over(own) for arm, own in searched.items()}
        picks = picks_of(study, searched, over.__getitem__)
        for arm, own in searched.items():
            confirmed = arm not in picks or picks[arm] is not None  # or may be
            found[arm] += budget.expected(own) + seeds * confirmed
    return found


def progress_table(now: Snapshot) -> RenderableType:
    """Return the study for a terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, pad_edge=False, header_style="dim")
    rows.add_column("arm", no_wrap=True)
    for name in ("done", "running", "stopped", "lost", "best val", "epoch"):
        rows.add_column(name, justify="right", no_wrap=True)
    leader = max((arm.best for arm in now.arms if arm.best is not None), default=None)
    for arm in now.arms:
        best = "" if arm.best is None else f"{arm.best:.4f}"
        rows.add_row(
            arm.arm,
            f"{arm.ended}/{arm.planned}",
            str(arm.running or ""),
            str(arm.stopped or ""),
            Text(str(arm.lost or ""), style="red"),
            Text(best, style="bold green" if arm.best is not None and arm.best == leader else ""),
            ", ".join(f"{epoch}/{now.epochs}" for epoch in arm.epochs),
        )
    remains = left_text(now.left) if now.status == "running" else now.status
    overall = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(1, now.planned), completed=now.ended, width=_BAR_CELLS)
    overall.add_row(bar, f"{now.ended}/{now.planned} trials", remains)
    return Group(Text(f"study {now.study_id}", style="bold"), rows, overall, Text(usage().text(), style="dim"))


def left_text(seconds: float | None) -> str:
    """Return what remains, for people."""
    return "time left not known yet" if seconds is None else f"about {clock(seconds)} left"
