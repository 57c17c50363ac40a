"""The documents of ``run``, ``list``, ``show`` and ``reproduce``, for people who read studies and trials by program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from kdstudy.results.answer_document import AnswerDocument, WarningDocument
from kdstudy.results.comparison_document import RowDocument
from kdstudy.results.values import (
    Count,
    Importance,
    Moment,
    NonNegative,
    Ordinal,
    ParamValues,
    Phase,
    Plain,
    ReproductionVerdict,
    Sha256,
    Share,
    State,
    StudyId,
    StudyStatus,
)


class ArmDocument(TypedDict):
    """An arm by its two parts."""

    transfer: str
    policy: str


class BestDocument(TypedDict):
    """The completed search trial with the highest validation score."""

    trial: Count
    arm: Annotated[str, Field(description="transfer/policy")]
    values: ParamValues
    val: Share


class TrialCountsDocument(TypedDict):
    """Trials by how they ended."""

    completed: Count
    stopped: Count
    diverged: Count
    failed: Count


class RunDocument(TypedDict):
    """How a study ended."""

    study_id: StudyId
    status: StudyStatus
    trials: Annotated[TrialCountsDocument, Field(description="Both phases.")]
    best: Annotated[
        BestDocument | None, Field(description="Of the search, by validation score; null if no trial completed.")
    ]
    comparison: Annotated[list[RowDocument], Field(description="As kdstudy compare --json.")]
    warnings: list[WarningDocument]
    answer: AnswerDocument


class SummaryDocument(TypedDict):
    """One study of a list."""

    study_id: StudyId
    name: str
    status: StudyStatus
    trials: Count
    created: Moment
    best_val: Share | None
    title: Annotated[str | None, Field(description="As kdstudy rename set it.")]
    archived: Annotated[bool, Field(description="Whether kdstudy list leaves it out without --all.")]


class ArmRowDocument(TypedDict):
    """The search and the confirmation of one arm."""

    arm: ArmDocument
    trials: Annotated[int, Field(ge=0, description="Search trials.")]
    completed: Count
    stopped: Count
    diverged: Count
    failed: Count
    best: Annotated[Count | None, Field(description="Number of its best search trial.")]
    best_val: Share | None
    confirmed: Annotated[int, Field(ge=0, description="Completed confirmation runs.")]
    test_mean: Share | None
    test_sd: NonNegative | None


class SeedsDocument(TypedDict):
    """The seeds of one trial."""

    data_seed: Count
    init_seed: Count


class TrialDocument(TypedDict):
    """One trial."""

    trial: Count
    phase: Phase
    arm: ArmDocument
    search: Annotated[int, Field(ge=0, description="Which of the study's searches.")]
    index: Annotated[int, Field(ge=0, description="Within its arm, search and phase.")]
    exploratory: Annotated[bool, Field(description="Of a search or a seed that the study file does not declare.")]
    seeds: SeedsDocument
    state: State
    values: ParamValues
    config: Annotated[dict[str, Any], Field(description="The resolved configuration.")]
    val: Share | None
    test: Annotated[Share | None, Field(description="Null in search.")]
    epochs: Annotated[int, Field(ge=0, description="Epochs recorded.")]
    seconds: NonNegative
    created: Moment
    started: Moment | None
    finished: Moment | None
    weights_sha256: Sha256 | None
    numerics: Plain
    error: Annotated[
        str | None, Field(description="The traceback of a failed trial; why a diverged one did, if that is known.")
    ]


class LayerDocument(TypedDict):
    """One crucial layer at one update of the learning rates."""

    layer: str
    divergence: Share
    momentum: float
    multiplier: float
    chance: Annotated[
        Share | None,
        Field(description="The divergence from other images' maps; null in records of earlier versions."),
    ]


class EpochDocument(TypedDict):
    """One epoch of one trial; null stands for what was not finite."""

    epoch: Ordinal
    loss: float | None
    terms: Mapping[str, float | None]
    val: Share | None
    val_loss: float | None
    rate: float
    rates: Mapping[str, float | None]
    layers: list[LayerDocument]
    seconds: NonNegative
    scores: Annotated[
        Mapping[str, float | None], Field(description="Further validation scores; empty for single labels.")
    ]


class TrialHistoryDocument(TrialDocument):
    """One trial with its epochs."""

    history: Annotated[list[EpochDocument], Field(description="With --trial only: its epochs.")]


class WarmStartDocument(TypedDict):
    """What a study's samplers were told of at its start."""

    study_id: str
    trials: dict[str, list[Count]]


class ShowDocument(TypedDict):
    """One study, with all its trials or with one."""

    study_id: StudyId
    name: str
    status: StudyStatus
    created: Moment
    message: str | None
    seed: Count
    dataset: Plain
    teacher: Plain
    environment: Plain
    tracking: Plain
    warm_start: Annotated[
        WarmStartDocument | None,
        Field(description="The earlier study whose trials, by arm of this one, the samplers were told of."),
    ]
    best: BestDocument | None
    arms: list[ArmRowDocument]
    importance: Importance
    trials: Sequence[TrialDocument | TrialHistoryDocument]


class DifferenceDocument(TypedDict):
    """One field that is not as recorded."""

    field: str
    recorded: Any
    here: Any


class FieldPair(TypedDict):
    """One field in which two trials differ."""

    field: str
    first: Any
    second: Any


class TrialNameDocument(TypedDict):
    """Which trial is meant."""

    study_id: StudyId
    trial: Count
    arm: Annotated[str, Field(description="transfer/policy")]


class TrialDifferenceDocument(TypedDict):
    """What differs between two trials."""

    trials: Annotated[list[TrialNameDocument], Field(description="The first and the second.")]
    values: Annotated[list[FieldPair], Field(description="What was searched.")]
    config: Annotated[list[FieldPair], Field(description="The resolved configuration, by dotted paths.")]
    inputs: Annotated[list[FieldPair], Field(description="Of the studies' data and teacher.")]
    environment: Annotated[list[FieldPair], Field(description="Of the studies, and of the trials' numerics.")]
    layers: Annotated[list[FieldPair], Field(description="What was last measured and set of each crucial layer.")]
    scores: Annotated[list[FieldPair], Field(description="State, epochs, scores, seconds and weights.")]


class ReproductionDocument(TypedDict):
    """How a rerun compares with the record."""

    study_id: StudyId
    trial: Count
    verdict: ReproductionVerdict
    epochs_compared: Count
    max_abs_difference: Annotated[
        NonNegative | None, Field(description="Over all numbers of all epochs; null if nothing could be compared.")
    ]
    weights_identical: Annotated[bool | None, Field(description="Null if the record has no hash of the weights.")]
    differences: Annotated[list[DifferenceDocument], Field(description="Of the environment.")]
    tolerance: Annotated[NonNegative, Field(description="Largest difference that is within_tolerance.")]
    deterministic: Annotated[
        bool, Field(description="Whether the same bits were to be expected: numerics.deterministic and packs.")
    ]
