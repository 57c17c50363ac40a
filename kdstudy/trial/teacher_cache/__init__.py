"""What students are taught with: the teacher's outputs, computed in each step or kept for the trials of a study."""

from kdstudy.trial.teacher_cache.cached import Teaching, targets_of
from kdstudy.trial.teacher_cache.files import Shelf

__all__ = ["Shelf", "Teaching", "targets_of"]
