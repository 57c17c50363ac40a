"""Derivatives of networks by the image: forward mode and double backward, batch statistics held constant."""

from kdstudy.transfer.autodiff.double_backward import differentiable
from kdstudy.transfer.autodiff.forward_mode import Dual

__all__ = ["Dual", "differentiable"]
