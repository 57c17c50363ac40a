"""What people read: the page of a study, its text forms, comparisons and progress."""

from kdstudy.report.answer_text import render_answer, render_warnings
from kdstudy.report.comparison_text import render_comparison
from kdstudy.report.markdown import to_summary
from kdstudy.report.mlflow_links import MlflowLinks
from kdstudy.report.model import Report, StudyReport, report_of
from kdstudy.report.optuna_dashboard import serve
from kdstudy.report.status import progress_table, snapshot
from kdstudy.report.write import FORMATS, PAGE, render, write_report

__all__ = [
    "FORMATS",
    "PAGE",
    "MlflowLinks",
    "Report",
    "StudyReport",
    "progress_table",
    "render",
    "render_answer",
    "render_comparison",
    "render_warnings",
    "report_of",
    "serve",
    "snapshot",
    "to_summary",
    "write_report",
]
