"""Plain values that travel as JSON: what a trial reports, and what the commands print, for all rooms.

Every ``to_json`` whose result a command prints returns one of the ``...Document`` types, so that mypy notices a key
that is missing, new or of another type; `kdstudy.cli.schemas` makes their JSON Schemas.
"""

from kdstudy.results.comparison_document import (
    AnalysisDocument,
    ComparisonDocument,
    DivergedShareDocument,
    GainDifferenceDocument,
    GainDocument,
    RowDocument,
)
from kdstudy.results.records import FINISHED_STATES, EpochRecord, LayerRecord, TrialResult, finite
from kdstudy.results.report_document import (
    ArmCostDocument,
    CostDocument,
    CurveDocument,
    LayerCurveDocument,
    ReportDocument,
    ReportedStudyDocument,
    ReportedTrialDocument,
)
from kdstudy.results.study_documents import (
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
from kdstudy.results.values import Phase, Quantity, ReproductionVerdict, State, StudyStatus, Verdict

__all__ = [
    "FINISHED_STATES",
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
    "EpochRecord",
    "GainDifferenceDocument",
    "GainDocument",
    "LayerCurveDocument",
    "LayerDocument",
    "LayerRecord",
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
    "TrialResult",
    "Verdict",
    "WarmStartDocument",
    "finite",
]
