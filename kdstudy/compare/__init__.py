"""Whether one arm beats another over paired seeds, and how surely."""

from kdstudy.compare.analysis import compare
from kdstudy.compare.comparison import Analysis, Comparison, Gain, GainDifference, Row

__all__ = ["Analysis", "Comparison", "Gain", "GainDifference", "Row", "compare"]
