"""The constant policy: every layer at the base rate. The paper's Constant Update, also called Direct."""

from __future__ import annotations

from typing import ClassVar, final

from kdstudy.layerwise.base import Policy


@final
class ConstantPolicy(Policy):
    """Leave every layer at the base rate.

    Source: the baseline of Kokane, Uddin, Xu, arXiv 2407.04871.
    """

    needs_layers: ClassVar[bool] = False

    def due(self, epoch: int, epochs: int) -> bool:
        """Never."""
        return False
