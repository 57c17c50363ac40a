"""What the commands print with ``--json``, as types: for whoever reads it, and for the functions that write it.

Every ``to_json`` whose result a command prints returns one of these, so that mypy notices a key that is missing, new
or of another type; `kdstudy.cli.schemas` makes their JSON Schemas.
"""

from kdstudy.documents.comparison import (
    AnalysisDocument,
    ComparisonDocument,
    DivergedShareDocument,
    GainDifferenceDocument,
    GainDocument,
    RowDocument,
)
from kdstudy.documents.report import (
    ArmCostDocument,
    CostDocument,
    CurveDocument,
    LayerCurveDocument,
    ReportDocument,
    ReportedStudyDocument,
    ReportedTrialDocument,
)
from kdstudy.documents.study import (
    ArmDocument,
    ArmRowDocument,
    BestDocument,
    DifferenceDocument,
    EpochDocument,
    LayerDocument,
    ReproductionDocument,
    RunDocument,
    ShowDocument,
    SummaryDocument,
    TrialCountsDocument,
    TrialDocument,
    TrialHistoryDocument,
    WarmStartDocument,
)
from kdstudy.documents.values import Phase, Quantity, ReproductionVerdict, State, StudyStatus, Verdict

__all__ = [
    "AnalysisDocument",
    "ArmCostDocument",
    "ArmDocument",
    "ArmRowDocument",
    "BestDocument",
    "ComparisonDocument",
    "CostDocument",
    "CurveDocument",
    "DifferenceDocument",
    "DivergedShareDocument",
    "EpochDocument",
    "GainDifferenceDocument",
    "GainDocument",
    "LayerCurveDocument",
    "LayerDocument",
    "Phase",
    "Quantity",
    "ReportDocument",
    "ReportedStudyDocument",
    "ReportedTrialDocument",
    "ReproductionDocument",
    "ReproductionVerdict",
    "RowDocument",
    "RunDocument",
    "ShowDocument",
    "State",
    "StudyStatus",
    "SummaryDocument",
    "TrialCountsDocument",
    "TrialDocument",
    "TrialHistoryDocument",
    "Verdict",
    "WarmStartDocument",
]
