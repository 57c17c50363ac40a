"""The cache of teacher outputs: what they depend on, and the files that trials share."""

from kdstudy.trial.teacher_cache.cached import OutputsRecipe, teacher_outputs
from kdstudy.trial.teacher_cache.files import TensorFileCache

__all__ = ["OutputsRecipe", "TensorFileCache", "teacher_outputs"]
