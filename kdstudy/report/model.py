"""The content of a report as plain records, read from the ledger; HTML, Markdown and JSON lay it out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from kdstudy.analysis import Answer, Comparison, LayerAnswer, arm_rows, best_json, compare, importances, layer_answers
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord, best_of, iso
from kdstudy.report.cost import Cost, cost_of
from kdstudy.report.curves import Curve, LayerCurve, layer_curves, learning_curves
from kdstudy.report.mlflow_links import MlflowLinks
from kdstudy.results import ArmRowDocument, ReportDocument, ReportedStudyDocument, brief
from kdstudy.study import Choice, Log, PluginSpec, Range, Study


@dataclass(frozen=True)
class Axis:
    """One searched value of an arm.

    Args:
        path: Dotted, as the study file spells it.
        name: The shortest end of the path that no other value of the arm shares.
        span: Its range.
    """

    path: str
    name: str
    span: Range

    @property
    def scale(self) -> str:
        """``log``, ``linear`` or ``category``."""
        return "category" if isinstance(self.span, Choice) else "log" if isinstance(self.span, Log) else "linear"

    def shown(self, value: Any) -> Any:
        """Return ``value`` as a chart's axis takes it: a number, or a choice's label."""
        return self.span.labels[self.span.index(value)] if isinstance(self.span, Choice) else value

    def position(self, value: Any) -> float:
        """Return where on the range ``value`` lies, in [0, 1]; choices stand evenly apart."""
        if isinstance(self.span, Choice):
            return (self.span.index(value) + 0.5) / len(self.span)
        return self.span.position(value)


@dataclass(frozen=True)
class ArmSearch:
    """The search of one arm.

    Args:
        arm: ``transfer/policy``.
        axes: What was searched, in the order of the study file.
        trials: Its finished search trials that have a score or diverged.
        best: The completed one with the highest validation score.
        importance: Share of each path, the largest first; empty with too few trials.
    """

    arm: str
    axes: tuple[Axis, ...]
    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    importance: dict[str, float]

    @property
    def rated(self) -> int:
        """From how many trials the importance is estimated."""
        return sum(trial.state in ("completed", "diverged") for trial in self.trials)


@dataclass(frozen=True)
class StudyReport:
    """Everything the report says of one study.

    Args:
        record: The study.
        study: Its file, read.
        arms: One row per arm, as ``kdstudy show --json`` has it.
        trials: All trials, by number.
        curves: Validation score over epochs, one per arm.
        layers: What the controller measured and set.
        layer_answers: What became of each layer of each arm that updates.
        search: One entry per arm that searched something.
        cost: Where the time went.
        links: To MLflow.
        chosen: The trial of the student to take home; None before one has completed.
    """

    record: StudyRecord
    study: Study
    arms: list[ArmRowDocument]
    trials: tuple[TrialRecord, ...]
    curves: tuple[Curve, ...]
    layers: tuple[LayerCurve, ...]
    layer_answers: tuple[LayerAnswer, ...]
    search: tuple[ArmSearch, ...]
    cost: Cost
    links: MlflowLinks
    chosen: TrialRecord | None

    @property
    def student(self) -> str:
        """The student's network in words; all of them where the search chooses."""
        model: PluginSpec | Choice = self.study.student.model
        return " or ".join(map(brief, model.options)) if isinstance(model, Choice) else model.title

    def to_json(self) -> ReportedStudyDocument:
        """Return plain values."""
        record = self.record
        return {
            "study_id": record.id,
            "name": record.name,
            "status": record.status,
            "created": iso(record.created),
            "seed": record.seed,
            "dataset": record.dataset.to_json(),
            "teacher": record.teacher.to_json(),
            "environment": record.environment,
            "study_file": record.text,
            "best": best_json(self.trials),
            "arms": self.arms,
            "learning_curves": [curve.to_json() for curve in self.curves],
            "layers": [curve.to_json() for curve in self.layers],
            "importance": {each.arm: each.importance for each in self.search},
            "cost": self.cost.to_json(),
            "trials": [{**trial.to_json(), "run": self.links.trial(trial)} for trial in self.trials],
        }


@dataclass(frozen=True)
class Report:
    """The report on one study, or on several that are compared.

    Args:
        comparison: What the confirmation runs say.
        studies: In the order asked for.
    """

    comparison: Comparison
    studies: tuple[StudyReport, ...]

    @property
    def title(self) -> str:
        """The IDs of the studies."""
        return ", ".join(study.record.id for study in self.studies)

    def to_json(self) -> ReportDocument:
        """Return the document of ``kdstudy report --format json``."""
        return {**self.comparison.to_json(), "studies": [study.to_json() for study in self.studies]}


def report_of(ledger: Ledger, ids: Sequence[str]) -> Report:
    """Read a report from the record.

    Args:
        ledger: Where the studies are.
        ids: IDs, unique prefixes or ``latest``; at least one.

    Raises:
        RecordError: A study does not exist.
    """
    comparison = compare(ledger, ids)
    return Report(comparison, tuple(_study_report(ledger, answer) for answer in comparison.answers))


def _study_report(ledger: Ledger, answer: Answer) -> StudyReport:
    study_id, student = answer.study_id, answer.take_home
    record = ledger.study(study_id)
    study, trials = record.study(), ledger.trials(study_id)
    # The study's own seeds alone, as in the verdict.
    confirmed = [t for t in trials if t.phase == "confirm" and t.state == "completed" and not t.exploratory]
    histories = {trial.number: ledger.epochs(study_id, trial.number) for trial in confirmed}
    return StudyReport(
        record=record,
        study=study,
        arms=arm_rows(study, trials),
        trials=trials,
        curves=learning_curves(confirmed, histories),
        layers=layer_curves(confirmed, histories),
        layer_answers=layer_answers(confirmed, histories),
        search=_searches(study, trials),
        cost=cost_of(record, study, trials),
        links=MlflowLinks.of(record),
        chosen=None if student is None else next(t for t in trials if t.number == student.trial),
    )


def _searches(study: Study, trials: Sequence[TrialRecord]) -> tuple[ArmSearch, ...]:
    shares = importances(study, trials)
    found = []
    for arm in study.arms:
        space = study.space(arm)
        own = tuple(
            trial
            for trial in trials
            if trial.arm == arm.name
            and trial.phase == "search"
            and (trial.val is not None or trial.state == "diverged")
            and trial.values.keys() == space.keys()
        )
        if space and own:
            axes = tuple(
                Axis(path, name, span) for (path, span), name in zip(space.items(), short_names(space), strict=True)
            )
            found.append(ArmSearch(arm.name, axes, own, best_of(own), shares.get(arm.name, {})))
    return tuple(found)


def short_names(paths: Collection[str]) -> list[str]:
    """Return for each path its shortest end that is no other's."""
    names = []
    for path in paths:
        parts = path.split(".")
        others = [other.split(".") for other in paths if other != path]
        length = next(n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in others))
        names.append(".".join(parts[-length:]))
    return names
