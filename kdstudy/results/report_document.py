"""The document of ``report --format json``, for people who draw its figures themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from kdstudy.results.comparison_document import ComparisonDocument
from kdstudy.results.study_documents import ArmRowDocument, BestDocument, TrialDocument
from kdstudy.results.values import (
    Count,
    Importance,
    Moment,
    NonNegative,
    Ordinal,
    Plain,
    Quantity,
    StudyId,
    StudyStatus,
)


class CurveDocument(TypedDict):
    """The validation score of one arm over epochs: mean and spread over seeds."""

    arm: str
    epochs: Sequence[Ordinal]
    mean: Sequence[float]
    sd: Sequence[float | None]
    n: Sequence[Ordinal]


class LayerCurveDocument(CurveDocument):
    """One quantity of one crucial layer in one arm, after each update."""

    layer: str
    quantity: Quantity


class ArmCostDocument(TypedDict):
    """Where the time of one arm went, in seconds."""

    arm: str
    search: NonNegative
    confirm: NonNegative
    epochs: Count
    overhead: NonNegative
    seconds_per_epoch: NonNegative | None


class CostDocument(TypedDict):
    """Where the time of a study went, in seconds."""

    arms: list[ArmCostDocument]
    teacher: float | None
    wall: float | None


class ReportedTrialDocument(TrialDocument):
    """One trial as a report lists it."""

    run: Annotated[str | None, Field(description="Address of its run in MLflow")]


class ReportedStudyDocument(TypedDict):
    """Everything a report says of one study."""

    study_id: StudyId
    name: str
    status: StudyStatus
    created: Moment
    seed: Count
    dataset: Plain
    teacher: Plain
    environment: Plain
    study_file: Annotated[str, Field(description="Verbatim")]
    best: BestDocument | None
    arms: list[ArmRowDocument]
    learning_curves: list[CurveDocument]
    layers: list[LayerCurveDocument]
    importance: Importance
    cost: CostDocument
    trials: list[ReportedTrialDocument]


class ReportDocument(ComparisonDocument):
    """The report on one study, or on several that are compared."""

    studies: list[ReportedStudyDocument]
