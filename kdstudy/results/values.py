"""The values that documents consist of: scores, counts, IDs, times, and the words with a fixed meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

HELD_OUT = "are held out as the test split"
"""How the notes of a data set say that its test images come from its training images."""
Phase = Literal["search", "confirm"]
EndedState = Literal["completed", "stopped", "diverged", "failed"]
State = Literal["queued", "running", EndedState]
StudyStatus = Literal["running", "interrupted", "finished", "failed"]
Verdict = Literal[
    "better",
    "worse",
    "better_by_less",
    "worse_by_less",
    "no_difference",
    "inconclusive",
    "configurations_differ",
    "not_told_apart",
    "no_verdict",
]
"""Of a treatment. ``_by_less``: than the smallest difference that would matter; ``no_difference``: none larger than
that; the two about configurations: of what one search picked, never of the policies."""
WarningKind = Literal[
    "trials_lost",
    "few_trials",
    "at_chance",
    "does_nothing",
    "below_plain",
    "teacher_below_plain",
    "edge_of_range",
    "teacher_seen",
    "other_values",
]
"""What may spoil a study's answer; see `kdstudy.analysis.study_warnings`."""
Estimand = Literal["tuned", "equal_rates"]
Family = Literal["study", "exploratory"]
Quantity = Literal["divergence", "divergence_over_chance", "momentum", "multiplier"]
ReproductionVerdict = Literal["identical", "within_tolerance", "differs"]

Count = Annotated[int, Field(ge=0)]
Ordinal = Annotated[int, Field(ge=1)]  # epochs; how many seeds a mean is over
Share = Annotated[float, Field(ge=0, le=1)]  # scores, probabilities, shares
NonNegative = Annotated[float, Field(ge=0)]  # seconds, standard deviations
Plain = dict[str, Any]
StudyId = Annotated[str, Field(pattern=r"^.+-[0-9a-f]{8}$", description="name-8hex")]
FirstStudyId = Annotated[str, Field(pattern=r"^.+-[0-9a-f]{8}$", description="Of several studies, the first.")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Moment = Annotated[str, Field(description="ISO-8601, UTC", json_schema_extra={"format": "date-time"})]
ParamValues = Annotated[dict[str, Any], Field(description="Keyed by dotted study-file path.")]
Importance = Annotated[
    dict[str, dict[str, Share]],
    Field(description="By arm, then by dotted study-file path; arms with too few trials are left out."),
]
