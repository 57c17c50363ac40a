"""Networks: one factory function each, built and normalised by `build_model`."""

from kdstudy.models.build import build_model

__all__ = ["build_model"]
