"""Loads MLflow models logged before `kdstudy.models.saved` had its name."""

import warnings

from kdstudy.models.saved import _load_pyfunc, load_student  # noqa: F401 - MLflow looks the first one up by name

warnings.warn("kdstudy.student is now kdstudy.models; log the model again", DeprecationWarning, stacklevel=2)
