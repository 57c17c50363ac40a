"""The method without the platform: distillation inside a training loop of your own."""

from kdstudy.distill.distillation import Distillation

__all__ = ["Distillation"]
