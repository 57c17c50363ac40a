"""What people read: the page of a study, its text forms, comparisons and progress."""

from kdstudy.report.answer_text import arm_cells, render_answer, render_warnings, take_home_text
from kdstudy.report.comparison_text import render_comparison
from kdstudy.report.drawings import Drawings
from kdstudy.report.markdown import to_summary
from kdstudy.report.mlflow_links import MlflowLinks
from kdstudy.report.model import Report, StudyReport, report_of
from kdstudy.report.optuna_dashboard import optuna_study, serve
from kdstudy.report.status import Snapshot, progress_table, snapshot
from kdstudy.report.verdicts import decimals_of, headline, name_of, statements
from kdstudy.report.write import FORMATS, PAGE, form_of, render, write_report, write_report_at

__all__ = [
    "FORMATS",
    "PAGE",
    "Drawings",
    "MlflowLinks",
    "Report",
    "Snapshot",
    "StudyReport",
    "arm_cells",
    "decimals_of",
    "form_of",
    "headline",
    "name_of",
    "optuna_study",
    "progress_table",
    "render",
    "render_answer",
    "render_comparison",
    "render_warnings",
    "report_of",
    "serve",
    "snapshot",
    "statements",
    "take_home_text",
    "to_summary",
    "write_report",
    "write_report_at",
]
