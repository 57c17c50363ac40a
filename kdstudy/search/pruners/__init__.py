"""Pruners: which search trials are stopped early."""

from kdstudy.search.pruners.base import Pruner, Scores

__all__ = ["Pruner", "Scores"]
