"""One study from start to finish: teacher, search, confirmation, result. Knows neither Ray nor torch."""

from kdstudy.runner.checks import check_all, check_study
from kdstudy.runner.deletion import delete_study
from kdstudy.runner.doctor import examine
from kdstudy.runner.driver import confirm_study, resume_study, run_study
from kdstudy.runner.enqueue import enqueue
from kdstudy.runner.known import searches_left
from kdstudy.runner.observers import Counts, Observer
from kdstudy.runner.outcome import StudyResult, deliver
from kdstudy.runner.signals import terminable

__all__ = [
    "Counts",
    "Observer",
    "StudyResult",
    "check_all",
    "check_study",
    "confirm_study",
    "delete_study",
    "deliver",
    "enqueue",
    "examine",
    "resume_study",
    "run_study",
    "searches_left",
    "terminable",
]
