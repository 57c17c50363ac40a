"""What a study found, on one page: HTML for people, Markdown for a pull request, JSON for programs."""

from kdstudy.report.content import Report, StudyReport, report_of
from kdstudy.report.markdown import to_summary
from kdstudy.report.write import FORMATS, PAGE, render, write_report

__all__ = ["FORMATS", "PAGE", "Report", "StudyReport", "render", "report_of", "to_summary", "write_report"]
